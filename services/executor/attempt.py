"""One attempt at a run, in five steps: claim (see `claims`), start, call, judge, record.

```
 claim ──▶ start ──▶ call ──▶ judge ──▶ record          stop(why) cancels the call; a handler that ignores it
             │         ▲                                for some seconds is judged and recorded all the same,
          refused   stop(why)                           and left behind
```
This is the one place where a handler's exceptions are caught (in a pool process: `pool`, for it): failed work
is a fact to record, not our error.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from functools import partial
from logging import ERROR, WARNING
from typing import TYPE_CHECKING, cast

from services.executor.heartbeat import Permit
from services.executor.notebook import taking_down
from services.executor.outcome import Raised, Returned, raised, returned, timed_out
from services.executor.personal import seal_of, told_in
from services.executor.worker import Call, Started, Why
from shared import logs
from shared.domain.commands import FailRun, InterruptRun, Output, Report, StartRun, SucceedRun
from shared.domain.refusals import Refused
from shared.domain.run import Run
from shared.eventlog.envelope import Context
from shared.faults import is_broken
from shared.job_types.secrets import has_references

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from services.executor.claims import Claim
    from services.executor.heartbeat import Held
    from services.executor.outcome import Outcome
    from services.executor.personal import Seal
    from services.executor.plugins import Handler
    from services.executor.worker import Worker
    from shared import handlers
    from shared.eventlog.decider import Decided
    from shared.eventlog.snapshot import Snapshot

ACTOR = "executor"
IGNORED_AFTER_S = 5.0  # a handler has so long to heed its cancel
REVEALED_WITHIN_S = 10.0  # the run's own time begins with its handler
REPORT_AGAIN_S = 0.5


class Attempt:
    """The way of one claim; `run` goes it.

    Args:
        worker: on whose behalf.
        claim: the entry that was taken.
        vacate: called once, when this attempt no longer needs its slot: its handler has ended, or was left behind.
        end: called once after that, when nothing of it is to be recorded any more.
    """

    def __init__(
        self,
        worker: Worker,
        claim: Claim,
        *,
        vacate: Callable[[], None],
        end: Callable[[Attempt], None],
    ) -> None:
        self.claim = claim
        self.task: asyncio.Task[None] | None = None
        self.handing_back = False  # once a stop is under way, what hasn't started is handed back instead
        self._worker = worker
        self._vacate = vacate
        self._ended = end
        self._in_slot = True
        self._started: Started | None = None
        self._call: Call | None = None
        self._left_behind = False

    @property
    def held(self) -> Held | None:
        """Run and fence, once it has started."""
        return None if self._started is None else (self._started.run.id, self._started.fence)

    def begin(self) -> None:
        """Go the way in a task of its own."""
        self.task = asyncio.create_task(self.run(), name=f"run {self.claim.run}")

    async def run(self) -> None:
        """Start, call, judge, record; what breaks before the start leaves the entry claimed, for adoption."""
        try:
            self._started = await self._start()
            if self._started is not None:
                outcome = await self._called(self._started)
                if not self._left_behind:
                    self._leave_slot()
                    await self._record(self._started, outcome)
        except Exception as error:  # noqa: BLE001 - not a handler's: ours or infrastructure's, and one run's only
            broken = is_broken(error)
            _log().log(
                WARNING if broken else ERROR,
                "attempt broke off",
                run_id=self.claim.run,
                error=repr(error),
                exc_info=None if broken else error,
            )
        finally:
            if not self._left_behind:
                self._end()

    def stop(self, why: Why, *, patience_s: float = IGNORED_AFTER_S) -> None:
        """Cancel the handler, if it is being called; the first reason stays."""
        call = self._call
        if call is None or call.over.is_set() or call.why is not None or self.task is None:
            return
        call.why = why
        self.task.cancel()
        call.watch = asyncio.create_task(
            self._leave_behind_after(patience_s), name=f"watch {self.claim.run}", context=call.context
        )

    # Start.

    async def _start(self) -> Started | None:
        """Commit the start; None if the run is not to be started here, or not any more."""
        if self.handing_back:
            await self._worker.claims.hand_back(self.claim)
            return None
        held = self.claim.snapshot()
        seal = await self._seal(held)
        if not await self._worker.admission.admits(self.claim, held):
            return None
        try:
            decided = await self._worker.decider.decide(
                f"run:{self.claim.run}",
                StartRun(worker=self._worker.name),
                Context(actor=ACTOR, corr=held.state.correlation_id if isinstance(held.state, Run) else ""),
                held=held,
                done=self.claim.done,
            )
        except Refused:  # started by way of another entry, or ended
            await self._worker.claims.drop(self.claim)
            await self._worker.admission.refused(self.claim, held)
            return None
        run = _run_of(decided)
        if run.ended:  # its start deadline had passed, or another run replaces it
            self._worker.tally.not_started(run)
            return None
        started = Started(decided=decided, run=run, at=time.monotonic(), seal=seal)
        of = run.spec.concurrency
        permit = None if of is None else Permit(of.pool, self.claim.entry)
        self._worker.heartbeat.hold(started.run.id, started.fence, permit)
        self._tell(started.run)
        return started

    async def _seal(self, held: Snapshot) -> Seal | None:
        """What opens the run's data; before the start, as a store that doesn't answer is no failure of a handler."""
        if not self.claim.may_be_sealed or not isinstance(held.state, Run):
            return None
        return await seal_of(held.state, self._worker.personal)

    def _tell(self, run: Run) -> None:
        """Have each line of this task's log say what it is about."""
        logs.bind(job_id=run.job_id, run_id=run.id, attempt=run.attempt, correlation_id=run.correlation_id)
        self._worker.tally.started(run, self._worker.log.now())

    # Call.

    async def _called(self, started: Started) -> Outcome:
        """What became of the handler: whatever it does, an outcome."""
        handler = self._worker.handlers.of(started.run.spec.job_type, started.run.spec.job_data)
        if handler is None:
            return raised(LookupError(f"this executor has no handler for {started.run.spec.job_type}"))
        beat = partial(self._worker.heartbeat.tell, started.run.id, started.fence)
        call = self._call = Call(beat, started.seal)
        return call.notebook.mask.outcome(await self._outcome(started, handler, call))

    async def _outcome(self, started: Started, handler: Handler, call: Call) -> Outcome:
        try:
            told = self._opened(started, started.told(self._worker.log.now(), call.notebook))
            told = await self._revealed(told, call)
            with _quiet(started, told):
                if handler.blocking:
                    return await self._in_pool(started, handler, call, told)
                return await self._here(started, handler, call, told)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if call.why is None and task is not None and task.cancelling():
                raise  # the process is being torn down
            if call.why is not None and task is not None:
                task.uncancel()
            return raised(cancelled, call.notebook.mask.text)  # `stop`'s, or the handler's own
        except (Exception, SystemExit) as error:  # noqa: BLE001 - failed work is a fact
            return raised(error, call.notebook.mask.text)
        finally:
            call.over.set()

    def _opened(self, started: Started, told: handlers.Run) -> handlers.Run:
        """The same with values for what is sealed in its data."""
        return told if started.seal is None else replace(told, job_data=started.seal.opened(told.job_data))

    async def _revealed(self, told: handlers.Run, call: Call) -> handlers.Run:
        """The same with values for its references to secrets; the file of one may be on a slow disk."""
        if not has_references(told.job_data):
            return told
        secrets = self._worker.secrets.told_to(call.notebook.mask)
        async with asyncio.timeout(REVEALED_WITHIN_S):
            return replace(told, job_data=await asyncio.to_thread(secrets.revealed, told.job_data))

    async def _here(self, started: Started, handler: Handler, call: Call, told: handlers.Run) -> Outcome:
        # Not asyncio.timeout: timeout, lost lease and the executor's end are one cancel for three reasons; a
        # handler that swallows it must be noticed too.
        timeout_s = started.run.spec.timeout_seconds
        timer = asyncio.get_running_loop().call_later(timeout_s, self.stop, Why.TIMEOUT)
        try:
            with taking_down(call.notebook):
                return returned(await handler.call(told))
        finally:
            timer.cancel()

    async def _in_pool(self, started: Started, handler: Handler, call: Call, told: handlers.Run) -> Outcome:
        return await self._worker.pool.call(
            handler.call,
            told,
            call.notebook,
            timeout_s=started.run.spec.timeout_seconds,
            context=logs.bound(),
        )

    async def _leave_behind_after(self, patience_s: float) -> None:
        """Judge and record without the handler, if it doesn't end."""
        call, started = self._call, self._started
        assert call is not None  # noqa: S101 - only a call is stopped
        assert started is not None  # noqa: S101 - only a start is called
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await call.over.wait()
        if call.over.is_set():
            return
        self._left_behind = True
        _log().error("handler ignores its cancel, left behind", why=call.why)
        self._leave_slot()
        try:
            await self._record(started, None)
        finally:
            self._end()

    # Judge.

    def _judge(self, started: Started, outcome: Outcome | None) -> Report | None:
        """What to report; a handler that was stopped has no say, of a moved run nothing is said."""
        why = self._call.why if self._call is not None else None
        output = self._call.notebook.output() if self._call is not None else None
        match why, outcome:
            case Why.MOVED, _:
                return None
            case ((Why.STOPPING | Why.CANCELLED), _):
                return InterruptRun(fence=started.fence, output=output)
            case Why.TIMEOUT, _:
                return self._failed(started, timed_out(started.run.spec.timeout_seconds), output)
            case _, Returned(result=result):
                return SucceedRun(fence=started.fence, result=result, output=output)
            case _, Raised() as failure:
                return self._failed(started, failure, output)
        raise AssertionError(f"run {started.run.id}: neither stopped nor ended")

    def _failed(self, started: Started, failure: Raised, output: Output | None) -> FailRun:
        return FailRun(
            fence=started.fence,
            error=failure.error,
            names=failure.names,
            draw=self._worker.draw(),
            retry_in_s=failure.retry_in_s,
            give_up=failure.give_up,
            output=output,
        )

    # Record.

    async def _record(self, started: Started, outcome: Outcome | None) -> None:
        report = self._judge(started, outcome)
        if report is None:
            self._worker.tally.moved(started.run)
            return
        if started.seal is not None:
            report = started.seal.report(report)
        try:
            decided = await self._reported(started, report)
        except Refused as refusal:
            self._worker.tally.refused(started.run, current=refusal.current)
            return
        self._worker.tally.ended(_run_of(decided), report, time.monotonic() - started.at)

    async def _reported(self, started: Started, report: Report) -> Decided:
        """Commit the report, however long Redis is away: the lease is kept, or the fence refuses it."""
        context = Context(actor=ACTOR, cause=started.decided.event_ids[-1], corr=started.run.correlation_id)
        while True:
            try:
                return await self._worker.decider.decide(
                    started.decided.ref,
                    report,
                    context,
                    held=started.decided.after,
                    beside=self.claim.beside(),
                )
            except Exception as error:
                if not is_broken(error):
                    raise
            await asyncio.sleep(REPORT_AGAIN_S)

    def _leave_slot(self) -> None:
        if self._in_slot:
            self._in_slot = False
            self._vacate()

    def _end(self) -> None:
        self._leave_slot()
        if self.held is not None:
            self._worker.heartbeat.release(*self.held)
        self._ended(self)


def _quiet(started: Started, told: handlers.Run) -> contextlib.AbstractContextManager[None]:
    """Within it, this process's lines are without what was opened for the handler."""
    if started.seal is None:
        return contextlib.nullcontext()
    return logs.hushed(tuple(told_in(told.job_data)))


def _log() -> FilteringBoundLogger:
    return logs.get("daybook.executor")


def _run_of(decided: Decided) -> Run:
    return cast("Run", decided.after.state)
