"""How a handler in a process of its own is heard: what it logs and how far it is, told over a Unix socket.

Each process of the pool has one connection, and works on one call at a time. A process that is killed has told what it
had said by then: the kernel keeps that for us, and ends the connection behind it.

A message is a line of JSON: `[call, "begin"]`, `[call, "log", text]`, `[call, "progress", ratio, message]`,
`[call, "end"]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import socket
import tempfile
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from services.executor.masking import Mask
from services.executor.notebook import KEPT_MAX, stamped
from shared import logs

if TYPE_CHECKING:
    from services.executor.notebook import Notebook

LINE_MAX = 1024 * 1024  # bytes; a text of KEPT_MAX characters is shorter, however it is escaped
HEARD_S = 1.0  # what a process has said is here long before


class Backchannel:
    """Our end. Opened when the first blocking handler is called."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._server: asyncio.Server | None = None
        self._numbers = itertools.count(1)
        self._listening: dict[int, _Listening] = {}
        self._connections: set[asyncio.StreamWriter] = set()

    async def open(self) -> str:
        """The path of the socket, which is there from now on."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="daybook-"))
            self._server = await asyncio.start_unix_server(
                self._serve, str(self._folder / "said"), limit=LINE_MAX
            )
        return str(self._folder / "said")

    def listen(self, notebook: Notebook) -> int:
        """The number of a new call, whose words go into `notebook`."""
        number = next(self._numbers)
        self._listening[number] = _Listening(notebook)
        return number

    def came_back(self, call: int) -> None:
        """The call has ended by itself: all it has said is under way, though nothing may have been read of it yet."""
        self._listening[call].begun = True

    async def heard(self, call: int) -> None:
        """Return when all that the call has said is in its notebook: its process has said so, or is gone."""
        listening = self._listening[call]
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARD_S if listening.begun else 0):
                    await listening.over.wait()
        finally:
            del self._listening[call]

    def close(self) -> None:
        """Hang up; nobody is heard any more."""
        if self._server is not None:
            self._server.close()
        for writer in self._connections:
            writer.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear one process out."""
        self._connections.add(writer)
        call = 0
        try:
            while line := await reader.readline():
                call = self._take(json.loads(line))
        except (ValueError, OSError) as error:  # cut off within a line, or one that is too long
            logs.get("daybook.executor").warning("a handler's process can't be heard", error=repr(error))
        finally:
            self._connections.discard(writer)
            writer.close()
            if call in self._listening:
                self._listening[call].over.set()

    def _take(self, message: list[Any]) -> int:
        call: int = message[0]
        listening = self._listening.get(call)
        if listening is not None:
            listening.take(*message[1:])
        return call


class _Listening:
    """One call's."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self.begun = False
        self.over = asyncio.Event()

    def take(self, what: str, *said: Any) -> None:
        match what, said:
            case "begin", _:
                self.begun = True
            case "log", (text,):
                self._notebook.take(text)
            case "progress", (ratio, message):
                self._notebook.progress(ratio, message)
            case "end", _:
                self.over.set()


class Upstream:
    """The process's end: the reporter of its calls, one after the other. Nobody who can't be heard is stopped.

    Args:
        path: of our socket.

    Attributes:
        mask: takes the secrets of the call in hand out of what is said.
    """

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._lock = Lock()
        self._call = 0
        self.mask = Mask()

    def begin(self, call: int) -> None:
        """What is said from now on belongs to `call`."""
        self._call, self.mask = call, Mask()
        self._say("begin")

    def end(self) -> None:
        """The call has said all."""
        self._say("end")
        self._call = 0

    def log(self, text: str) -> None:
        """Take a line down, or several; of a long one the end."""
        self._say("log", stamped(self.mask.text(text))[-KEPT_MAX:])

    def progress(self, ratio: float, message: str) -> None:
        """Show how far it is."""
        self._say("progress", ratio, self.mask.text(message))

    def _say(self, *message: Any) -> None:
        line = json.dumps([self._call, *message]).encode() + b"\n"
        with self._lock, contextlib.suppress(OSError):
            self._socket.sendall(line)
