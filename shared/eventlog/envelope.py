"""The envelope: how an event stands in the log, in the archive, and how it leaves the system.

An entry of the stream has FIELDS, always all, always in this order (Redis packs entries of equal fields best).
`data` is the event's JSON, to the byte the same in log and archive. Outside it is a CloudEvents 1.0 JSON.
"""

from __future__ import annotations

import json
import re
from datetime import UTC
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from shared.domain import events, ids
from shared.domain.events import Change, Event
from shared.domain.value import Value
from shared.eventlog.position import Position
from shared.eventlog.upcast import UPCASTERS, Upcasters, upcast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

FIELDS = ("id", "type", "v", "subject", "job", "advances", "at", "actor", "cause", "corr", "trace", "data")
_NAMES = [name.encode() for name in FIELDS]
DATA_MAX = 256 * 1024  # bytes of `data`
_TYPES: dict[str, type[Event]] = {event.__name__: event for event in events.ALL}
_json = msgspec.json.Encoder().encode
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # Postgres stores no NUL, UTF-8 has no lone surrogate
_NUL = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u0000"
)  # the escape, not a backslash that somebody wrote before "u0000"
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


class UnknownEvent(ValueError):  # noqa: N818 - named for what is wrong
    """The log holds a type or version of event that this build doesn't know: it was written by a newer one."""


class DataTooLarge(ValueError):  # noqa: N818 - named for what is wrong
    """An event's data is above 256 KB."""


class Context(Value, frozen=True, kw_only=True):
    """On whose behalf: the actor, the command or event behind it, correlation id and traceparent.

    `tenant`: nothing of others is there for this actor; None: everything is.
    """

    actor: str
    cause: str = ""
    corr: str = ""
    trace: str = ""
    tenant: str | None = None


class Recorded(Value, frozen=True):
    """An event as it stands in the log and in the archive: position, and the FIELDS.

    `subject` is `job/<id>`, `run/<id>` and so on (`shared.domain.kinds`), or `log`; `job` the job a run belongs to,
    else ''; `advances` is `subject`, or `both` when its job advances with the run; `at` the commit time in ms; `data`
    the event's JSON.
    """

    partition: int
    position: Position
    id: str
    type: str
    v: int
    subject: str
    job: str
    advances: str
    at: int
    actor: str
    cause: str
    corr: str
    trace: str
    data: str

    def change(self, upcasters: Upcasters = UPCASTERS) -> Change:
        """The domain's view of it, old versions lifted to the present one.

        Raises:
            UnknownEvent: a newer Daybook wrote it.
        """
        return Change(
            subject=self.subject.replace("/", ":", 1),
            event=decode(self.type, self.v, self.data, upcasters),
            job=self.job,
            both=self.advances == "both",
        )

    @property
    def place(self) -> str:
        """`<partition>:<epoch>-<pos>`."""
        return f"{self.partition}:{self.position}"


def from_entry(partition: int, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Recorded:
    """The recorded event of a stream entry (bytes, as redis-py returns it undecoded)."""
    return from_pairs(partition, entry_id, [each for pair in fields.items() for each in pair])


def from_pairs(partition: int, entry_id: bytes, pairs: Sequence[bytes]) -> Recorded:
    """The recorded event of a stream entry as Redis sends it: name and value in turn, in the order of FIELDS.

    Raises:
        ValueError: its fields are others.
    """
    if pairs[::2] != _NAMES:
        raise ValueError(
            f"{entry_id!r} in the log of partition {partition} is no entry of ours: {pairs[::2]!r}"
        )
    uuid, kind, v, subject, job, advances, at, actor, cause, corr, trace, data = [
        value.decode() for value in pairs[1::2]
    ]
    return Recorded(
        partition, Position.parse(entry_id.decode()), uuid, kind, int(v), subject, job, advances, int(at), actor, cause,
        corr, trace, data,
    )  # fmt: skip


@cache
def decoder(kind: type) -> Callable[[str | bytes], Any]:
    """What reads a value of the domain back from its JSON; raises `ValueError` for anything else."""
    return msgspec.json.Decoder(kind).decode


def encode(event: Event) -> str:
    """The event's JSON: field order of the class, no spaces, text that every store takes.

    Raises:
        DataTooLarge: above DATA_MAX bytes.
    """
    data = json_text(event)
    if len(data) > DATA_MAX // 4 and len(data.encode()) > DATA_MAX:
        raise DataTooLarge(
            f"{type(event).__name__} has {len(data.encode())} bytes of data; {DATA_MAX} is the limit"
        )
    return data


def json_text(value: Any) -> str:
    """JSON of a domain value, with what no store takes replaced by U+FFFD."""
    try:
        text = _json(value).decode()
    except UnicodeEncodeError:  # a lone surrogate somewhere inside: JSON is UTF-8
        text = _json(storable(msgspec.to_builtins(value))).decode()
    return _NUL.sub("\\1\ufffd", text) if "\\u0000" in text else text


def storable(value: Any) -> Any:
    """`value` with NUL and lone surrogates in its strings replaced by U+FFFD."""
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case dict():
            return {storable(key): storable(item) for key, item in value.items()}
        case list() | tuple():
            return [storable(item) for item in value]
        case _:
            return value


def decode(kind: str, version: int, data: str, upcasters: Upcasters = UPCASTERS) -> Event:
    """The event that `data` tells, in its present shape.

    Raises:
        UnknownEvent: no such type, or a version above ours.
    """
    cls = _TYPES.get(kind)
    if cls is None or version > cls.VERSION:
        raise UnknownEvent(f"{kind} version {version} is unknown to this build")
    if version < cls.VERSION:
        data = json.dumps(upcast(kind, version, cls.VERSION, json.loads(data), upcasters))
    return decoder(cls)(data)  # type: ignore[no-any-return]


def cloudevent(event: Recorded, *, prefix: str) -> dict[str, Any]:
    """The event as CloudEvents 1.0 JSON; API.md lists the extensions. `prefix` tells deployments apart."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/{prefix}/{event.partition}",
        "type": event_type(event.type),
        "subject": event.subject,
        "time": rfc3339(ids.from_ms(event.at)),
        "datacontenttype": "application/json",
        "dataversion": str(event.v),
        "sequence": event.place,
        "partitionkey": event.job or event.subject.removeprefix("job/"),
        "correlationid": event.corr,
        "causationid": event.cause,
        "actor": event.actor,
        "traceparent": event.trace,
        "data": json.loads(event.data),
    }


def event_type(name: str) -> str:
    """The type that an event has outside: `io.daybook.job.created` for `JobCreated`."""
    return "io.daybook." + _WORDS.sub(".", name).lower()


def rfc3339(at: datetime) -> str:
    """An aware time in UTC with milliseconds, as every answer shows it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
