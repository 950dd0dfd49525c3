"""`make bench-lists`: every filter in every order of GET /jobs and GET /executions, over 1,000,000 runs and 100,000 jobs.

    make bench-lists                          about ten minutes, most of it loading
    make bench-lists ARGS="--scale 0.05"      a twentieth of the rows

Real Valkey and PostgreSQL, two API processes (one with authentication on, for four tenants of different size; one with it
off, for whom all is there). Rows are loaded by COPY, then vacuumed and analysed, as autovacuum does by and by. Requests go one
after the other over HTTP: a page with its total, and two slices by cursor. Then PostgreSQL tells the plan of each question it
is really asked (auto_explain). Exit status 1: p99 is 50 ms or more, an answer isn't 200, or a plan has a Seq Scan of jobs, their
cards or runs.
"""
# ruff: noqa: E501 - the docstring is what --help shows
# mypy: allow-untyped-calls
# mypy: allow-untyped-defs

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import asyncpg
import click
import jwt

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script: `tests` isn't installed

from tests.acceptance.system import Service, System, eventually
from tests.benchmarks.lists_data import TENANTS, Data
from tests.benchmarks.raw_http import Connection, request

LIMIT_MS = 50.0
REQUESTS = 1_000  # at least
BIG = re.compile(r"Seq Scan on (?:\w+\.)?(runs\w*|jobs|job_cards)\b")
SECRET = "a secret of the bench, of more than 32 characters"  # noqa: S105 - of nobody
ANYBODY = "anybody"  # where authentication is off


class Asked(NamedTuple):
    """A combination of filter and order."""

    path: str
    what: str
    sort: str
    query: str


def combinations(data: Data) -> list[Asked]:
    """All of them."""
    runs = {
        "": "",
        "status=succeeded": "", "status=failed": "", "status=cancelled": "", "status=running": "", "status=queued": "",
        "status=held": "",
        "job_type=custom": "", "job_type=export.monthly": "", "job_type=nobodys": "",
        "queue=default": "", "queue=slow": "", "queue=gpu": "",
        "trigger=schedule": "", "trigger=manual": "", "trigger=backfill": "", "trigger=chain": "",
        "error_class=TimeoutError": "", "error_class=app.RareOne": "",
        f"error_fingerprint={7:012x}": "",
        f"job_id={data.made[0].id}": "", f"job_id={data.made[len(data.made) // 2].id}": "",
        "status=failed&job_type=custom": "", "status=failed&queue=slow&trigger=manual": "",
    }  # fmt: skip
    for name in ("scheduled_for", "queued_at", "started_at", "finished_at"):
        for days in (0.1, 3, 30):
            at = quote((data.now - _days(days)).isoformat())
            runs |= {f"{name}[gte]={at}": f"{name}[gte]={days}d", f"{name}[lte]={at}": f"{name}[lte]={days}d"}
        low, high = (quote((data.now - _days(days)).isoformat()) for days in (20, 19.9))
        runs[f"{name}[gte]={low}&{name}[lt]={high}"] = f"{name} within 2 h"
        runs[f"{name}[gte]={low}&{name}[lt]={high}&status=failed"] = f"{name} within 2 h, failed"
    jobs = {
        "": "",
        "status=pending": "", "status=paused": "", "status=running": "", "status=failed": "", "status=completed": "",
        "job_type=custom": "", "job_type=export.monthly": "", "job_type=nobodys": "",
        "tag=tag1": "", "tag=tag9": "", "tag=tag390": "", "tag=tag1&tag=tag2": "",
        "queue=default": "", "queue=gpu": "",
        "owner=owner1": "", "owner=owner290": "",
        "q=w0000": "", "q=w0100": "", "q=w2500": "", "q=%22w0000+w0001%22": "", "q=w0001+-w0000": "",
        "q=w0000&tag=tag1&status=pending": "", "owner=owner1&job_type=cleanup_task": "",
    }  # fmt: skip
    for name, days_of in (
        ("created_at", (1, 30, 100)),
        ("updated_at", (1, 30, 100)),
        ("next_run_time", (-0.1, -3)),
    ):
        for days in days_of:
            at = quote((data.now - _days(days)).isoformat())
            jobs |= {f"{name}[gte]={at}": f"{name}[gte]={days}d", f"{name}[lte]={at}": f"{name}[lte]={days}d"}
    orders = {
        "executions": (runs, ("id", "scheduled_for", "started_at", "finished_at")),
        "jobs": (jobs, ("created_at", "updated_at", "next_run_time", "name")),
    }
    return [
        Asked(path, said or query or "all", f"{sign}{order}", query)
        for path, (filters, names) in orders.items()
        for query, said in filters.items()
        for order in names
        for sign in ("", "-")
    ]


class Stand(System):
    """Two servers and two API processes."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            directory,
            environment={
                "DAYBOOK_SECRET_KEY": SECRET,
                "DAYBOOK_LOG_LEVEL": "WARNING",
                "DAYBOOK_RATE_LIMIT": "off",
                "DAYBOOK_RATE_LIMIT_PER_ADDRESS": "off",
            },
            postgres={"shared_buffers": "512MB"},
        )
        self.prefix = "lists"
        self._sockets = {"off": self._socket, "on": socket.socket()}

    def start_servers(self) -> None:
        """Servers, and the schema."""
        self.valkey.start()
        self.postgres.start()
        for each in self._sockets.values():
            each.bind(("127.0.0.1", 0))
            each.listen(64)
        self.command("migrate", check=True)

    def start_apis(self) -> None:
        """Both."""
        for auth, bound in self._sockets.items():
            environment = self._environment() | {"DAYBOOK_AUTH": auth, "DAYBOOK_LOG_LEVEL": "INFO"}
            self.services[auth] = Service(f"api-{auth}", environment, self.directory, bound.fileno())
            self.services[auth].spawn()
        for service in self.services.values():
            eventually(service.is_up, f"{service.name} serves")

    def end_apis(self) -> None:
        """Both, at their own pace."""
        for service in self.services.values():
            service.terminate()

    def port(self, who: str) -> int:
        """Of the API that `who` is served by."""
        return self._sockets["off" if who == ANYBODY else "on"].getsockname()[1]


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.option("--scale", type=click.FloatRange(0.001, 1), default=1.0, help="So much of the rows; 1 is all.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Where to write each request's time, as JSON."
)
def main(*, scale: float, output: Path | None) -> None:
    """Load, ask, and judge."""
    directory = Path(tempfile.mkdtemp(prefix="daybook-bench-lists-"))
    stand = Stand(directory)
    try:
        stand.start_servers()
        sys.exit(asyncio.run(_measured(stand, scale, output)))
    finally:
        stand.destroy()
        shutil.rmtree(directory, ignore_errors=True)


async def _measured(stand: Stand, scale: float, output: Path | None) -> int:
    data = Data(jobs=round(100_000 * scale), runs=round(1_000_000 * scale))
    await _load(stand.postgres.endpoint.url, data)
    stand.start_apis()
    asked = combinations(data)
    say(f"{len(asked)} combinations, for {len(TENANTS) + 1} principals, a page and two slices each")
    await _ask(stand, asked[:: max(1, len(asked) // 50)])  # what every process does once
    took = await _ask(stand, asked)
    bad = _show(asked, took)
    if output is not None:
        await asyncio.to_thread(
            output.write_text, json.dumps([[*asked[n][:3], who, mode, ms] for n, who, mode, ms, _ in took])
        )
    seen, scans = await _plans(stand, asked)
    say(f"{seen:,} plans looked at, {len(scans)} with a Seq Scan of a large table")
    for scan in scans[:10]:
        print(scan)
    return int(bad or bool(scans))


async def _load(url: str, data: Data) -> None:
    connection = await asyncpg.connect(url)
    for table in ("jobs", "runs"):
        began_s = time.monotonic()
        rows = getattr(data, table)()
        done = await connection.copy_records_to_table(
            table, schema_name="ledger", columns=data.columns(table), records=rows
        )
        say(f"{done} {table} in {time.monotonic() - began_s:.0f} s")
    await connection.execute("update ledger.jobs set revision = revision + 1 where active_runs > 0")
    for table in ("ledger.jobs", "ledger.job_cards", "ledger.runs"):
        await connection.execute(f"vacuum analyze {table}")
    for name, size in await connection.fetch(
        "select indexrelname, pg_size_pretty(sum(pg_relation_size(indexrelid))) from pg_stat_user_indexes"
        " where schemaname = 'ledger' and pg_relation_size(indexrelid) > 1e6 group by 1 order by 1"
    ):
        say(f"  {name} {size}")
    await connection.close()


async def _ask(stand: Stand, asked: list[Asked]) -> list[tuple[int, str, str, float, int]]:
    """Number of the combination, who asked, mode, ms, status, of each request."""
    took = []
    for who in (*TENANTS, ANYBODY):
        connection = await Connection.to(stand.port(who))
        headers = _headers(who)
        for number, each in enumerate(asked):
            cursor = ""
            for mode in ("page", "slice", "next"):
                if mode == "next" and not cursor:
                    continue
                if connection.is_closed:
                    connection = await Connection.to(stand.port(who))
                path = _path(each, mode, cursor)
                began_ns = time.perf_counter_ns()
                answer = await connection.send(request("GET", path, headers=headers))
                ms = (time.perf_counter_ns() - began_ns) / 1e6
                took.append((number, who, mode, ms, answer.status))
                if answer.status != 200:
                    say(f"{answer.status} {path}: {answer.body[:300]!r}")
                elif mode == "slice":
                    cursor = json.loads(answer.body)["next_cursor"] or ""
        connection.close()
    return took


def _show(asked: list[Asked], took: list[tuple[int, str, str, float, int]]) -> bool:
    """Print the table; return whether it isn't good enough."""
    by: dict[int, dict[str, list[float]]] = {n: {"page": [], "slice": []} for n in range(len(asked))}
    for number, _, mode, ms, _ in took:
        by[number]["page" if mode == "page" else "slice"].append(ms)
    print(f"{'list':<11}{'filter':<48}{'sort':<16}{'page p50':>9}{'p99':>8}{'slice p50':>11}{'p99':>8}  (ms)")
    for number, each in enumerate(asked):
        figures = [figure(by[number][mode], share) for mode in ("page", "slice") for share in (50, 99)]
        print(f"{each.path:<11}{each.what:<48}{each.sort:<16}{figures[0]:>9.1f}{figures[1]:>8.1f}"
              f"{figures[2]:>11.1f}{figures[3]:>8.1f}")  # fmt: skip
    print()
    for number, who, mode, ms, _ in sorted(took, key=lambda row: -row[3])[:25]:
        print(
            f"slow: {ms:8.1f} ms  {who:<8}{mode:<6}{asked[number].path} {asked[number].what} sort={asked[number].sort}"
        )
    all_ms = [ms for *_, ms, _ in took]
    for mode in ("page", "slice", "next"):
        of_mode = [row[3] for row in took if row[2] == mode]
        print(
            f"{mode:<6}{len(of_mode):>7,} requests: p50 {figure(of_mode, 50):.1f} ms, p99 {figure(of_mode, 99):.1f} ms"
        )
    p99 = figure(all_ms, 99)
    print(
        f"all   {len(all_ms):>7,} requests: p50 {figure(all_ms, 50):.1f} ms, p99 {p99:.1f} ms, "
        f"largest {max(all_ms):.1f} ms, {sum(ms >= LIMIT_MS for ms in all_ms)} of {LIMIT_MS:g} ms or more"
    )
    broken = sum(status != 200 for *_, status in took)
    print(f"answers that are not 200: {broken}")
    return p99 >= LIMIT_MS or broken > 0 or len(all_ms) < REQUESTS


async def _plans(stand: Stand, asked: list[Asked]) -> tuple[int, list[str]]:
    """Let PostgreSQL log its plans, and ask once more: how many there were, and those that read a large table whole."""
    connection = await asyncpg.connect(stand.postgres.endpoint.url)
    for setting, value in (
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
    ):
        await connection.execute(f"alter database daybook set {setting} = {value}")
    await connection.close()
    await asyncio.to_thread(stand.end_apis)
    stand.start_apis()
    log = stand.postgres.log_file
    began = log.stat().st_size
    await _ask(stand, asked)
    with log.open("rb") as lines:
        lines.seek(began)
        text = lines.read().decode(errors="replace")
    plans = text.split("LOG:  duration:")[1:]
    of_lists = [plan for plan in plans if "ledger." in plan]
    return len(of_lists), [plan for plan in of_lists if BIG.search(plan)]


def _path(asked: Asked, mode: str, cursor: str) -> str:
    parts = [asked.query, f"sort={asked.sort}", "page=1" if mode == "page" else "limit=20"]
    if mode == "next":
        parts.append(f"cursor={cursor}")
    return f"/api/v1/{asked.path}?" + "&".join(part for part in parts if part)


def _headers(who: str) -> dict[str, str]:
    if who == ANYBODY:
        return {}
    now_s = int(time.time())
    told = {"sub": "bench", "tenant": who, "role": "viewer", "iss": "daybook", "aud": "daybook", "iat": now_s}
    return {"Authorization": f"Bearer {jwt.encode(told | {'exp': now_s + 7200}, SECRET, algorithm='HS256')}"}


def figure(values: list[float], percent: int) -> float:
    """The percentile, by the nearest rank."""
    ranked = sorted(values)
    if percent == 50:
        return statistics.median(ranked) if ranked else 0.0
    return ranked[min(len(ranked) - 1, -(-len(ranked) * percent // 100) - 1)] if ranked else 0.0


def _days(days: float) -> timedelta:
    return timedelta(days=days)


def say(text: str) -> None:
    """To whoever waits."""
    click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)


if __name__ == "__main__":
    main()
