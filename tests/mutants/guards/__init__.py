"""The guards that `make mutants` takes out of the code, one at a time, and the tests that must miss each."""

from . import api, chains, cli, clocks, deployment, job_types, spine, upkeep
from .guard import Guard

GUARDS = (
    *spine.GUARDS,
    *clocks.GUARDS,
    *api.GUARDS,
    *cli.GUARDS,
    *job_types.GUARDS,
    *upkeep.GUARDS,
    *deployment.GUARDS,
    *chains.GUARDS,
)

__all__ = ["GUARDS", "Guard"]
