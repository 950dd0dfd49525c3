"""One run of the suite: a crowd at work, faults by plan, then quiet; and all that was seen of it."""

import asyncio
import contextlib
import random
from dataclasses import dataclass
from functools import partial

import asyncpg
import httpx
import redis.exceptions

from shared.testing import wait_until
from tests.acceptance import book

from . import crowd
from .crowd import Crowd, now
from .kinds import DO, Scene, Strike
from .stage import Stage
from .watch import RunEnds

JOBS = 500
WRITERS = 10
CLIENT_S = 6.0  # longer than the API itself waits for Redis
HEARD_S = 60.0  # from the end of a fault to a write that is acknowledged
QUIET_S = 120.0
AWAY = (OSError, httpx.HTTPError, redis.exceptions.RedisError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happened.

    `troubles`: what went wrong beside the books; `verified`: status and text of the audit; `run_ends`: when runs
    were seen to end, those that Redis lost afterwards among them.
    """

    plan: object
    strikes: list
    set_backs: list
    troubles: list
    acks: list
    unanswered: int
    found: object
    notes: list
    verified: object
    quiet_s: float
    run_ends: list


async def played(directory, plan, *, jobs=JOBS, say=print):
    """Play the plan on a system of its own under `directory`."""
    async with Stage(directory).running() as stage, stage.client(timeout_s=CLIENT_S) as http:
        clients = Crowd(http, random.Random(plan.seed), jobs)
        await clients.make(jobs)
        say(f"{jobs} jobs on {len(stage.services)} services")
        ends = RunEnds(stage.valkey.endpoint.url, stage.prefix, stage.partitions)
        watching = asyncio.create_task(ends.watch(), name="bystander")
        director = _Director(stage, clients, ends, plan, say)
        await director.play()
        watching.cancel()
        over = now()
        with _noted(director.troubles, "no rest"):
            await _rest(stage, clients, say)
        quiet_s = now() - over
        say("verifying")
        verified = await asyncio.to_thread(stage.command, "audit", "verify", timeout_s=300)
        say("reading the books")
        found = await book.read(stage)
        notes = crowd.read_notes(directory)
        with _noted(director.troubles, "no clean end"):
            await stage.stop_cleanly()
        return Story(
            plan=plan,
            strikes=director.strikes,
            set_backs=director.set_backs,
            troubles=[*director.troubles, *stage.ended_alone],
            acks=clients.acks,
            unanswered=clients.unanswered,
            found=found,
            notes=notes,
            verified=verified,
            quiet_s=quiet_s,
            run_ends=sorted(ends.times),
        )


@contextlib.contextmanager
def _noted(troubles, what):
    """Go on after a failure: the books say more about it."""
    try:
        yield
    except (AssertionError, *AWAY) as error:
        troubles.append(f"{what}: {error!r}")


class _Director:
    """Strikes by the plan while the clients write."""

    def __init__(self, stage, clients, ends, plan, say):
        self._stage, self._clients, self._plan, self._say = stage, clients, plan, say
        self._ended_since = lambda moment: bool(ends.times) and max(ends.times[-100:]) >= moment
        self.strikes, self.set_backs, self.troubles = [], [], []
        self._began = 0.0

    async def play(self):
        stop = asyncio.Event()
        writers = [asyncio.create_task(self._clients.write_until(stop)) for _ in range(WRITERS)]
        self._began = now()
        await asyncio.gather(*(self._lane(planned) for planned in self._plan.lanes.values()))
        for service in self._stage.services.values():
            await self._stage.is_up(service)
        over = now()
        await self._heard(over, "all faults")
        with _noted(self.troubles, "no run ends"):
            await wait_until(lambda: self._ended_since(over), "a run has ended", timeout_s=HEARD_S)
        stop.set()
        for ended in await asyncio.gather(*writers, return_exceptions=True):
            if ended is not None:
                self.troubles.append(f"a client was told what it can't believe: {ended!r}")

    async def _lane(self, planned):
        for each in planned:
            await asyncio.sleep(max(0.0, self._began + each.at - now()))  # the plan's moment
            await self._strike(each)

    async def _strike(self, planned):
        strike = Strike(kind=planned.kind, began=now())
        scene = Scene(
            stage=self._stage,
            rng=random.Random(planned.seed),
            strike=strike,
            longest_s=self._plan.longest_s,
            behind_s=self._plan.behind_s,
        )
        with _noted(self.troubles, f"{planned.kind} could not be done"):
            await DO[planned.kind](scene)
        strike.over()
        self.strikes.append(strike)
        self.set_backs += scene.set_backs
        self._say(f"  {strike.began - self._began:6.1f} s  {strike.kind} {strike.how}".rstrip())
        await self._heard(strike.ended, f"{strike.kind} ({strike.how})")

    async def _heard(self, moment, what):
        heard = partial(self._clients.heard_since, moment)
        with _noted(self.troubles, "nobody is answered"):
            await wait_until(heard, f"a write is acknowledged after {what}", timeout_s=HEARD_S, every_s=0.05)


async def _rest(stage, clients, say):
    """Calm the jobs and wait until nothing is left to do."""
    say("calming the jobs")
    written = await book.tails(stage)
    await wait_until(lambda: book.has_archived(stage, written), "all is archived", timeout_s=QUIET_S)
    await clients.calm(at_a_time=32)
    await wait_until(lambda: book.is_at_rest(stage), "all is at rest", timeout_s=QUIET_S, every_s=0.2)
