"""What a partition's projector remembers of jobs and runs, so as not to ask Postgres for each batch."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from services.projector.job_rows import JobEntry
    from services.projector.projections import Folded
    from services.projector.run_rows import RunRow

JOBS_KEPT = 20_000  # about 2 KB each
RUNS_KEPT = 50_000  # unfinished ones, about 1 KB each


class Memory:
    """Entries as of the last batch folded; to be thrown away if that is not committed."""

    def __init__(self, *, jobs_kept: int = JOBS_KEPT, runs_kept: int = RUNS_KEPT) -> None:
        self.jobs: dict[str, JobEntry] = {}
        self.runs: dict[str, RunRow] = {}
        self._jobs_kept = jobs_kept
        self._runs_kept = runs_kept

    def settle(self, folded: Folded, refused: Collection[str]) -> None:
        """After a commit: forget ended runs, refused rows, and the oldest of what is too much."""
        for run_id, row in folded.runs.items():
            if row.ended or run_id in refused:
                self.runs.pop(run_id, None)
        for job_id in refused:
            self.jobs.pop(job_id, None)
        _shorten(self.runs, self._runs_kept)
        self.shorten(jobs_kept=self._jobs_kept)

    def shorten(self, *, jobs_kept: int) -> None:
        """Forget the oldest jobs beyond so many."""
        _shorten(self.jobs, jobs_kept)


def _shorten(kept: dict[str, JobEntry] | dict[str, RunRow], most: int) -> None:
    if len(kept) > most:
        for key in list(islice(kept, len(kept) - most)):
            del kept[key]
