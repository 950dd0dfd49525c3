"""Blocking handlers, in processes that can be killed: by a timeout, a cancel, or the executor's own end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import multiprocessing
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import TYPE_CHECKING

from pebble import ProcessExpired, ProcessPool

from services.executor.backchannel import Backchannel, Upstream
from services.executor.notebook import capture, taking_down
from services.executor.outcome import Outcome, raised, returned, timed_out
from services.executor.personal import told_in
from shared import logs, tracing
from shared.handlers import Nobody
from shared.parent import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from services.executor.notebook import Notebook
    from shared.handlers import Run
    from shared.tracing.spans import Tracing

RUNS_A_PROCESS = 1_000  # then it is replaced: what a handler leaks doesn't grow for ever


class HandlerProcessDied(Exception):  # noqa: N818 - its name is what people read as the failure's class
    """The process of a blocking handler ended before the handler did: killed, out of memory, or crashed."""


class Pool:
    """A few processes, started when the first blocking handler is called.

    Args:
        processes: how many; further runs wait for one, and their time counts from when they get it.
        log_level: of the processes' own log lines.
        log_format: likewise.
        traced: whether the handlers' own spans are to be sent.
    """

    def __init__(self, *, processes: int, log_level: str, log_format: str, traced: bool = False) -> None:
        self._processes = processes
        self._telling = (log_level, log_format, traced)
        self._pool: ProcessPool | None = None
        self._backchannel = Backchannel()

    async def call(
        self,
        function: Callable[[Run], Any],
        run: Run,
        notebook: Notebook,
        *,
        timeout_s: float,
        context: Mapping[str, Any],
    ) -> Outcome:
        """Call `function(run)` in a process. Cancelling kills it.

        Args:
            function: can be pickled, as its arguments can.
            run: what it is told; its words go into the notebook.
            notebook: complete when this returns, or raises.
            timeout_s: after so many seconds of its own the process is killed.
            context: fields for its log lines.
        """
        path = await self._backchannel.open()
        traced = tracing.present()
        call = self._backchannel.listen(notebook)
        try:
            return await self._outcome(
                (
                    function,
                    replace(run, reporter=Nobody()),
                    dict(context),
                    "" if traced is None else traced.here(),
                    call,
                ),
                path,
                timeout_s,
            )
        finally:
            await self._backchannel.heard(call)

    async def _outcome(self, work: tuple[Any, ...], path: str, timeout_s: float) -> Outcome:
        try:
            future = self._running(path).schedule(_work, args=work, timeout=timeout_s)
            outcome: Outcome = await asyncio.wrap_future(future)
            self._backchannel.came_back(work[-1])
        except TimeoutError:  # the pool's: a handler's own comes back as an outcome
            return timed_out(timeout_s)
        except ProcessExpired as end:
            return raised(HandlerProcessDied(f"the handler's process ended with status {end.exitcode}"))
        except BrokenProcessPool as error:
            self._pool = None
            return raised(HandlerProcessDied(f"the pool of processes broke: {error}"))
        return outcome

    def stop(self) -> None:
        """Kill the processes; takes a moment."""
        if self._pool is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]
            self._pool.join()

    def close(self) -> None:
        """Hear nobody any more; on the loop, after `stop`."""
        self._backchannel.close()

    def _running(self, path: str) -> ProcessPool:
        if self._pool is None or not self._pool.active:
            self._pool = ProcessPool(
                max_workers=self._processes,
                max_tasks=RUNS_A_PROCESS,
                initializer=_prepare,
                initargs=(os.getpid(), path, *self._telling),
                context=multiprocessing.get_context("spawn"),  # a fork would inherit our threads' locks
            )
        return self._pool


_upstream: Upstream | None = None  # this process's, once it is one of the pool
_tracing: Tracing | None = None  # likewise


def _prepare(parent: int, path: str, log_level: str, log_format: str, traced: bool) -> None:  # noqa: FBT001
    # SIGKILL, as a handler may be deep in C and never come to look at a gentler signal.
    die_with_parent(parent, signal.SIGKILL)
    logs.configure(log_level, log_format, "executor")
    capture()
    global _upstream, _tracing  # noqa: PLW0603 - an initializer has no other place for what its process's calls share
    _upstream = Upstream(path)
    _tracing = tracing.otlp("executor", f"handler-{parent}-{os.getpid()}") if traced else None


def _work(
    function: Callable[[Run], Any], run: Run, context: dict[str, Any], trace: str, call: int
) -> Outcome:
    """The call, in its process. What comes back is plain data: not every exception survives the journey."""
    upstream = _upstream
    assert upstream is not None  # noqa: S101 - `_prepare` has run
    upstream.begin(call)
    try:
        return contextvars.copy_context().run(
            _called, function, replace(run, reporter=upstream), context, trace, upstream
        )
    finally:
        upstream.end()


def _called(
    function: Callable[[Run], Any], run: Run, context: dict[str, Any], trace: str, upstream: Upstream
) -> Outcome:
    logs.bind(**context)
    upstream.mask.found_in(run.job_data)
    quiet = logs.hushed(tuple(told_in(run.job_data)))
    try:
        with (
            taking_down(upstream),
            quiet,
            contextlib.nullcontext() if _tracing is None else _tracing.after(trace),
        ):
            return upstream.mask.outcome(returned(function(run)))
    except BaseException as error:  # noqa: BLE001 - failed work is a fact; sys.exit() too, out here
        return raised(error, upstream.mask.text)
