"""A picture of a deployment: a hash of each table and each Redis key, and the list of what a recovery may change.

Every table of every schema and every key under the prefix is in it; what is added later is in it, too. The list is as
narrow as it can be: tests show that each entry is needed, and that what lies beside it isn't excused.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.eventlog.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TABLES = """
select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 1
"""


class Value(NamedTuple):
    """What stands under a key: its Redis type, whether it leaves by itself, and its content in a fixed order."""

    kind: str
    expires: bool
    content: Any


class Excuse(NamedTuple):
    """One entry of the list.

    Attributes:
        of: what it is about: a pattern of keys without the partition's base, or of tables.
        why: the reason.
        strip: (content, refs of running runs) → what of it must be as it was; None: nothing.
        expiring: only of what leaves by itself.
    """

    of: str
    why: str
    strip: Callable[[Any, frozenset[str]], Any] = lambda *_: None
    expiring: bool = False


def _without(*names: str) -> Callable[[Any, frozenset[str]], Any]:
    return lambda content, _: {name: value for name, value in content.items() if name not in names}


def _but_leases(content: Any, running: frozenset[str]) -> Any:
    return [[ref, None if ref in running else at] for ref, at in content]


def _entries(content: Any, _: frozenset[str]) -> Any:
    return {"entries": content["entries"]} if content["entries"] else None


KEYS = (
    Excuse("meta", "an opening gives the log an epoch, a position and this server's incarnation; for a lease "
           "it grants no permits", _without("epoch", "pos", "last_ms", "incarnation", "granting_ms")),
    Excuse("log", "what is archived isn't put back; the log begins with the LogOpened that names it"),
    Excuse("due", "a running run's lease is a fresh one: its worker may be alive", _but_leases),
    Excuse("(job|run|backfill|relay|apikey|calendar):.*", "what is over leaves by itself, and commands find it in "
           "the archive", expiring=True),
    Excuse("run:.*", "progress is no fact: a handler tells it again", _without("progress")),
    Excuse("work:.*", "who claims makes the group again; what was claimed and not started is offered again", _entries),
    Excuse("(permits|holders|waiting):.*", "those at work put theirs back with a heartbeat, those that wait come by "
           "their time"),
    Excuse("bell:.*", "a bell that isn't rung costs a second at most"),
    Excuse("lease:.*|[a-z]+:replicas|members:.*|projectors", "who serves a partition is no fact"),
    Excuse("writer:.*", "processes number their batches anew for a log that was opened; what was archived of a batch "
           "whose reply was lost is found there by its events' ids"),
    Excuse("(limit|used|asked|applying|applied):.*", "counts and marks that save work, and decide nothing",
           expiring=True),
    Excuse("tzdata", "a timer notes again by which zone tables it plans"),
    Excuse("once:[^:]*:.*", "the text of an answer isn't archived: a repeated request is told what is there now",
           expiring=True),
)  # fmt: skip
ROWS = (
    Excuse(r"book\.checkpoints", "an opening raises the fence", _without("fence")),
    Excuse(r"book\.deployment", "a database that was lost is set up anew", _without("opened_at")),
    Excuse(r"book\.migrations", "likewise", _without("applied_at")),
)
ALL = KEYS + ROWS


class Picture:
    """Everything, as it stood.

    Args:
        values: `<partition> <key without base>` → what stands there; what is in no partition has the partition -.
        rows: table → its rows.
    """

    def __init__(self, values: dict[str, Value], rows: dict[str, list[dict[str, Any]]]) -> None:
        self.values, self.rows = values, rows
        self._running = frozenset(
            name.partition(" ")[2] for name, value in values.items() if _status(name, value) == "running"
        )

    def hashes(self, excuses: Iterable[Excuse] = ALL) -> dict[str, str]:
        """Key or table → SHA-256 of what must be as it was; what may be gone isn't there."""
        found = {}
        for name, value in self.values.items():
            told = self._stripped(name.partition(" ")[2], value, [each for each in excuses if each in KEYS])
            if told is not None:
                found[name] = _hash([value.kind, value.expires, told])
        for table, rows in self.rows.items():
            mine = [each for each in excuses if each in ROWS and re.fullmatch(each.of, table)]
            for excuse in mine:
                rows = [excuse.strip(row, self._running) for row in rows]  # noqa: PLW2901 - one after the other
            found[table] = _hash(sorted(map(_text, rows)))
        return found

    def _stripped(self, name: str, value: Value, excuses: Iterable[Excuse]) -> Any:
        content = value.content
        for each in excuses:
            if re.fullmatch(each.of, name) and (value.expires or not each.expiring):
                content = each.strip(content, self._running)
                if content is None:
                    return None
        return content


def differences(before: Picture, after: Picture, excuses: Iterable[Excuse] = ALL) -> set[str]:
    """Names of keys and tables that aren't as they were, excuses granted."""
    excuses = tuple(excuses)
    was, now = before.hashes(excuses), after.hashes(excuses)
    return {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}


def take_back_openings(before: Picture, after: Picture) -> None:
    """Take out of `after` that each log was opened once more: nothing else may have been written since `before`."""
    tails = {row["partition"]: row for row in before.rows["book.checkpoints"]}
    new = [row for row in after.rows["book.events"] if row["pos"] > tails[row["partition"]]["pos"]]
    assert [(row["partition"], row["type"]) for row in sorted(new, key=lambda row: row["partition"])] == [
        (partition, "LogOpened") for partition in sorted(tails)
    ]
    ends = {row["partition"]: row for row in new}
    for row in after.rows["book.checkpoints"]:
        for name in ("epoch", "pos", "id", "at", "chain"):
            assert row[name] == ends[row["partition"]][name], name
            row[name] = tails[row["partition"]][name]
    after.rows["book.events"] = [row for row in after.rows["book.events"] if row not in new]


async def taken(pool: Any, redis: Any, *, prefix: str, partitions: int) -> Picture:
    """The picture of a deployment, which stands still meanwhile."""
    return Picture(await _values(redis, prefix, partitions), await _rows(pool))


async def _rows(pool: Any) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for (table,) in await pool.fetch(TABLES):
        rows = await pool.fetch(f"select to_jsonb(t) as row from {table} t")  # noqa: S608 - a name from the catalogue
        found[table] = [json.loads(row["row"]) if isinstance(row["row"], str) else row["row"] for row in rows]
    return found


async def _values(redis: Any, prefix: str, partitions: int) -> dict[str, Value]:
    bases = {f"{Keys(prefix, partition).base}:": partition for partition in range(partitions)}
    found = {}
    async for key in redis.scan_iter(match=f"{prefix}:*", count=1_000):
        if (kind := (await redis.type(key)).decode()) == "none":
            continue  # it has left by itself since
        text = key.decode()
        base = next((each for each in bases if text.startswith(each)), f"{prefix}:")
        content = await _READ[kind](redis, key)
        found[f"{bases.get(base, '-')} {text.removeprefix(base)}"] = Value(
            kind, await redis.pttl(key) > 0, content
        )
    return found


async def _string(redis: Any, key: bytes) -> str:
    return (await redis.get(key) or b"").hex()


async def _fields(redis: Any, key: bytes) -> dict[str, str]:
    return dict(sorted(_decoded(await redis.hgetall(key)).items()))


async def _scores(redis: Any, key: bytes) -> list[list[Any]]:
    return sorted([ref.decode(), at] for ref, at in await redis.zrange(key, 0, -1, withscores=True))


async def _list(redis: Any, key: bytes) -> list[str]:
    return [item.hex() for item in await redis.lrange(key, 0, -1)]


async def _set(redis: Any, key: bytes) -> list[str]:
    return sorted(item.hex() for item in await redis.smembers(key))


async def _stream(redis: Any, key: bytes) -> dict[str, Any]:
    entries = [[entry.decode(), sorted(_decoded(pairs).items())] for entry, pairs in await redis.xrange(key)]
    groups = [[each["name"].decode(), each["pending"]] for each in await redis.xinfo_groups(key)]
    return {"entries": entries, "groups": groups}


_READ = {"string": _string, "hash": _fields, "zset": _scores, "list": _list, "set": _set, "stream": _stream}


def _decoded(pairs: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode(errors="surrogateescape") for name, value in pairs.items()}


def _status(name: str, value: Value) -> str | None:
    if not name.partition(" ")[2].startswith("run:"):
        return None
    status: str | None = json.loads(value.content["state"]).get("status")
    return status


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _hash(value: Any) -> str:
    return hashlib.sha256(_text(value).encode(errors="surrogatepass")).hexdigest()
