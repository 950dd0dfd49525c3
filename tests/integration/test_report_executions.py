"""Reports on executions: the figures are those that SQL finds in the read model, of one tenant, on the zone's days."""

import asyncio
import io
import json
import secrets
from datetime import UTC, datetime, timedelta
from random import Random

import asyncpg
import pypdf
import pytest

from services.executor.handlers.reports import executions, periods
from services.executor.handlers.reports.writers import render
from shared.domain.commands import CreateJob, PauseJob, ResumeJob
from shared.job_types.report_generation import Span
from shared.testing import TESTER, a_job_id, a_spec, wait_until
from tests.integration.archive_kit import all_of, an_office
from tests.integration.databases import a_database

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TYPES = ["custom", "email_notification", "łódź"]
OURS, THEIRS = "00000000-0000-8000-8000-000000000001", "00000000-0000-8000-8000-000000000002"


async def a_job(connection, job_id, tenant, job_type="report_generation"):
    await connection.execute(
        """
        insert into ledger.jobs (id, partition, owner, tenant, name, description, tags, job_type, queue, priority, spec,
            revision, status, state, active_runs, created_at, updated_at, epoch, pos)
        values ($1, 0, 'o', $2, 'n', '', '{}', $3, 'default', 5, '{}', 1, 'pending', 'pending', 0, $4, $4, 1, 1)
        """,
        job_id, tenant, job_type, NOON,
    )  # fmt: skip


def a_run(dice, tenant, job_id):
    """One of the last 100 days; some haven't ended."""
    ended = NOON - timedelta(seconds=dice.randrange(100 * 86_400))
    status = dice.choices(["succeeded", "failed", "cancelled", "expired", "running"], [80, 10, 4, 3, 3])[0]
    took = None if status == "expired" else dice.randrange(60_000)
    run_id = f"{secrets.token_hex(4)}-0000-8000-8000-{secrets.token_hex(6)}"
    return (
        run_id, ended, 0, job_id, "n", dice.choice(TYPES), status, "schedule", 1, "default", 5, dice.randrange(1, 4), 4,
        ended, ended, None if status == "running" else ended, None if status == "running" else took, "c", "[]", 1, 1,
        tenant,
    )  # fmt: skip


COLUMNS = (
    "id", "id_at", "partition", "job_id", "job_name", "job_type", "status", "trigger", "revision", "queue", "priority",
    "attempt", "max_attempts", "scheduled_for", "fires_at", "finished_at", "duration_ms", "correlation_id", "attempts",
    "epoch", "pos", "tenant",
)  # fmt: skip


async def fill(url):
    connection = await asyncpg.connect(url)
    await a_job(connection, OURS, "ours")
    await a_job(connection, THEIRS, "theirs")
    dice = Random(6)
    rows = [a_run(dice, "ours", OURS) for _ in range(3_000)] + [
        a_run(dice, "theirs", THEIRS) for _ in range(500)
    ]
    places = ", ".join(f"${at}" for at in range(1, len(COLUMNS) + 1))
    await connection.executemany(
        f"insert into ledger.runs ({', '.join(COLUMNS)}) values ({places})",  # noqa: S608
        rows,
    )
    await connection.close()


@pytest.fixture(scope="module")
def url(postgres):
    """Of a read model with runs of two tenants; the tests only read it."""
    with asyncio.Runner() as runner:
        made = a_database(postgres)
        url = runner.run(made.__aenter__())
        runner.run(fill(url))
        yield url
        runner.run(made.__aexit__(None, None, None))


async def a_report(url, wanted, zone="UTC", template="summary", job=OURS):
    period = periods.resolve(wanted, NOON, zone)
    return await executions.report(
        url, job_id=job, period=period, template=template, title="Executions of Łódź €", scheduled_for=NOON
    )


def section(report, title):
    (found,) = [each for each in report.sections if each.title == title]
    names = [column.name for column in found.table.columns]
    return [dict(zip(names, row, strict=True)) for row in found.table.rows]


JUDGED = "status in ('succeeded', 'failed')"
SQL = """
    select {key} as key, count(*) as runs, count(*) filter (where status = 'succeeded') as succeeded,
        count(*) filter (where status = 'failed') as failed, count(*) filter (where status = 'cancelled') as cancelled,
        count(*) filter (where status = 'expired') as expired, sum(attempt - 1) as retries,
        percentile_disc(0.5) within group (order by duration_ms) filter (where {judged}) as p50,
        percentile_disc(0.99) within group (order by duration_ms) filter (where {judged}) as p99
    from ledger.runs
    where tenant = $1 and finished_at at time zone $2 >= $3 and finished_at at time zone $2 < $4
    group by 1 order by 1
"""


async def by_sql(url, key, zone, first, last, tenant="ours"):
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            SQL.format(key=key.format(zone=zone), judged=JUDGED),
            tenant,
            zone,
            first,
            last,
        )
    finally:
        await connection.close()
    return [
        (
            str(key),
            runs,
            good,
            bad,
            gone,
            late,
            good / (good + bad) if good + bad else None,
            p50,
            p99,
            retries,
            0,
        )
        for key, runs, good, bad, gone, late, retries, p50, p99 in map(tuple, rows)
    ]


def rows_of(report, title, key):
    return [
        (str(row[key]), *(value for name, value in row.items() if name != key))
        for row in section(report, title)
    ]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Warsaw", "Pacific/Kiritimati", "America/New_York"])
async def test_figures_by_job_type_day_and_month_are_those_of_sql(url, zone):
    span = Span.model_validate({"from": "2026-09-20", "to": "2026-11-10"})
    report = await a_report(url, span, zone, "detailed")
    ends = datetime(2026, 9, 20), datetime(2026, 11, 11)  # noqa: DTZ001 - wall times
    assert rows_of(report, "By job type", "job_type") == await by_sql(url, "job_type", zone, *ends)
    days = await by_sql(url, "(finished_at at time zone '{zone}')::date", zone, *ends)
    assert rows_of(report, "By day", "day") == days
    assert len(days) == 52
    both = [f"{row['day']} {row['job_type']}" for row in section(report, "By day and job type")]
    keys = await by_sql(
        url, "(finished_at at time zone '{zone}')::date || ' ' || job_type collate \"C\"", zone, *ends
    )
    assert both == [key for key, *_ in keys]
    report = await a_report(url, span, zone, "monthly_summary")
    months = await by_sql(url, "to_char(finished_at at time zone '{zone}', 'YYYY-MM')", zone, *ends)
    assert rows_of(report, "By month", "month") == months
    [(_, *whole)] = await by_sql(url, "'all'", zone, *ends)
    assert [figure.value for figure in report.totals] == whole


async def test_another_tenants_executions_are_not_counted(url):
    ours, theirs = [await a_report(url, "all", job=job) for job in (OURS, THEIRS)]
    runs = [figure.value for figure in (ours.totals[0], theirs.totals[0])]
    ends = datetime(2020, 1, 1), datetime(2027, 1, 1)  # noqa: DTZ001
    assert runs == [(await by_sql(url, "1", "UTC", *ends, tenant))[0][1] for tenant in ("ours", "theirs")]
    assert ours.period.as_json() == {"from": None, "to": None, "timezone": "UTC"}


async def test_all_there_is_is_told_in_months_and_nothing_is_a_report_too(url):
    report = await a_report(url, "all")
    assert [each.title for each in report.sections] == ["By job type", "By month"]
    report = await a_report(url, Span.model_validate({"from": "2020-01-01", "to": "2020-01-31"}))
    assert [figure.value for figure in report.totals] == [0, 0, 0, 0, 0, None, None, None, 0, 0]
    assert pypdf.PdfReader(_file(render(report, "pdf"))).pages[1].extract_text().startswith("By job type")


def _file(rendered):
    return io.BytesIO(rendered.content)


async def test_a_pdf_of_executions_says_the_totals_of_sql(url):
    report = await a_report(url, "last_month", template="detailed")
    rendered = render(report, "pdf")
    texts = [page.extract_text() for page in pypdf.PdfReader(_file(rendered)).pages]
    ends = datetime(2026, 10, 1), datetime(2026, 11, 1)  # noqa: DTZ001
    [(_, runs, succeeded, failed, *_, p99, retries, _)] = await by_sql(url, "1", "UTC", *ends)
    assert rendered.pages == len(texts) >= 4
    assert all(f"{each:,}" in texts[0] for each in (runs, succeeded, failed, retries))
    assert f"{p99 / 1000:,.3f} s" in texts[0]
    assert "łódź" in texts[1]
    most = max(row["succeeded"] for row in section(report, "By job type"))
    assert texts[1].count(f"{most:,}") == 2  # at its chart's top, and in its table
    assert f"{most:,}.00" not in texts[1]


async def test_a_job_that_the_read_model_never_learns_of_fails_the_attempt(url, monkeypatch):
    monkeypatch.setattr(executions, "JOB_WAIT_S", 0.4)
    with pytest.raises(executions.JobNotProjected, match="not in the read model after"):
        await a_report(url, "all", job="00000000-0000-8000-8000-00000000000f")


async def test_what_was_run_and_skipped_a_moment_ago_is_in_the_report(postgres, valkey):
    """The way of real events: log, projector, archive, report."""
    async with an_office(postgres, valkey) as office:
        database = await office.pool.fetchval("select current_database()")
        job, other = a_job_id(0, office.log.now()), a_job_id(0, office.log.now())
        for each, tenant in ((job, "ours"), (other, "theirs")):
            create = CreateJob(
                job_id=each, spec=a_spec(every=1, overlap_policy="allow"), owner="ann", tenant=tenant
            )
            await office.decider.decide(f"job:{each}", create, TESTER)
            await office.run(each)
            await office.decider.decide(f"job:{each}", PauseJob(by="ann", reason=""), TESTER)
        later = office.log.now() + timedelta(seconds=2.2)
        await wait_until(lambda: office.log.now() > later, "two occurrences are past")
        for each in (job, other):
            await office.decider.decide(f"job:{each}", ResumeJob(by="ann"), TESTER)
        await all_of(office.projector())
        at = office.log.now() + timedelta(seconds=1)
        report = await executions.report(
            f"{postgres.endpoint.url.rsplit('/', 1)[0]}/{database}", job_id=job,
            period=periods.resolve("last_24_hours", at, "Europe/Warsaw"), template="detailed", title="T",
            scheduled_for=at,
        )  # fmt: skip
        skipped = [
            json.loads(each.data)["count"]
            for each in await office.archived()
            if each.type == "OccurrencesSkipped" and each.subject == f"job/{job}"
        ]
    assert sum(skipped) >= 2
    (row,) = section(report, "By job type")
    assert (row["job_type"], row["runs"], row["succeeded"], row["skipped"]) == ("custom", 1, 1, sum(skipped))
    assert {figure.name: figure.value for figure in report.totals}["skipped"] == sum(skipped)
