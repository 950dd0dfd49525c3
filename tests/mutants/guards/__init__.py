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
    erasures,
    explaining,
    job_types,
    model,
    overlaps,
    pauses,
    personal,
    previews,
    recovery,
    replay,
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
    *erasures.GUARDS,
    *backfills.GUARDS,
    *previews.GUARDS,
    *recovery.GUARDS,
    *windows.GUARDS,
    *pauses.GUARDS,
    *explaining.GUARDS,
    *personal.GUARDS,
    *replay.GUARDS,
)

__all__ = ["GUARDS", "Guard"]
