"""What a handler says while it works: its output, of which the last is kept, and how far it is.

Both `run.log` and what is logged through `logging` in the handler's context, or in tasks and threads that inherit it,
come here. The output is recorded when the attempt ends (`RunOutput`), progress is shown while it runs.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import deque
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING

from services.executor.masking import Mask
from shared import logs
from shared.domain.commands import Output
from shared.eventlog.envelope import json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.handlers import Reporter

KEPT_MAX = 64 * 1024  # bytes as JSON, as which it stands in the log: an event takes 256 KB
MESSAGE_MAX = 200  # characters of a progress message
CAPTURE = "daybook-output"  # the name of the handler in `logging`

_reporter: ContextVar[Reporter | None] = ContextVar("who takes down what is logged", default=None)


class Notebook:
    """One attempt's.

    Args:
        on_progress: told each progress, as JSON `{"ratio": 0…1, "message": …}`.
        sealed: what is shown of a progress's message.

    Attributes:
        mask: takes the run's secrets out of what is taken down and shown.
    """

    def __init__(self, on_progress: Callable[[str], None], sealed: Callable[[str], str] = str) -> None:
        self.mask = Mask()
        self._sealed = sealed
        self._on_progress = on_progress
        self._lines: deque[str] = deque()
        self._size = 0
        self._dropped = 0
        self._lock = Lock()  # a handler may have threads

    def log(self, text: str) -> None:
        """Take a line down, or several."""
        self.take(stamped(text))

    def progress(self, ratio: float, message: str) -> None:
        """Show how far it is."""
        shown = self._sealed(self.mask.text(message)[:MESSAGE_MAX])
        self._on_progress(json.dumps({"ratio": ratio, "message": shown}))

    def take(self, line: str) -> None:
        """Take a finished line down."""
        with self._lock:
            line, cut = _ending(self.mask.text(line))
            self._dropped += cut
            self._lines.append(line)
            self._size += _size(line)
            while self._size > KEPT_MAX:
                oldest = self._lines.popleft()
                self._size -= _size(oldest)
                self._dropped += _bytes(oldest) + 1

    def output(self) -> Output | None:
        """What there is now; None if nothing was said."""
        with self._lock:
            if not self._lines:
                return None
            return Output(text="\n".join(self._lines) + "\n", dropped=self._dropped)


class Capture(logging.Handler):
    """Gives what libraries and handlers log to the notebook of the attempt in whose context they do."""

    def __init__(self) -> None:
        super().__init__()
        self.set_name(CAPTURE)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Take the record down; one that can't be formatted stops nobody."""
        reporter = _reporter.get()
        if reporter is None:
            return
        try:
            reporter.log(self.format(record))
        except Exception:  # noqa: BLE001 - as logging.Handler says
            self.handleError(record)


def capture() -> None:
    """Have this process's `logging` fill notebooks, from now on; harmless twice."""
    root = logging.getLogger()
    if not any(each.get_name() == CAPTURE for each in root.handlers):
        root.addHandler(Capture())


@contextlib.contextmanager
def taking_down(reporter: Reporter) -> Iterator[None]:
    """Within this context, what is logged is told to `reporter`."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


def stamped(text: str) -> str:
    """`text` with the time before it."""
    return f"{logs.now()} {text}"


def _ending(line: str) -> tuple[str, int]:
    """The end of `line` that may be kept, and how many bytes are not."""
    kept = line[-KEPT_MAX:]
    while _size(kept) > KEPT_MAX:
        kept = kept[len(kept) // 4 + 1 :]
    return kept, 0 if kept is line or kept == line else _bytes(line) - _bytes(kept)


def _size(line: str) -> int:
    """Bytes of the line in an event's JSON, its end included."""
    return len(json_text(line).encode())


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
