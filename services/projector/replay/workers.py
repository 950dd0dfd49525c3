"""The workers of a replay: its processes that read."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
from typing import TYPE_CHECKING

from services.projector.replay import worker
from services.projector.replay.build import Unreplayable

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe
    from typing import Self


class Workers:
    """Processes that read; they end with this one, and with the block.

    Args:
        url: of the archive's database.
        copies: directories.
        count: how many.
    """

    def __init__(self, url: str, copies: tuple[str, ...], count: int) -> None:
        context = multiprocessing.get_context("spawn")
        task = worker.Task(url, copies, os.getpid())
        self.read = 0  # events
        self._pipes: list[Pipe] = []
        self._processes = []
        for number in range(count):
            ours, theirs = context.Pipe(duplex=False)
            self._pipes.append(ours)
            self._processes.append(
                context.Process(target=worker.work, args=(task, theirs), name=f"replay-{number}", daemon=True)
            )

    async def __aenter__(self) -> Self:
        for process in self._processes:
            process.start()  # in this thread, with which they end
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            await asyncio.to_thread(process.join)

    def are_at_it(self) -> bool:
        """Whether one still reads.

        Raises:
            Unreplayable: one couldn't, and said why; or it has died.
        """
        alive = [process for process in self._processes if process.is_alive()]
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            with contextlib.suppress(EOFError):
                while pipe.poll():
                    said = pipe.recv()
                    if isinstance(said, str):
                        raise Unreplayable(said)
                    self.read += said
            if process.exitcode not in {None, 0}:
                raise Unreplayable(
                    f"A worker ended with {process.exitcode}: start again, it goes on where it was."
                )
        return bool(alive)
