"""Logs: one structured line for an event of interest, on stderr; for machines as JSON, for people in colours.

What libraries log through `logging` (Hypercorn, Quart, asyncio) passes the same processors. Fields bound with `bind`
(`correlation_id`) stand in every line of their task. Passwords in addresses, credentials in headers, keys of
ours and fields named as secrets are masked on the way out, tracebacks included.
"""

import contextlib
import json
import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache, partial
from threading import Lock
from types import MappingProxyType
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

MASK = "***"
HANDLER = "daybook"  # the name of our handler, so that a second `configure` replaces it and nobody else's
QUIET = (
    "hypercorn.error",
    "httpx",
    "httpcore",
)  # a line for each socket or request; warnings still come through

# In an http address the password ends before the path; elsewhere people forget to escape a slash in it.
_WEB_PASSWORD = re.compile(r"(?i)(https?://[^\s:@/]*:)[^\s/@]*@")
_PASSWORD = re.compile(r"(?i)((?!https?:)\b[a-z][a-z0-9+.-]*://[^\s:@/]*:)\S*@")
_PARAMETER = re.compile(r"(?i)([?&](?:\w*password|\w*secret|\w*token|api_?key)=)[^\s&#\"']*")
_CREDENTIAL = re.compile(  # headers as libraries print them: as text, in a dict, as pairs; and keys of ours
    r"(?i)(\b(?:authorization|x-api-key|cookie)[\"']?(?:\s*[:=]|,)\s*(?:b?[\"'])?(?:bearer |basic )?)[^\s\"',;)}\]]+"
    r"|(\bbearer |\bdbk_)(?:[\w.~+/=-]{16,}|[\w.~+/=-]*\*{3}[\w.~+/=*-]*)"  # what is masked in part goes whole
)
_TELLTALE = 36  # characters; a credential with what tells it is longer than an id
_LEVELS = {"warn": "warning", "exception": "error"}  # what a logger's methods mean
_PLAIN = frozenset({int, float, bool, type(None)})
_SECRET_FIELD = re.compile(r"(?i)(password|passwd|secret|secret_?key|token|api_?key|authorization|cookie)$")
HIDDEN_MAX = 5_000
_hidden: dict[str, None] = {}  # revealed secrets, in several spellings
_hiding: re.Pattern[str] | None = None  # finds them
_hushed: ContextVar["_Hushed | None"] = ContextVar("what a task's lines are without", default=None)
_bound: ContextVar[Mapping[str, object]] = ContextVar("fields of log lines", default=MappingProxyType({}))


def configure(level: str, fmt: str, service: str) -> None:
    """Send every log line of this process to stderr; may be called again.

    Args:
        level: the least level written: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        fmt: `json`, `console`, or `auto`: console when stderr is a terminal.
        service: stands in each line as `service`.
    """
    before: list[Processor] = [_framing(service)]
    after: list[Processor] = [structlog.processors.format_exc_info, _mask_secrets, *_rendering(fmt)]
    out = _Out(sys.stderr)
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=partial(_Logger, out),
        cache_logger_on_first_use=False,  # a logger made before `configure` must follow it
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after],
    )
    _replace_handler(level, _Foreign(out, formatter))


def get(name: str) -> FilteringBoundLogger:
    """Return the logger called `name`; say `log.info("run started", run_id=…)`: fixed words, ids apart."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def bind(**fields: object) -> None:
    """Have `fields` stand in every line of this task, and of those that it begins, from now on."""
    _bound.set({**_bound.get(), **fields})


def bound() -> Mapping[str, object]:
    """What `bind` has been told in this task."""
    return _bound.get()


def hide(values: Iterable[str]) -> None:
    """Mask these texts in every line of this process from now on; of very many, the latest."""
    global _hidden, _hiding  # noqa: PLW0603 - lines of all threads and tasks pass them, those of libraries too
    known = {**_hidden, **dict.fromkeys(values)}
    if len(known) == len(_hidden):
        return
    _hidden = dict.fromkeys(list(known)[-HIDDEN_MAX:])
    _hiding = re.compile("|".join(re.escape(each) for each in sorted(_hidden, key=len, reverse=True)))


@contextlib.contextmanager
def hushed(values: Iterable[str]) -> Iterator[None]:
    """Mask these texts in the lines of this task, and of those that it begins, until the context ends.

    Unlike what is hidden, they may be words that others use as well, and there may be a thousand new ones a second:
    what finds them is made when the task says something.
    """
    token = _hushed.set(_Hushed(values) if values else None)
    try:
        yield
    finally:
        _hushed.reset(token)


def is_hushed() -> bool:
    """Whether there are such texts in this task."""
    return _hushed.get() is not None


class _Hushed:
    def __init__(self, values: Iterable[str]) -> None:
        self._values: Iterable[str] = values
        self._finding: re.Pattern[str] | None = None

    def masked(self, text: str) -> str:
        if self._finding is None:
            spelt = {each for value in self._values for each in _spellings(value)}
            self._finding = re.compile("|".join(map(re.escape, sorted(spelt, key=len, reverse=True))))
        return self._finding.sub(MASK, text)


def _spellings(value: str) -> Iterator[str]:
    yield value
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]


def masked(text: str) -> str:
    """Return `text` with the passwords of all addresses in it masked, and what was hidden, or is hushed."""
    if _hiding is not None:
        text = _hiding.sub(MASK, text)
    if (quiet := _hushed.get()) is not None:
        text = quiet.masked(text)
    if len(text) > _TELLTALE:
        text = _CREDENTIAL.sub(rf"\g<1>\g<2>{MASK}", text)
    if "://" not in text:
        return text
    text = _WEB_PASSWORD.sub(rf"\g<1>{MASK}@", text)
    text = _PASSWORD.sub(rf"\g<1>{MASK}@", text)
    return _PARAMETER.sub(rf"\g<1>{MASK}", text)


def masked_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields as a line would have them."""
    return {key: _mask_field(key, value) for key, value in fields.items()}


def _framing(service: str) -> Processor:
    """Level, logger, time, service and bound fields in one step: a line of five processors takes twice as long."""

    def frame(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
        foreign: logging.LogRecord | None = line.get("_record")
        return {
            **_bound.get(),
            "service": service,
            **line,
            "level": _LEVELS.get(method, method),
            "logger": logger.name if foreign is None else foreign.name,
            "at": now(),
        }

    return frame


def now() -> str:
    """The time of day as lines bear it, UTC."""
    seconds, rest_ns = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{rest_ns // 1000:06d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _rendering(fmt: str) -> list[Processor]:
    console = fmt == "console" or (fmt == "auto" and sys.stderr.isatty())
    return _for_people() if console else _for_machines()


def _for_people() -> list[Processor]:
    # Rich tracebacks would print the locals, secrets among them.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _for_machines() -> list[Processor]:
    # "event" means something else in this system.
    encode = msgspec.json.Encoder(enc_hook=str).encode

    def render(line: EventDict, **_: object) -> str:
        try:
            return encode(line).decode()
        except UnicodeEncodeError:  # a lone surrogate, which JSON may have in ASCII only
            return json.dumps(line, default=str)

    return [structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer(render)]


def _mask_secrets(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    # Nearly all lines need nothing done, and this is how to see it quickly.
    if _name_a_secret(tuple(line)) or _hushed.get() is not None:
        return masked_fields(line)
    for value in line.values():
        kind = value.__class__
        if kind is str:
            if _hiding is not None or len(value) > _TELLTALE or "://" in value:
                return masked_fields(line)
        elif kind not in _PLAIN:
            return masked_fields(line)
    return line


@lru_cache(maxsize=1024)
def _name_a_secret(keys: tuple[str, ...]) -> bool:
    """Whether one of the fields of a line does: lines of a kind have the same fields."""
    return any(map(_names_a_secret, keys))


@lru_cache(maxsize=1024)
def _names_a_secret(key: str) -> bool:
    return _SECRET_FIELD.search(key) is not None


def _mask_field(key: object, value: object) -> object:
    if isinstance(key, str) and value is not None and _names_a_secret(key):
        return MASK
    match value:
        case str():
            return masked(value)
        case Mapping():
            return {inner: _mask_field(inner, each) for inner, each in value.items()}
        case list() | tuple():
            return [_mask_field(key, each) for each in value]
        case BaseException():
            return masked(f"{type(value).__name__}: {value}")
        case _:
            return value


class _Out:
    """Where lines go, from any thread; where that fails, the work goes on without them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = Lock()

    def write(self, line: str) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()


class _Logger:
    """What structlog hands a finished line to; `logging` would make a record of each, at twice the price."""

    def __init__(self, out: _Out, name: str = "") -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = out.write


class _Foreign(logging.Handler):
    """Lines of libraries, which know `logging` only."""

    def __init__(self, out: _Out, formatter: logging.Formatter) -> None:
        super().__init__()
        self.set_name(HANDLER)
        self.setFormatter(formatter)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._out.write(self.format(record))
        except Exception:  # noqa: BLE001 - as logging.Handler says: a line that can't be formatted stops nobody
            self.handleError(record)


def _replace_handler(level: str, handler: logging.Handler) -> None:
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
