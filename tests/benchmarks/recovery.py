"""`make bench-recovery`: 1,000,000 archived events and 50,000 jobs come back, after Postgres was emptied, and after Redis was.

    make bench-recovery                               five minutes, two of them to write the history
    make bench-recovery ARGS="--data DIR"             writes it into DIR, or takes what is there
    make bench-recovery ARGS="--scale 0.02"           a fiftieth of it

Real Valkey and PostgreSQL. Three times are taken: `daybook archive import` of a cold copy into an empty database; `daybook
recover` over an empty Redis, from the command to its end; and, with the four services at work, from FLUSHALL to the first
answer 201. After the second everything is compared with what the domain says must be due, queued and at work. Exit status 1:
something isn't, or the second or third took longer than 120 s.
"""
# ruff: noqa: E501 - the docstring is what --help shows
# mypy: allow-untyped-calls
# mypy: allow-untyped-defs

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import asyncpg
import click
import httpx
import msgspec
from redis.asyncio import Redis

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script: `tests` isn't installed

from shared.eventlog import opening
from shared.eventlog.keys import PRIORITIES, Keys
from tests.acceptance.system import System
from tests.benchmarks import recovery_data
from tests.benchmarks.recovery_data import PARTITIONS, PREFIX, Standing

EVENTS, JOBS = 1_000_000, 50_000
LIMIT_S = 120.0
WAIT_S = 600.0
CREATED = 201


class Took(NamedTuple):
    """What a command took: seconds by the clock, of a processor, and the most memory, in MB."""

    seconds: float
    cpu_s: float
    peak_mb: float

    @property
    def told(self) -> str:
        """For people."""
        return f"{self.seconds:7.1f} s  {self.cpu_s:7.1f} s of a processor  {self.peak_mb:5.0f} MB at most"


class Stand(System):
    """Two servers, and the services once they are asked for."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, environment={"DAYBOOK_AUTH": "off"})
        self.prefix = PREFIX

    def timed(self, *words: str) -> Took:
        """Run `daybook …` to its end, which must be good."""
        began_s = time.monotonic()
        output = self.directory / "command.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(Path(sys.executable).with_name("daybook")), *words],
                env=self._environment(), stdout=log, stderr=log,
            )  # fmt: skip
            _, status, used = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"daybook {' '.join(words)}\n{output.read_text()[-2000:]}")
        peak = used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        return Took(time.monotonic() - began_s, used.ru_utime + used.ru_stime, peak)

    def flush(self) -> None:
        """Empty Redis."""
        asyncio.run(_flushed(self.valkey.endpoint.url))

    def stands(self) -> tuple[dict[str, int], dict[str, str], int]:
        """See `standing_of`."""
        return asyncio.run(standing_of(self.valkey.endpoint.url))

    def seconds_until_answered(self) -> float:
        """From now until all logs are open and a job can be made."""
        began_s = time.monotonic()
        while not (asyncio.run(_all_open(self.valkey.endpoint.url)) and self._makes_a_job()):
            if time.monotonic() - began_s > WAIT_S:
                raise RuntimeError(f"not within {WAIT_S} s\n{self.tails()}")
            time.sleep(0.1)
        return time.monotonic() - began_s

    def _makes_a_job(self) -> bool:
        body = {"name": "made after all", "job_type": "custom", "job_data": {"operation": "echo"}}
        try:
            return httpx.post(f"{self.url}/api/v1/jobs", json=body, timeout=60).status_code == CREATED
        except httpx.HTTPError:
            return False


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.option("--scale", type=click.FloatRange(0.001, 1), default=1.0, help="So much of it; 1 is all.")
@click.option("--data", type=click.Path(path_type=Path), help="Where the history is kept.")
@click.option("--services/--no-services", default=True, help="Whether the third time is taken, too.")
def main(*, scale: float, data: Path | None, services: bool) -> None:
    """Write, lose, bring back, and judge."""
    directory = Path(tempfile.mkdtemp(prefix="daybook-bench-recovery-"))
    stand = Stand(directory)
    try:
        sys.exit(_measure(stand, scale, data or directory, services=services))
    finally:
        stand.destroy()
        shutil.rmtree(directory, ignore_errors=True)


def _measure(stand: Stand, scale: float, data: Path, *, services: bool) -> int:
    standing = history(data, events=round(EVENTS * scale), jobs=round(JOBS * scale))
    stand.start_servers()
    imported = stand.timed("archive", "import", str(data / "cold"))
    events = asyncio.run(_archived(stand.postgres.endpoint.url))
    print(f"{events:,} events, {standing.jobs:,} jobs, {sum(standing.runs.values()):,} runs under way")
    print(f"{'cold copy → empty database':40}{imported.told}  {events / imported.seconds:,.0f} events/s")
    recovered = stand.timed("recover")
    print(f"{'archive → empty Redis, log open':40}{recovered.told}")
    wrong = differences(standing, *stand.stands())
    print("\n".join(wrong) or "all is due, queued and at work as the domain says")
    if not services:
        return int(bool(wrong) or recovered.seconds > LIMIT_S)
    stand.start_services()
    stand.flush()
    seconds = stand.seconds_until_answered()
    print(f"{'FLUSHALL → all logs open, a job made':40}{seconds:7.1f} s")
    return int(bool(wrong) or max(recovered.seconds, seconds) > LIMIT_S)


def history(data: Path, *, events: int, jobs: int) -> Standing:
    """The cold copy in `data`/cold, written if it isn't there; what must come of it."""
    told = data / "standing.json"
    if told.exists():
        return msgspec.json.decode(told.read_bytes(), type=Standing)
    (data / "cold").mkdir(parents=True)
    began_s = time.monotonic()
    standing = recovery_data.write(data / "cold", events=events, jobs=jobs)
    told.write_bytes(msgspec.json.encode(standing))
    click.echo(f"wrote the history in {time.monotonic() - began_s:.0f} s", err=True)
    return standing


def differences(standing: Standing, due: dict[str, int], queued: dict[str, str], jobs: int) -> list[str]:
    """What isn't as it must be, a sentence each; a running run's lease is from the opening."""
    wanted = {ref: due.get(ref) if at is None else at for ref, at in standing.due.items()}
    found = []
    for name, meant, there in (("due", wanted, due), ("queued", standing.queued, queued)):
        others = [ref for ref in meant.keys() | there.keys() if meant.get(ref) != there.get(ref)]
        if others or any(at is None for at in meant.values()):
            found.append(f"{name}: {len(others)} of {len(meant)} are otherwise, {others[:3]}")
    return found if jobs == standing.jobs else [*found, f"{jobs} jobs instead of {standing.jobs}"]


async def standing_of(url: str) -> tuple[dict[str, int], dict[str, str], int]:
    """The due index, the entries of all work streams by run, and how many jobs there are; of all partitions."""
    redis = Redis.from_url(url)
    due: dict[str, int] = {}
    queued: dict[str, str] = {}
    jobs = 0
    for keys in (Keys(PREFIX, partition) for partition in range(PARTITIONS)):
        due |= {ref.decode(): int(at) for ref, at in await redis.zrange(keys.due, 0, -1, withscores=True)}
        for priority in PRIORITIES:
            entries = await redis.xrange(keys.work("default", priority))
            queued |= {pairs[b"run"].decode(): entry.decode() for entry, pairs in entries}
        jobs += len([key async for key in redis.scan_iter(match=keys.aggregate("job:*"), count=5_000)])
    await redis.aclose()
    return due, queued, jobs


async def _all_open(url: str) -> bool:
    redis = Redis.from_url(url)
    states = [await opening.look(redis, Keys(PREFIX, partition)) for partition in range(PARTITIONS)]
    await redis.aclose()
    return all(state.is_open for state in states)


async def _flushed(url: str) -> None:
    redis = Redis.from_url(url)
    await redis.flushall()
    await redis.aclose()


async def _archived(url: str) -> int:
    connection = await asyncpg.connect(url)
    count = await connection.fetchval("select count(*) from book.events")
    await connection.close()
    return int(count)


if __name__ == "__main__":
    main()
