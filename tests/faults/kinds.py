"""The faults, one function a kind. Each returns when the fault is over; `strike` notes what it did and when."""

import asyncio
import shutil
import signal
from dataclasses import dataclass, field
from functools import partial

from tests.acceptance.system import ROLES

from .crowd import now
from .proxy import BOTH, DOWN, UP
from .stage import FAKED, LEASE_S, faketime

SERVERS = ("redis", "postgres")
CLOCK_SEEN_S = 1.5  # the library looks at its file once a second


@dataclass(slots=True, kw_only=True)
class Strike:
    """A fault as it was: `ended` when what was broken was there again, though perhaps not yet at work."""

    kind: str
    began: float
    how: str = ""
    ended: float = 0.0

    def over(self):
        self.ended = self.ended or now()


@dataclass(frozen=True, slots=True, kw_only=True)
class SetBack:
    """Redis lost what it had: when it was there again, and how far the archive had come by partition."""

    at: float
    archived: dict


@dataclass(slots=True, kw_only=True)
class Scene:
    """What a fault may use: the stage, its own chance, how long it may take, what it did."""

    stage: object
    rng: object
    strike: Strike
    longest_s: float
    behind_s: float
    set_backs: list = field(default_factory=list)

    def seconds(self, least, most=None):
        return self.rng.uniform(least, self.longest_s if most is None else most)


async def _killed(role, scene):
    service = scene.rng.choice(scene.stage.of(role))
    scene.strike.how = service.name
    with scene.stage.handling(service):
        service.kill()
        await scene.stage.hand(service.spawn)
        scene.strike.over()
    await scene.stage.is_up(service)


async def _stopped(role, scene):
    service = scene.rng.choice(scene.stage.of(role))
    for_s = scene.seconds(0.3) + (LEASE_S if scene.rng.random() < 0.5 else 0)
    scene.strike.how = f"{service.name} for {for_s:.1f} s"
    await _frozen([service], for_s)
    scene.strike.over()
    await scene.stage.is_up(service)


async def _behind(scene):
    scene.strike.how = f"all for {scene.behind_s:.0f} s"
    await _frozen(scene.stage.of("projector"), scene.behind_s)


async def _frozen(services, for_s):
    try:
        for service in services:
            service.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(for_s)  # the fault itself
    finally:
        for service in services:
            service.process.send_signal(signal.SIGCONT)


async def _clock(scene):
    off = scene.rng.choice(["+5", "-5"])
    scene.strike.how = f"{FAKED} {off} s"
    try:
        scene.stage.clock_file.write_text(f"{off}\n")
        await asyncio.sleep(CLOCK_SEEN_S + scene.seconds(0.5))
    finally:
        scene.stage.clock_file.write_text("+0\n")
    await asyncio.sleep(CLOCK_SEEN_S)


async def _valkey_killed(scene):
    stage = scene.stage
    stage.valkey.kill()
    await asyncio.sleep(scene.seconds(0, 1.5))
    await stage.hand(stage.valkey.start)


async def _valkey_set_back(scene):
    """With `everysec` a machine that dies takes what was written last with it; here a piece of its file."""
    stage = scene.stage
    async with stage.redis() as redis:
        await redis.config_set("appendfsync", "everysec")
    file = max(stage.valkey.directory.glob("appendonlydir/*.incr.aof"), key=lambda path: path.stat().st_mtime)
    kept = file.stat().st_size
    await asyncio.sleep(scene.seconds(0.3, 1.5))
    stage.valkey.kill()
    await _note_set_back(scene)
    cut = scene.rng.randint(0, file.stat().st_size - kept)
    scene.strike.how = f"by {cut} bytes"
    with file.open("r+b") as log:
        log.truncate(file.stat().st_size - cut)
    await _restarted(scene, stage.valkey)


async def _valkey_wiped(scene):
    stage = scene.stage
    scene.strike.how = scene.rng.choice(["FLUSHALL", "its directory emptied"])
    if scene.strike.how == "FLUSHALL":
        await _note_set_back(scene)
        async with stage.redis() as redis:
            await redis.flushall()
        scene.set_backs[-1] = SetBack(at=now(), archived=scene.set_backs[-1].archived)
        return
    stage.valkey.kill()
    await _note_set_back(scene)
    shutil.rmtree(stage.valkey.directory / "appendonlydir")
    await _restarted(scene, stage.valkey)


async def _note_set_back(scene):
    scene.set_backs.append(SetBack(at=now(), archived=await scene.stage.archived()))


async def _restarted(scene, server):
    await asyncio.sleep(scene.seconds(0, 1))
    await scene.stage.hand(server.start)
    if scene.set_backs:
        scene.set_backs[-1] = SetBack(at=now(), archived=scene.set_backs[-1].archived)


async def _postgres_killed(scene):
    scene.stage.postgres.kill()
    await _restarted(scene, scene.stage.postgres)


async def _both_down(scene):
    servers = [scene.stage.valkey, scene.stage.postgres]
    for server in scene.rng.sample(servers, 2):
        server.kill()
        await asyncio.sleep(scene.seconds(0, 0.5))
    for server in scene.rng.sample(servers, 2):
        await _restarted(scene, server)


async def _cut(scene):
    directions = scene.rng.choice([BOTH, {UP}, {DOWN}])
    forgets = scene.rng.random() < 0.5
    lines = _lines(scene, f"{'+'.join(sorted(directions))}{', then reset' if forgets else ''}")
    try:
        for line in lines:
            line.hold(directions)
        await asyncio.sleep(scene.seconds(0.3))
    finally:
        for line in lines:
            if forgets:
                line.reset()
            line.release()


async def _delay(scene):
    by_s = scene.rng.uniform(0.02, 0.3)
    lines = _lines(scene, f"by {by_s * 1000:.0f} ms")
    try:
        for line in lines:
            line.delay(by_s)
        await asyncio.sleep(scene.seconds(0.5))
    finally:
        for line in lines:
            line.release()


async def _reset(scene):
    lines = _lines(scene, "")
    for _ in range(scene.rng.randint(1, 4)):
        for line in lines:
            if scene.rng.random() < 0.5:
                line.reset()
            else:
                line.tear(scene.rng.choice([UP, DOWN]))
        await asyncio.sleep(scene.seconds(0, 0.7))


def _lines(scene, how):
    """Those of one service, or of all, to one server, or to both."""
    everyone = list(scene.stage.services)
    names = everyone if scene.rng.random() < 0.4 else [scene.rng.choice(everyone)]
    servers = scene.rng.choice([("redis",), ("postgres",), SERVERS])
    whose = "all" if names is everyone else names[0]
    scene.strike.how = f"{whose} — {' and '.join(servers)} {how}".strip()
    return scene.stage.lines_of(names, servers)


DO = {
    **{f"kill {role}": partial(_killed, role) for role in ROLES},
    **{f"stop {role}": partial(_stopped, role) for role in ROLES},
    "projectors behind": _behind,
    "clock": _clock,
    "valkey killed": _valkey_killed,
    "valkey set back": _valkey_set_back,
    "valkey wiped": _valkey_wiped,
    "postgres killed": _postgres_killed,
    "both down": _both_down,
    "cut": _cut,
    "delay": _delay,
    "reset": _reset,
}
"""Kind → the fault."""


def missing():
    """Kinds that this machine can't do, and why."""
    return (
        {} if faketime() else {"clock": "libfaketime is not installed (Debian: apt-get install libfaketime)"}
    )
