"""Many dead letters run again: what can go at once goes at once, so that commits and round trips are shared.

A crash in the middle is harmless: what was written is found by `once` and by its `of`, and not written again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.api.problems import Problem, unavailable
from services.api.responses import RefusedView, RetriedView
from services.api.retries import GONE, letter_of_request
from services.api.together import all_of, places
from shared.domain.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.api.deps import Deps
    from services.api.ledger import Chosen
    from services.api.retries import Letter, Retries
    from services.api.writes import Writes, Written
    from shared.domain.spec import OverlapPolicy
    from shared.eventlog.decider import Decided
    from shared.eventlog.envelope import Context
    from shared.eventlog.snapshot import Snapshot

LOOKED_MAX = 1_000  # in one request: those that are refused are none of its `limit`
BEGIN_S = 15.0  # after that no more are taken in hand
CHUNK = 100  # letters in hand: their specifications are up to 64 KB each
SERVER_FAULT = 500
UNARCHIVED = "The archive doesn't have the request of this execution."


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """What came of it.

    Attributes:
        counted: how many fit before, counted up to COUNTED_MAX + 1.
        place: of the last event written in each partition, as `Daybook-Position` carries it; '' if there is none.
        archived: whether the read side has all of them.
        more: whether some were not looked at.
    """

    counted: int
    retried: list[RetriedView]
    refused: list[RefusedView]
    more: bool
    place: str = ""
    archived: bool = True


class _Outcome:
    """One letter, and what became of it: decided, or refused with a sentence."""

    def __init__(self, of: str, result: Decided | str) -> None:
        self.of = of
        self.result = result


class Redrive:
    """Runs many ended runs again."""

    def __init__(self, deps: Deps, retries: Retries, write: Writes) -> None:
        self._deps = deps
        self._retries = retries
        self._write = write

    async def would(self, chosen: Chosen, *, limit: int) -> Redriven:
        """What would be retried if none were refused."""
        found = await self._deps.ledger.dead_letters(chosen, limit=limit + 1)
        retried = [RetriedView(of=str(row["id"]), id=None) for row in found.rows[:limit]]
        return Redriven(
            counted=found.counted, retried=retried, refused=[], more=len(found.rows) > len(retried)
        )

    async def __call__(
        self,
        chosen: Chosen,
        context: Context,
        *,
        limit: int,
        overlap_policy: OverlapPolicy | None,
        wait_s: float,
    ) -> Redriven:
        """Retry these, oldest first, until `limit` of them are, and wait once for the archive.

        Raises:
            Problem: 503; what was written by then stands, and is not written again.
        """
        until_s = self._deps.clock.monotonic() + BEGIN_S
        found = await self._deps.ledger.dead_letters(chosen, limit=LOOKED_MAX + 1)
        left = [(str(row["id"]), str(row["job_id"])) for row in found.rows[:LOOKED_MAX]]
        outcomes: list[_Outcome] = []
        decided: list[tuple[str, Decided]] = []
        while left and len(decided) < limit and self._deps.clock.monotonic() < until_s:
            size = min(CHUNK, limit - len(decided))
            said = await self._chunk(left[:size], context, overlap_policy)
            outcomes += said
            decided += [(each.of, each.result) for each in said if not isinstance(each.result, str)]
            left = left[size:]
        written = await self._archived([each for _, each in decided], wait_s)
        return Redriven(
            counted=found.counted,
            retried=[RetriedView(of=of, id=_retry_of(each)) for of, each in decided],
            refused=[
                RefusedView(of=each.of, detail=each.result)
                for each in outcomes
                if isinstance(each.result, str)
            ],
            more=len(outcomes) < len(found.rows),
            place=places(written),
            archived=all(each.archived for each in written),
        )

    async def _chunk(
        self, runs: Sequence[tuple[str, str]], context: Context, overlap_policy: OverlapPolicy | None
    ) -> list[_Outcome]:
        """These, in their order; when it returns or raises, none is under way."""
        rows = await self._deps.ledger.requests_of([run_id for run_id, _ in runs])
        letters = {letter.run_id: letter for letter in map(letter_of_request, rows)}
        jobs: defaultdict[str, list[Letter]] = defaultdict(list)
        for run_id, job_id in runs:
            if run_id in letters:
                jobs[job_id].append(letters[run_id])
        held = await self._deps.log.load(*(f"job:{job_id}" for job_id in jobs)) if jobs else {}
        found: dict[str, Decided | str] = {}
        for said in await all_of(
            self._of_job(of_job, held[f"job:{job_id}"], context, overlap_policy)
            for job_id, of_job in jobs.items()
        ):
            found |= said
        return [_Outcome(run_id, found.get(run_id, UNARCHIVED)) for run_id, _ in runs]

    async def _of_job(
        self,
        letters: Sequence[Letter],
        held: Snapshot,
        context: Context,
        overlap_policy: OverlapPolicy | None,
    ) -> dict[str, Decided | str]:
        """Those of one job. If it follows its runs, each is decided from what the one before has left."""
        if not isinstance(held.state, Job):
            return {letter.run_id: GONE for letter in letters}
        if not held.state.follows:
            results = await all_of(self._one(letter, context, overlap_policy, None) for letter in letters)
            return {letter.run_id: result for letter, result in zip(letters, results, strict=True)}
        found: dict[str, Decided | str] = {}
        for letter in letters:
            result = await self._one(letter, context, overlap_policy, held)
            found[letter.run_id] = result
            if not isinstance(result, str):
                held = result.after
        return found

    async def _one(
        self, letter: Letter, context: Context, overlap_policy: OverlapPolicy | None, held: Snapshot | None
    ) -> Decided | str:
        """The retry decided, or why it was refused."""
        asked = await self._retries.asked(letter, context, overlap_policy=overlap_policy)
        try:
            return await self._retries.decided(asked, context, held)
        except Problem as problem:
            if problem.status >= SERVER_FAULT:
                raise
            return problem.detail

    async def _archived(self, decided: Iterable[Decided], wait_s: float) -> list[Written]:
        written = await asyncio.gather(*(self._write.awaited(each, wait_s) for each in decided))
        kept = [each for each in written if each is not None]
        if len(kept) < len(written):
            raise unavailable(
                "The log was opened anew meanwhile, without some of them; what stands is not done again."
            )
        return kept


def _retry_of(decided: Decided) -> str:
    if decided.answered is not None:
        return decided.answered.answer
    return decided.changes[-1].subject.removeprefix("run:")
