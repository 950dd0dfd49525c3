# mypy: allow-untyped-calls
# (the acceptance suite, whose system this is, is not annotated)
"""A fresh system for one bench: two servers, the four services, the plug-in, and a hand on it all."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import uvloop

from tests.acceptance.system import System

from . import plugin
from .cpu import Meter
from .hand import a_hand
from .waiting import say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
    from pathlib import Path

    from .hand import Hand

Raw = dict[str, Any]
BENCH_S = 900.0  # what no bench takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a bench brings home: raw rows, CPU of its window, the servers' versions."""

    raw: Raw
    cpu: Raw
    servers: dict[str, str]


class Stand(System):
    """The system of a bench: one process of each role, all settings at their defaults but `settings`."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        super().__init__(directory, environment=plugin.install(directory) | dict(settings))
        self.prefix = "bench"
        self.meter = Meter(self._pids)

    @property
    def port(self) -> int:
        """The API's."""
        return int(self.url.rpartition(":")[2])

    def spawn(self, role: str) -> None:
        """Start the role's process again. It must be called where the stand was made: in the main thread."""
        self.services[f"{role}-1"].spawn()

    async def end(self, *roles: str) -> None:
        """SIGTERM to each in turn; it has drained when this returns."""
        for role in roles:
            service = self.services[f"{role}-1"]
            status = await asyncio.to_thread(service.terminate)
            if status != 0:
                raise RuntimeError(f"{role} ended with status {status}")

    def notes(self) -> list[plugin.Note]:
        """What handlers noted; complete when the executor has ended."""
        return plugin.read(self.directory)

    def _pids(self) -> dict[str, int]:
        services = {each.role: each.pid for each in self.services.values() if each.process.poll() is None}
        return services | {"valkey": self.valkey.endpoint.pid, "postgres": self.postgres.endpoint.pid}


def on_a_stand(
    directory: Path,
    work: Callable[[Stand, Hand], Awaitable[Raw]],
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Measured:
    """Start a system in `directory`, do `work` on it, stop it cleanly. Call it in the main thread.

    `settings` are variables `DAYBOOK_…` that differ from the defaults; the bench's title says so.
    """

    async def within() -> Measured:
        async with (
            asyncio.timeout(BENCH_S),
            a_hand(
                stand.valkey.endpoint.url,
                stand.postgres.endpoint.url,
                prefix=stand.prefix,
                partitions=stand.partitions,
            ) as hand,
        ):
            raw = await work(stand, hand)
            assert stand.meter.spent is not None, "the bench has no window"
            return Measured(raw=raw, cpu=stand.meter.spent.row(), servers=await hand.versions())

    with _standing(directory, settings) as stand:
        return run_loop(within())


def run_loop(work: Coroutine[Any, Any, Measured]) -> Measured:
    """Run `work` on a loop like the services'; Ctrl-C cancels it first."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@contextmanager
def _standing(directory: Path, settings: Mapping[str, str]) -> Iterator[Stand]:
    stand = Stand(directory, settings)
    try:
        say("starting servers and services")
        stand.start()
        yield stand
        say("stopping")
        stand.stop()
    except Exception as error:
        error.add_note(stand.tails())
        raise
    finally:
        stand.destroy()
