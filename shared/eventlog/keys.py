"""Names of keys. All keys of a partition share one hash tag, so one script may touch them on a Redis Cluster."""

from __future__ import annotations

from dataclasses import dataclass, field

# One tag for each of 64 equal ranges of the 16,384 slots, in bit-reversed order of the ranges: any first n of
# them lie as far apart as n can, so a cluster of any size has work on each master. (Naive tags {0}…{15} leave
# masters empty.) Never change: data stands under these names.
TAGS = (
    "10", "12", "11", "13", "69", "c0", "68", "c1", "29", "ac", "28", "ab", "b", "d", "c", "a",
    "cc", "ca", "cb", "cd", "1a", "1c", "1d", "1b", "3", "1", "2", "0", "a0", "49", "a1", "48",
    "18", "bb", "19", "bc", "61", "63", "60", "62", "21", "23", "20", "22", "58", "fb", "59", "fc",
    "6d", "6b", "6a", "6c", "b1", "78", "b0", "79", "f1", "9", "f0", "8", "2d", "2b", "2a", "2c",
)  # fmt: skip
GROUP = "executors"  # the consumer group of every work stream
PRIORITIES = range(10, 0, -1)  # highest first


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one partition; `prefix` keeps tenants and tests on one server apart.

    Attributes:
        base: `<prefix>:{<tag>}`, which every key of the partition begins with.
    """

    prefix: str
    partition: int
    base: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", f"{self.prefix}:{{{TAGS[self.partition]}}}")

    @property
    def meta(self) -> str:
        """Hash: epoch, pos, last_ms, partitions, incarnation."""
        return f"{self.base}:meta"

    @property
    def log(self) -> str:
        """Stream: the events."""
        return f"{self.base}:log"

    @property
    def due(self) -> str:
        """Sorted set: when (ms) each aggregate must be woken; at most one entry each."""
        return f"{self.base}:due"

    @property
    def never(self) -> str:
        """Nothing, ever: who declares it is refused by a Cluster that is moving the partition, of which half is there.

        A node that has a part of the keys says TRYAGAIN, or ASK; a script that names keys as it goes would find that
        out half-way.
        """
        return f"{self.base}:never"

    @property
    def timer_bell(self) -> str:
        """List, at most one item: rung when something earlier than the head of `due` is written."""
        return f"{self.base}:bell:timer"

    @property
    def tzdata(self) -> str:
        """Hash: by which zone tables the partition's jobs are planned (`shared.eventlog.replan`); decides nothing."""
        return f"{self.base}:tzdata"

    @property
    def personal(self) -> str:
        """Hash: job → copy of the key that opens its personal data (`shared.personal.keys`)."""
        return f"{self.base}:personal"

    @property
    def archived(self) -> str:
        """Pub/sub channel: the position up to which the projector has archived."""
        return f"{self.base}:archived"

    def aggregate(self, ref: str) -> str:
        """Hash: version, state, spec and fence of `job:<id>` or `run:<id>`; version and state of all other kinds."""
        return f"{self.base}:{ref}"

    def work(self, queue: str, priority: int) -> str:
        """Stream: runs ready to start, oldest first; read through GROUP."""
        return f"{self.base}:work:{queue}:{priority}"

    def bell(self, queue: str) -> str:
        """List, at most one item: rung when work arrives in `queue`."""
        return f"{self.base}:bell:{queue}"

    def once(self, digest: str) -> str:
        """Hash: the answer that an Idempotency-Key has had."""
        return f"{self.base}:once:{digest}"

    def told(self, digest: str, of: str) -> str:
        """String: the text of the answer that an Idempotency-Key has had; `of` tells its uses apart."""
        return f"{self.once(digest)}:{of}"

    def applying(self, digest: str) -> str:
        """String: held while somebody's jobs are applied (`services/api/apply.py`); saves work, decides nothing."""
        return f"{self.base}:applying:{digest}"

    def applied(self, digest: str) -> str:
        """String: where the last apply of somebody's jobs is written, as Daybook-Position carries it; for a day."""
        return f"{self.base}:applied:{digest}"

    def used(self, key_hash: str) -> str:
        """String: when (Unix ms) an API key was used last, to the minute; no fact, so no event."""
        return f"{self.base}:used:{key_hash}"

    def limiter(self, kind: str, digest: str) -> str:
        """String: when a leaky bucket will be empty again (`limit.lua`); always with a time to live."""
        return f"{self.base}:limit:{kind}:{digest}"

    def permits(self, pool: str) -> str:
        """Sorted set: the runs of a concurrency key that may be at work, see `permits.lua`."""
        return f"{self.base}:permits:{pool}"

    def holders(self, pool: str) -> str:
        """Hash: which entry of a work stream each of those runs came by."""
        return f"{self.base}:holders:{pool}"

    def waiting(self, pool: str) -> str:
        """Sorted set: the runs that wait for a permit, since when."""
        return f"{self.base}:waiting:{pool}"

    def asked(self, hour: int) -> str:
        """Hash PX: how many requests each principal has sent in an hour (Unix time / 3600)."""
        return f"{self.base}:asked:{hour}"

    def writer(self, process: str) -> str:
        """String: last batch number of a process, and the reply to it."""
        return f"{self.base}:writer:{process}"

    def lease(self, role: str) -> str:
        """String: which replica serves this partition as timer or projector."""
        return f"{self.base}:lease:{role}"
