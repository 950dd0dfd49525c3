"""How fast `daybook replay` makes the ledgers anew: events a second, on an embedded Postgres and nothing else.

    .venv/bin/python tests/benchmarks/replay.py --events 1000000 --jobs 50000

Makes an archive first, of jobs and the runs of each (three events a run; every second job follows its runs), as commits
of all jobs in turn would have written it. It is kept with `--directory`, and used by the next call.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script: `tests` isn't installed

from services.projector.batch import ARCHIVED
from services.projector.replay import Replay
from shared.domain import ids
from shared.domain.events import JobCreated, LogOpened, RunRequested, RunStarted, RunSucceeded
from shared.domain.schedule import Schedule
from shared.domain.spec import JobSpec, run_spec
from shared.embedded import Postgres
from shared.eventlog.envelope import encode
from shared.readmodel import archive, database
from shared.readmodel.chain import GENESIS, link

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from services.projector.replay import Outcome
    from shared.domain.events import Event

    Made = tuple[int, Event, str, str, bool]  # ms, event, subject, job, both

BEGAN = datetime(2026, 10, 5, tzinfo=UTC)
EVERY = timedelta(minutes=5)
EPOCH = 1_795_000_000_000
COPIED = 20_000  # events a COPY


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--events", default=1_000_000, show_default=True)
@click.option("--jobs", default=50_000, show_default=True)
@click.option("--partitions", default=4, show_default=True)
@click.option("--workers", type=int)
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Keeps the archive here.")
def main(events: int, jobs: int, partitions: int, workers: int | None, directory: Path | None) -> None:
    """Time a replay that swaps, of an archive without ledgers."""
    with contextlib.ExitStack() as stack:
        at = directory or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        at.mkdir(parents=True, exist_ok=True)
        server = stack.enter_context(Postgres(at / "postgres"))
        asyncio.run(_measure(server.endpoint.url, events, jobs, partitions, workers))


async def _measure(url: str, events: int, jobs: int, partitions: int, workers: int | None) -> None:
    await database.migrate(url)
    pool = await database.connect_pool(url, statement_timeout_s=3600)
    async with pool:
        if await archive.find_deployment(pool) is None:
            began_at = time.monotonic()
            for partition in range(partitions):
                await _fill(pool, partition, events // partitions, jobs // partitions)
            await pool.execute("analyze")
            await archive.record_deployment(pool, partitions=partitions, prefix="bench")
            click.echo(f"archive made in {time.monotonic() - began_at:.0f} s")
        there = await pool.fetchval("select sum(pos)::bigint from book.checkpoints")
    stages: dict[str, float] = {}

    def told(stage: str, _: int, __: int) -> None:
        stages.setdefault(stage, time.monotonic())

    began_at = time.monotonic()
    outcome = await Replay(url, told=told, workers=workers).run(dry_run=False)
    _tell(outcome, there, time.monotonic() - began_at, stages, began_at)


def _tell(outcome: Outcome, events: int, took_s: float, stages: dict[str, float], began_at: float) -> None:
    click.echo(f"{events:,} events read in {outcome.read.seconds:.1f} s: {outcome.read.per_s:,.0f}/s")
    click.echo(f"{took_s:.1f} s from the beginning to the swap's end: {events / took_s:,.0f} events/s")
    click.echo(f"others waited {outcome.swapped_s or 0:.3f} s for the swap")
    click.echo(", ".join(f"{stage} from {at - began_at:.1f} s" for stage, at in stages.items()))
    for each in outcome.tables:
        click.echo(f"{each.table}: {each.made:,} rows, {each.differ:,} differ from the live ones")


async def _fill(pool: Any, partition: int, events: int, jobs: int) -> None:
    rows, chain, pos = [], GENESIS, 0
    for at, event, subject, job, both in _story(partition, events, jobs):
        pos += 1
        head = (
            partition, EPOCH, pos, f"{partition:04x}-{pos:012x}", type(event).__name__, type(event).VERSION, subject,
            job, "both" if both else "subject",
        )  # fmt: skip
        tail = ("bench", "", "", "", encode(event))
        chain = link(chain, (*head, at, *tail))
        rows.append((*head, ids.from_ms(at), *tail, chain))
        if len(rows) == COPIED or pos == events:
            await pool.copy_records_to_table("events", schema_name="book", columns=ARCHIVED, records=rows)
            last, rows = rows[-1], []
    await archive.raise_fence(pool, partition, EPOCH)
    await pool.execute(
        "update book.checkpoints set (epoch, pos, id, at, chain) = ($2, $3, $4, $5, $6) where partition = $1",
        partition, EPOCH, pos, last[3], last[9], chain,
    )  # fmt: skip


def _story(partition: int, events: int, jobs: int) -> Iterator[Made]:
    """The log's opening; all jobs are created, and run in turn, until there are so many events."""
    now = ids.to_ms(BEGAN)
    yield now, LogOpened(epoch=EPOCH, reason="first", previous=None, partitions=4), "log", "", False
    specs = {}
    for number in range(jobs):
        job_id = ids.chance_id(BEGAN + timedelta(milliseconds=number), partition, number)
        policy = "skip" if number % 2 else "allow"
        spec = JobSpec(
            name=f"job {number}", job_type=("custom", "http_request")[number % 2],
            job_data={"operation": "echo", "parameters": {"number": number}},
            schedule=Schedule(cron_expression="*/5 * * * *"), overlap_policy=policy, tags=("bench", f"t{number % 50}"),
        )  # fmt: skip
        specs[job_id] = spec
        at = BEGAN + timedelta(milliseconds=number)
        created = JobCreated(
            spec=spec,
            owner="ann",
            tenant="default",
            created_at=at,
            anchor_at=at,
            next_for=BEGAN + EVERY,
        )
        yield ids.to_ms(at), created, f"job/{job_id}", "", False
    left = events - jobs - 1
    for fires in range(1, 10**6):
        for job_id, spec in specs.items():
            if left <= 0:
                return
            for made in list(_run(job_id, spec, partition, BEGAN + EVERY * fires))[:left]:
                left -= 1
                yield made


def _run(job_id: str, spec: JobSpec, partition: int, due: datetime) -> Iterator[Made]:
    run_id = ids.derived_id(due, partition, job_id, due.isoformat())
    follows = spec.overlap_policy != "allow"
    requested = RunRequested(
        job_id=job_id, scheduled_for=due, fires_at=due, trigger="schedule", revision=1, follows=follows,
        spec=run_spec(spec, tenant="default"), correlation_id=run_id, requested_at=due, next_for=due + EVERY,
    )  # fmt: skip
    at, subject = ids.to_ms(due), f"run/{run_id}"
    yield at, requested, subject, job_id, True
    yield at + 5, RunStarted(attempt=1, worker="w1"), subject, job_id, False
    yield at + 1_200, RunSucceeded(attempt=1, result={"ok": True, "rows": 17}), subject, job_id, follows


if __name__ == "__main__":
    main()
