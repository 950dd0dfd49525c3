"""Which runs to take, and in what order: highest priority first over all partitions, equals in turn."""

from __future__ import annotations

import math
import time
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.eventlog import snapshot
from shared.eventlog.keys import GROUP, PRIORITIES
from shared.eventlog.script import Call, Script, called, raise_unless_some
from shared.eventlog.snapshot import NOTHING
from shared.eventlog.unit import Done
from shared.faults import is_broken
from shared.personal.sealing import KEY

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from shared.eventlog.log import EventLog
    from shared.eventlog.snapshot import Snapshot

ADOPT_IDLE_MS = 5_000  # far above the time from claim to start, a few ms; far below anybody's patience
FORGOTTEN_MS = 24 * 3600 * 1000
HANDED_BACK_MS = 3600 * 1000

_SEALED = KEY.encode()
SEEN_S = 0.05  # so old may be what was seen: a run of high priority that came since is overtaken by one claim

Waiting = dict[int, list[int]]  # partition → how many wait in each of its work streams, see `_streams`
_Calls = dict[int, tuple[list[str], list[str]]]  # partition → KEYS and ARGV of a script


class Claim(NamedTuple):
    """A run that is this consumer's to start: the entry stays pending until the start deletes it.

    Attributes:
        held: version, state, spec and fence of the run's snapshot as they were at the claim.
        follower: id of the job that follows the run, version, state and spec of its snapshot then; empty if none does.
    """

    partition: int
    queue: str
    priority: int
    entry: str
    run: str
    held: tuple[bytes, bytes, bytes, bytes]
    follower: tuple[bytes, ...] = ()

    @property
    def key(self) -> tuple[int, str]:
        """What tells it from all others: one entry is one claim, however often it is taken."""
        return self.partition, self.entry

    def snapshot(self) -> Snapshot:
        """The run as it was at the claim.

        Raises:
            NewerShape: a newer Daybook wrote it.
        """
        return snapshot.read(f"run:{self.run}", *self.held)

    def beside(self) -> dict[str, Snapshot]:
        """The job that follows the run, as it was at the claim; empty if none does, or it isn't for us to read."""
        if not self.follower:
            return {}
        job, version, state, spec = self.follower
        ref = f"job:{job.decode()}"
        try:
            found = snapshot.read(ref, version, state, spec, b"")
        except ValueError:
            return {}
        return {} if found is NOTHING else {ref: found}

    @property
    def may_be_sealed(self) -> bool:
        """Whether something in the run's data may be; to walk through all of it takes thirty times as long."""
        return _SEALED in self.held[2]

    @property
    def done(self) -> Done:
        """The entry, for the commit that takes care of it."""
        return Done(self.queue, self.priority, self.entry)


class Claims:
    """One consumer's hand on the work streams of some queues, in all partitions.

    Args:
        log: whose partitions, and whose client.
        queues: the queues it serves.
        consumer: a name no other consumer has, nor had.
    """

    def __init__(self, log: EventLog, *, queues: Sequence[str], consumer: str) -> None:
        self._log = log
        self._redis = log.redis
        self._wire = log.wire
        self._queues = tuple(queues)
        self._consumer = consumer
        self._streams = tuple((queue, priority) for priority in PRIORITIES for queue in self._queues)
        self._keys = {p: [log.keys(p).work(*each) for each in self._streams] for p in range(log.partitions)}
        self._cursors = {p: ["0-0"] * len(self._streams) for p in range(log.partitions)}
        self._scripts = {name: _script(name) for name in ("waiting", "claim", "adopt", "leave")}
        self._turn = 0
        self._seen: Waiting = {}  # as of `_seen_at`, just after the claims before
        self._seen_at = -math.inf

    async def waiting(self) -> Waiting:
        """How many runs wait in each work stream."""
        replies = await self._call("waiting", {p: (keys, [GROUP]) for p, keys in self._keys.items()})
        return dict(replies)

    def depths(self, waiting: Waiting) -> dict[str, int]:
        """How many wait in each queue, all partitions together."""
        depths = dict.fromkeys(self._queues, 0)
        for counts in waiting.values():
            for (queue, _), count in zip(self._streams, counts, strict=True):
                depths[queue] += count
        return depths

    async def take(self, free: int) -> list[Claim]:
        """Claim up to `free` runs; with 0, only pass on the bells that were rung for us."""
        waiting = self._just_seen() or {
            p: counts for p, counts in (await self.waiting()).items() if any(counts)
        }
        if not waiting:
            return []
        self._turn += 1
        counts = plan(waiting, free, queues=len(self._queues), turn=self._turn)
        chosen = [
            p for p in waiting if free == 0 or any(counts[p])
        ]  # with no slot free, the bells are passed on
        calls = {p: self._claim_arguments(p, free, counts[p]) for p in chosen}
        return await self._claimed(calls, looking=True)

    async def take_from(self, partitions: Collection[int], most: int) -> list[Claim]:
        """Claim up to `most` runs from each of the partitions that have just rung, without asking the others.

        Nobody is overtaken as long as `most` is an even part of the free slots: whoever rings elsewhere
        meanwhile finds his own part free.
        """
        anything = [most] * len(self._streams)
        return await self._claimed({p: self._claim_arguments(p, most, anything) for p in partitions})

    async def adopt(self, free: int) -> list[Claim]:
        """Take over up to `free` runs that were claimed ADOPT_IDLE_MS ago, by whomever, and not started."""
        claims: list[Claim] = []
        troubles: list[Exception] = []  # of one partition: they are no reason to drop what another has given
        for partition, keys in self._keys.items():
            if len(claims) < free:
                runs = self._log.keys(partition).aggregate("run:")
                head = [GROUP, self._consumer, runs, str(ADOPT_IDLE_MS), str(free - len(claims))]
                call = (keys, head + self._cursors[partition])
                try:
                    cursors, rows = (await self._call("adopt", {partition: call}))[partition]
                except Exception as error:
                    if not is_broken(error):
                        raise
                    troubles.append(error)
                    continue
                self._cursors[partition] = [cursor.decode() for cursor in cursors]
                claims += [self._claim(partition, *row) for row in rows]
        if troubles and not claims:
            raise troubles[0]
        return claims

    async def drop(self, claim: Claim) -> None:
        """Take a stale entry out: its run was started, or ended, by way of another."""
        stream = self._log.keys(claim.partition).work(claim.queue, claim.priority)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xack(stream, GROUP, claim.entry)
            pipe.xdel(stream, claim.entry)
            await pipe.execute()

    async def hand_back(self, claim: Claim) -> None:
        """Let another consumer adopt the run at once."""
        stream = self._log.keys(claim.partition).work(claim.queue, claim.priority)
        await self._redis.xclaim(
            stream, GROUP, self._consumer, 0, [claim.entry], idle=HANDED_BACK_MS, justid=True
        )

    async def leave(self) -> int:
        """Hand back whatever is still claimed, and give the name up; returns how many entries that were."""
        arguments = [GROUP, self._consumer, str(FORGOTTEN_MS)]
        replies = await self._call("leave", {p: (keys, arguments) for p, keys in self._keys.items()})
        return sum(replies.values())

    def _just_seen(self) -> Waiting:
        """What waits, if somebody has looked a moment ago and seen something."""
        seen, self._seen = self._seen, {}
        return seen if time.monotonic() - self._seen_at < SEEN_S else {}

    async def _claimed(self, calls: _Calls, *, looking: bool = False) -> list[Claim]:
        """The claims of `calls`; `looking` sees in the same round trip what is left, for whoever takes next."""
        look = {p: (keys, [GROUP]) for p, keys in self._keys.items()} if looking else {}
        replies, left = await self._called(("claim", calls), ("waiting", look))
        if looking:
            self._seen = {p: counts for p, counts in left.items() if any(counts)}
            self._seen_at = time.monotonic()
        return [self._claim(p, *row) for p, rows in replies.items() for row in rows]

    def _claim_arguments(
        self, partition: int, most: int, counts: Sequence[int]
    ) -> tuple[list[str], list[str]]:
        keys = self._log.keys(partition)
        bells = [keys.bell(queue) for queue in self._queues]
        head = [GROUP, self._consumer, keys.aggregate(""), str(len(bells)), str(most)]
        return bells + self._keys[partition], [*head, *map(str, counts)]

    def _claim(
        self,
        partition: int,
        stream: int,
        entry: bytes,
        run: bytes,
        version: bytes,
        state: bytes,
        spec: bytes,
        fence: bytes,
        *follower: bytes,
    ) -> Claim:
        queue, priority = self._streams[stream - 1]
        held = (version, state, spec, fence)
        return Claim(partition, queue, priority, entry.decode(), run.decode(), held, follower)

    async def _call(self, name: str, calls: _Calls) -> dict[int, Any]:
        """One script on several partitions, in one round trip."""
        (replies,) = await self._called((name, calls))
        return replies

    async def _called(self, *scripts: tuple[str, _Calls]) -> list[dict[int, Any]]:
        """Some scripts one after the other, each on several partitions, all in one round trip.

        Partitions of a server that can't be reached are left out: what the others have handed out must be worked on.

        Raises:
            Exception: what `faults.is_broken` knows; none was reached.
        """
        all_calls = [
            Call(self._scripts[name], *arguments) for name, calls in scripts for arguments in calls.values()
        ]
        replies = await called(self._wire, all_calls)
        raise_unless_some(replies)
        each = iter(replies)
        found = [{partition: next(each) for partition in calls} for _, calls in scripts]
        return [{p: reply for p, reply in of.items() if not isinstance(reply, Exception)} for of in found]


def plan(waiting: Waiting, free: int, *, queues: int, turn: int) -> dict[int, list[int]]:
    """How many to take from each work stream of each partition, `free` in all.

    Where there is more than can be taken, as much as can be comes from one partition, and from the next one next
    time: starts of one partition are committed together, and large commits are cheap ones.

    Args:
        waiting: see Waiting; work streams by falling priority, of each priority one for each queue.
        free: slots.
        queues: how many there are.
        turn: which partition, and which queue of a priority, comes first this time.
    """
    counts = {partition: [0] * len(streams) for partition, streams in waiting.items()}
    partitions = _rotated(list(waiting), turn)
    for first in range(0, len(next(iter(waiting.values()))), queues):
        for stream in _rotated(range(first, first + queues), turn):
            for partition in partitions:
                count = min(waiting[partition][stream], free)
                counts[partition][stream] = count
                free -= count
    return counts


def _rotated(items: Sequence[int], turn: int) -> list[int]:
    first = turn % len(items)
    return [*items[first:], *items[:first]]


def _script(name: str) -> Script:
    return Script(resources.files("services.executor").joinpath(f"{name}.lua").read_text())
