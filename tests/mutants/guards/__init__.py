"""The guards that `make mutants` takes out of the code, one at a time, and the tests that must miss each."""

from . import (
    api,
    backfills,
    calendars,
    chains,
    cli,
    clocks,
    cold,
    deployment,
    explaining,
    job_types,
    model,
    overlaps,
    pauses,
    previews,
    spine,
    upkeep,
    windows,
)
from .guard import Guard

GUARDS = (
    *spine.GUARDS,
    *clocks.GUARDS,
    *model.GUARDS,
    *overlaps.GUARDS,
    *api.GUARDS,
    *cli.GUARDS,
    *job_types.GUARDS,
    *upkeep.GUARDS,
    *deployment.GUARDS,
    *calendars.GUARDS,
    *chains.GUARDS,
    *cold.GUARDS,
    *backfills.GUARDS,
    *previews.GUARDS,
    *windows.GUARDS,
    *pauses.GUARDS,
    *explaining.GUARDS,
)

__all__ = ["GUARDS", "Guard"]
