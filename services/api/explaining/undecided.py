"""Times about which the schedule has decided nothing: it is late, it has no occurrence then, or they lie ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api.explaining import absence, reasons, silence
from shared.domain.job import Job, Status
from shared.domain.preview import Planned, TooFar, upcoming
from shared.domain.schedule import TICK
from shared.recovery.looking_back import Gone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from services.api.explaining.absence import Asked
    from services.api.explaining.finding import Finding, Words
    from services.api.explaining.reading import Reading
    from shared.domain.calendars import Seen
    from shared.eventlog.envelope import Recorded

EDITS = 10  # of the schedule, looked at for an occurrence that one of them took away
COUNTED = 2_000  # occurrences ahead that max_runs counts, some 50 µs each


class Buried(Exception):  # noqa: N818 - an answer to a client, like a refusal
    """What was decided about an occurrence stands behind more of the job's events than are looked through."""


class Undecided:
    """Says why.

    Args:
        reading: what is asked.
        calendars: those that the job names, as they are now: for what is to come.
    """

    def __init__(self, reading: Reading, calendars: Mapping[str, Seen]) -> None:
        self._read = reading
        self._calendars = calendars

    async def gone_by(self, job_id: str, job: Job | None, asked: Asked, words: Words) -> list[Finding]:
        """Why nothing was decided for a time that has gone by; `job` as it was just before, None: it wasn't there.

        Raises:
            Buried: something may have been.
        """
        read = self._read
        if job is None:
            return [await self._not_created(job_id, words)]
        then = await read.pos_before(asked.at)
        own = await read.own(job_id, then)
        if job.status is Status.DELETED:
            return [reasons.deleted(own.get("JobDeleted"), job, words)]
        if job.spec.schedule.kind == "none":
            return [reasons.no_schedule(next(iter(reasons.made(own)), None), asked.at)]
        if (at := absence.occurrence_at(job, asked)) is not None:
            now = await read.job_state(job_id, read.tail)
            if now is not None and now.next_for is not None and at >= now.next_for:
                return await self._waiting(now, at, words)
        if moved := await self._moved(job_id, asked, words):
            return moved
        if job.status is Status.COMPLETED:
            return [reasons.completed(job, own.get("JobCompleted"), asked.at, words)]
        if at is not None and await read.is_long(job_id, await read.pos_before(asked.at - absence.SECOND)):
            raise Buried
        return await self._none_then(job, asked, then, own, words)

    async def _none_then(
        self, job: Job, asked: Asked, then: int, own: Mapping[str, Recorded], words: Words
    ) -> list[Finding]:
        """Why the schedule had no occurrence there."""
        events = reasons.made(own)
        if (dropped := absence.dropped_at(job, asked)) is not None:
            return [reasons.not_an_occurrence(dropped, words, events)]
        if window := list(absence.outside_window(job, asked, words, events)):
            return window
        edits = await self._read.before(f"job/{job.id}", "JobCreated", "JobUpdated", upto=then, limit=EDITS)
        edited = absence.edited(edits, asked, words)
        none = absence.none_then(job, asked, words, events)
        return [none] if edited is None else [edited, none]

    async def _not_created(self, job_id: str, words: Words) -> Finding:
        made = await self._read.after(f"job/{job_id}", "JobCreated")
        if not made:
            raise Gone
        return absence.not_created(made[0], words)

    async def _waiting(self, now: Job, at: datetime, words: Words) -> list[Finding]:
        """An occurrence whose time has come, and which nobody has decided."""
        read = self._read
        own = await read.own(now.id, read.tail)
        if now.status is Status.PAUSED and (recorded := own.get("JobPaused")) is not None:
            return [reasons.paused(recorded, words), reasons.pending_pause(now, at, recorded, words)]
        announced = await read.announcer(now.id, read.tail)
        fires = (now.fires_next_at if at == now.next_for else None) or at
        if fires > read.until:
            held_back = Planned(at=at, fires_at=fires, local_time=words.local(at), rule=None)
            return [reasons.to_come(held_back, now, reasons.made(own), words)]
        found = [reasons.overdue(at, announced, read.until, words)]
        return [*found, *silence.told(await read.silence(fires, None), words)]

    async def ahead(self, job_id: str, asked: Asked, words: Words) -> list[Finding]:
        """What is to become of a time that has not come.

        Raises:
            TooFar: more than COUNTED occurrences would have to be counted up to there.
        """
        now = await self._read.job_state(job_id, self._read.tail)
        own = await self._read.own(job_id, self._read.tail)
        if now is None:
            raise Gone
        if now.status is Status.DELETED:
            return [reasons.deleted(own.get("JobDeleted"), now, words)]
        if now.spec.schedule.kind == "none":
            return [reasons.no_schedule(next(iter(reasons.made(own)), None), asked.at)]
        if now.status is Status.COMPLETED:
            return [reasons.completed(now, own.get("JobCompleted"), asked.at, words)]
        wishes = await self._read.wishes(job_id, self._read.tail)
        return await self._moved(job_id, asked, words) or self._ahead(now, asked, words, own, wishes)

    async def _moved(self, job_id: str, asked: Asked, words: Words) -> list[Finding]:
        """What was announced for then, and isn't any more as other zone tables came."""
        found = await self._read.before(
            f"job/{job_id}", "ScheduleReplanned", upto=self._read.tail, limit=EDITS
        )
        moved = [each for each in found if asked.means(each.change().event.was_for)]  # type: ignore[attr-defined]
        return [reasons.replanned(each, words) for each in moved[:1]]

    def _ahead(
        self,
        now: Job,
        asked: Asked,
        words: Words,
        own: Mapping[str, Recorded],
        wishes: Mapping[datetime, Recorded],
    ) -> list[Finding]:
        if (paused := own.get("JobPaused")) is not None and now.status is Status.PAUSED:
            found = [reasons.paused(paused, words)]
        else:
            found = []
        steps = upcoming(now, now=self._read.until, since=asked.at - TICK, calendars=self._calendars)
        for passed, step in enumerate(steps):
            if passed > COUNTED:
                raise TooFar
            if step is None:
                continue
            if step.at >= asked.end:
                break
            if isinstance(step, Planned):
                return [*found, reasons.to_come(step, now, reasons.made(own), words)]
            return [*found, reasons.left_out(step, own, wishes, words)]
        if window := list(absence.outside_window(now, asked, words, reasons.made(own))):
            return [*found, *window]
        return [*found, absence.none_then(now, asked, words, reasons.made(own))]
