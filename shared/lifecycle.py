"""One process's life: signals, the pages about itself, and the order in which it ends.

The shutdown is begun by SIGTERM or SIGINT, by hand (`Stop.set`), or by a role that fails, and goes in this
order:

1. *stop taking*: `stop` is set and `/readyz` fails; loops of `repeat` end after their current round;
2. *drain*: `main` finishes what it has begun, within `drain_s`;
3. *release*: `main` hands the rest back and gives up its leases, within `HAND_BACK_S`. If it doesn't, it is
   cancelled, has `CLOSE_S` for its `finally` clauses, and then the process leaves without it;
4. *close*: connections go, and last of all `/metrics`.

A second signal leaves at once, and so does anything killed: what was being done is taken over elsewhere. An
exception in any task cancels the others, which have their `finally` clauses.
"""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, NoReturn

from shared import logs
from shared.faults import BROKEN, Fatal, Stopped, is_broken, leaves
from shared.loop import Stop, insist, repeat
from shared.metrics import Metrics
from shared.ops import Health, Verdict, ops_app
from shared.serving import bound_socket, serve

__all__ = [
    "BROKEN",
    "Fatal",
    "Health",
    "Stop",
    "Stopped",
    "Verdict",
    "bound_socket",
    "insist",
    "is_broken",
    "main_loop",
    "ops_app",
    "repeat",
    "run",
    "serve",
]

CLEAN, FATAL, CRASHED, OVERRAN = 0, 1, 70, 75  # exit statuses; the last two after sysexits.h
HAND_BACK_S = 5.0
CLOSE_S = 3.0
GARBAGE_EVERY = (
    50_000  # allocations; a batch of 200 units makes that many, and Python's 700 cost a tenth of a core
)
OPS_GRACE_S = 0.5  # for a scrape in flight when everything else has ended


def main_loop(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run `main()` on a fresh event loop, uvloop's where there is one, and return its exit status."""
    gc.freeze()  # modules are for ever: no collection needs to look at them
    gc.set_threshold(GARBAGE_EVERY, 20, 50)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - it doesn't exist on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop


async def run(
    main: Callable[[Stop], Awaitable[None]],
    *,
    name: str,
    health: Health,
    metrics: Metrics,
    ops_host: str = "127.0.0.1",
    ops_port: int | None = 0,
    on_ops_bound: Callable[[int], None] | None = None,
    drain_s: float = 30.0,
) -> int:
    """Run `main(stop)` until it returns, and end as the module's docstring tells. Call it in the main thread.

    Args:
        main: the service. It must return soon after `stop` is set; if it returns earlier the process ends
            too.
        name: of the service, for logs, tasks and `/livez`.
        health: asked by `/livez` and `/readyz`.
        metrics: shown by `/metrics`.
        ops_host: the interface of these three pages.
        ops_port: their port; 0 for a free one, None if the service shows them itself (`ops_app`).
        on_ops_bound: called with the real port, once connections to it succeed.
        drain_s: how long `main` may take, once `stop` is set, to finish what it has begun.

    Returns:
        The exit status: 0 after a clean stop, 1 after a `Fatal`, 70 after any other exception, 75 if `main`
        had to be cancelled. (A cancel that is ignored leaves with 75, a second signal with 128 + its number:
        neither returns.)
    """
    log = logs.get("daybook.lifecycle")
    stop = Stop()
    health.check("stopping", lambda: f"stopping: {stop.reason}" if stop.is_set() else None)
    with _signals_to(stop):
        try:
            async with _ops_pages(name, health, metrics, ops_host, ops_port, on_ops_bound):
                status = await _live(main, stop, name, drain_s)
        except Exception as error:  # noqa: BLE001 - the last place that can say why the process ends
            return _last_words(error)
    log.info("stopped", reason=stop.reason or "nothing left to do", status=status)
    return status


async def _live(main: Callable[[Stop], Awaitable[None]], stop: Stop, name: str, drain_s: float) -> int:
    async with asyncio.TaskGroup() as group:
        work = group.create_task(_awaited(main(stop)), name=name)
        watch = group.create_task(_bound_drain(work, stop, drain_s), name=f"{name}:drain")
        await asyncio.wait([work])
        watch.cancel()
    return OVERRAN if work.cancelled() else CLEAN


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def _bound_drain(work: asyncio.Task[None], stop: Stop, drain_s: float) -> None:
    await stop.wait()
    log = logs.get("daybook.lifecycle")
    log.info("stopping", reason=stop.reason, drain_s=drain_s)
    await asyncio.sleep(drain_s + HAND_BACK_S)
    log.error("drain overran, cancelling", drain_s=drain_s)
    work.cancel()
    await asyncio.sleep(CLOSE_S)
    log.error("cancel ignored, leaving")
    _leave(OVERRAN)


def _last_words(error: Exception) -> int:
    log = logs.get("daybook.lifecycle")
    ends = list(leaves(error))
    sentences = [str(end) for end in ends if isinstance(end, Fatal)]
    if sentences:
        log.critical("fatal", reason=" ".join(sentences))
        return FATAL
    if all(isinstance(end, Stopped) for end in ends):
        return CLEAN
    log.critical("crashed", exc_info=error)
    return CRASHED


@contextlib.asynccontextmanager
async def _ops_pages(
    name: str,
    health: Health,
    metrics: Metrics,
    host: str,
    port: int | None,
    on_bound: Callable[[int], None] | None,
) -> AsyncIterator[None]:
    """Serve the pages about this process while the body runs; a failure of either ends both."""
    if port is None:
        yield
        return
    sock = bound_socket(host, port)
    real_port: int = sock.getsockname()[1]
    closing = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        pages = serve(ops_app(name, health, metrics), sock, until=closing.wait, grace_s=OPS_GRACE_S)
        group.create_task(pages, name=f"{name}:ops")
        logs.get("daybook.lifecycle").info("ops pages bound", host=host, port=real_port)
        if on_bound is not None:
            on_bound(real_port)
        try:
            yield
        finally:
            closing.set()


@contextlib.contextmanager
def _signals_to(stop: Stop) -> Iterator[None]:
    """Let the first SIGTERM or SIGINT set `stop`, and the second leave.

    Python's own handlers, not the loop's: the loop's run when it turns, and it may be stuck in a job's
    handler.
    """
    loop = asyncio.get_running_loop()
    seen = 0

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            _leave(128 + signum)
        loop.call_soon_threadsafe(stop.set, signal.Signals(signum).name)

    before = {signum: signal.signal(signum, on_signal) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _leave(status: int) -> NoReturn:
    """End the process now: no `finally`, no `atexit`, as in a kill."""
    os._exit(status)
