"""The jobs of the fault suite, and the clients that go on changing them."""

import asyncio
import time
from collections import deque
from pathlib import Path

from tests.acceptance.load import OVERLAPS, Clients
from tests.plugins.site import lay_out

from . import noting

PACE_S = 0.08  # a client's pause between two requests, at most
AT_A_TIME = 32  # that many create the first jobs
JOBS_MAX = 1.1  # so many times the jobs at first: beyond, another one is made only when one has gone
INTERVALS_S = (4, 25)
RUNS_KNOWN = 40  # the latest that were triggered: some of them are cancelled, and some run again
QUICK = {"initial_seconds": 0.2, "multiplier": 2.0, "max_seconds": 2.0, "jitter": 0.5}


def install(directory):
    """Install the plug-in; return the environment in which services find it."""
    notes = directory / "notes"
    notes.mkdir()
    handlers = {"noted": "noted", "noted_apart": "noted_apart"}
    found = lay_out(directory / "site", "daybook_faults_noting", Path(noting.__file__), handlers)
    return found | {noting.DIRECTORY: str(notes)}


def read_notes(directory):
    """(run, attempt, word) of every call of a handler."""
    notes = []
    for path in sorted((directory / "notes").glob("*.notes")):
        for line in path.read_text().splitlines():
            run_id, attempt, _, word = line.split()
            notes.append((run_id, int(attempt), word))
    return notes


def job_body(rng, name):
    """One of the kinds of jobs there are, as a client writes it."""
    kinds = [_echo, _sleeper, _noted, _flaky, _dead_letter, _overlapping, _apart]
    (kind,) = rng.choices(kinds, weights=[20, 20, 25, 15, 5, 12, 3])
    common = {
        "name": name,
        "interval_seconds": rng.randint(*INTERVALS_S),
        "overlap_policy": rng.choice(OVERLAPS),
        "priority": rng.randint(1, 10),
        "retry_backoff": QUICK,
        "max_lost": 10,
    }
    return common | kind(rng)


def _echo(rng):
    parameters = {"number": rng.randint(0, 1_000_000)}
    return {"job_type": "custom", "job_data": {"operation": "echo", "parameters": parameters}}


def _sleeper(rng):
    parameters = {"seconds": round(rng.uniform(0.02, 1), 3)}
    return {"job_type": "custom", "job_data": {"operation": "sleep", "parameters": parameters}}


def _noted(rng):
    return {"job_type": "noted", "job_data": {"seconds": round(rng.uniform(0, 0.5), 3)}}


def _flaky(rng):
    return {"job_type": "noted", "job_data": {"seconds": 0.05, "fails": rng.randint(1, 3)}}


def _dead_letter(rng):
    return {
        "job_type": "custom",
        "job_data": {"operation": "fail"},
        "max_retries": rng.randint(0, 1),
    }


def _overlapping(rng):
    """It takes longer than its interval, and than a lease."""
    return {
        "job_type": "noted",
        "job_data": {"seconds": round(rng.uniform(2.5, 4.5), 3)},
        "interval_seconds": 3,
        "overlap_policy": rng.choice(["skip", "queue_one", "replace"]),
    }


def _apart(rng):
    return {"job_type": "noted_apart", "job_data": {"seconds": round(rng.uniform(0, 0.3), 3)}}


class Crowd(Clients):
    """Clients that write whatever happens, and keep the number of jobs about where it was."""

    def __init__(self, http, rng, jobs):
        super().__init__(http, rng, body=job_body)
        self._jobs_max = int(jobs * JOBS_MAX)
        self._alive = []
        self._runs = deque(maxlen=RUNS_KNOWN)

    async def make(self, count):
        """Create so many, each acknowledged."""

        async def some(left):
            for _ in left:
                self._alive.append(await self.insist(self.create))

        left = iter(range(count))
        await asyncio.gather(*(some(left) for _ in range(AT_A_TIME)))

    def heard_since(self, moment):
        """Whether a write that was sent after `moment` has been acknowledged."""
        return any(ack.began >= moment for ack in reversed(self.acks[-100:]))

    async def write_until(self, stop):
        while not stop.is_set():
            await asyncio.sleep(self._rng.uniform(0, PACE_S))  # a client's pace, not a wait
            await self._write()

    async def _write(self):
        chance = self._rng.random()
        if chance < 0.1:
            await (self._create() if len(self._alive) < self._jobs_max else self._delete())
            return
        if chance < 0.2 and self._runs:
            if self._rng.random() < 0.5:
                await self.cancel(self._runs[-1])
            else:
                await self.retry(self._rng.choice(self._runs))
            return
        job_id = self._rng.choice(self._alive)
        if chance < 0.4:
            await self.update(job_id, interval_seconds=self._rng.randint(*INTERVALS_S))
        else:
            await self._rng.choice([self.pause, self.resume, self.resume, self._trigger])(job_id)

    async def _create(self):
        if job_id := await self.create():
            self._alive.append(job_id)

    async def _trigger(self, job_id):
        answer = await self.trigger(job_id)
        if answer and "id" in answer:
            self._runs.append(answer["id"])

    async def _delete(self):
        job_id = self._alive.pop(self._rng.randrange(len(self._alive)))
        await self._rng.choice([self.delete, self.erase])(job_id)


def now():
    """The machine's clock, which the acknowledgements go by."""
    return time.time()
