"""`make clients`: a thousand API keys read and write at a steady rate for five minutes, and nothing may go wrong.

    make clients                                   1,000 keys, 100 requests/s, 5 minutes
    make clients ARGS="--keys 50 --minutes 0.5"    less of it

Requests are sent when they are due, however long earlier ones take, and their times count from then: a system that
falls behind shows it. Status 1: an answer was no success, or the p99 is not below 100 ms.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script: `tests` isn't installed

from tests.acceptance.system import System
from tests.benchmarks.raw_http import BadAnswerError, Connection, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

P99_MS = 100.0
KEYS_A_SECOND = 80.0  # DAYBOOK_RATE_LIMIT lets a principal send 100
BROKEN = 0
NEVER = "0 3 1 1 *"
READS = (
    "/jobs", "/jobs?status=pending&per_page=50", "/executions", "/executions?status=succeeded&per_page=50",
    "/stats/errors", "/job-types", "/jobs/{job}", "/jobs/{job}/executions", "/jobs/{job}/events",
    "/jobs/{job}/revisions", "/executions/{run}",
)  # fmt: skip
WRITES = ("create", "patch", "pause", "resume", "trigger", "keyed create")


@dataclass(slots=True)
class Client:
    """Somebody with a key, and what they made."""

    key: str
    jobs: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)


class Crowd:
    """Clients that ask one API over kept connections."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._chance = random.Random(seed)
        self._idle: list[Connection] = []
        self.clients: list[Client] = []
        self.took_ms: dict[str, list[float]] = defaultdict(list)
        self.wrong: Counter[str] = Counter()

    async def enter(self, admin: str, keys: int) -> None:
        """Give out so many keys, within the limit of whoever does."""

        async def one(number: int) -> Client:
            body = {"name": f"client {number}", "role": "editor", "owner": f"client{number}"}
            status, answer = await self._asked(admin, "POST", "/api-keys", body)
            if status not in {201, 202}:
                raise click.ClickException(f"no key: {status} {answer}")
            return Client(answer["key"])

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) async for number, _ in paced(keys, KEYS_A_SECOND)]
        self.clients = [task.result() for task in tasks]

    async def ask(self, due_s: float, share_of_reads: float) -> None:
        """One request of somebody, which was due at `due_s` (monotonic)."""
        client = self._chance.choice(self.clients)
        name, method, path, body, headers = self._chosen(client, reads=self._chance.random() < share_of_reads)
        try:
            status, answer = await self._asked(client.key, method, path, body, headers)
        except (OSError, BadAnswerError, TimeoutError) as error:
            status, answer = BROKEN, repr(error)
        self.took_ms[name].append((time.monotonic() - due_s) * 1000)
        if not 200 <= status < 300:
            self.wrong[f"{name}: {status} {str(answer)[:200]}"] += 1
        elif name.endswith("create"):
            client.jobs.append(answer["id"])
        elif name == "trigger":
            client.runs.append(answer["id"])

    def _chosen(self, client: Client, *, reads: bool) -> tuple[str, str, str, Any, dict[str, str]]:
        if reads:
            paths = [each for each in READS if "{job}" not in each or client.jobs]
            path = self._chance.choice([each for each in paths if "{run}" not in each or client.runs])
            job, run = (self._chance.choice(each) if each else "" for each in (client.jobs, client.runs))
            return f"GET {path}", "GET", path.format(job=job, run=run), None, {}
        name = self._chance.choice(WRITES) if client.jobs else "create"
        if name.endswith("create"):
            body = {"name": "of a client", "job_type": "custom", "job_data": {"operation": "echo"}}
            headers = {} if name == "create" else {"Idempotency-Key": f"k{self._chance.getrandbits(60)}"}
            return (
                name,
                "POST",
                "/jobs",
                body | {"cron_expression": NEVER, "overlap_policy": "allow"},
                headers,
            )
        at = f"/jobs/{self._chance.choice(client.jobs)}"
        if name == "patch":
            return name, "PATCH", at, {"priority": self._chance.randrange(1, 11)}, {}
        return name, "POST", f"{at}/{name}", {}, {}

    async def _asked(
        self, key: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        self._idle = [
            each for each in self._idle if not each.is_closed
        ]  # the server does, after so many requests
        connection = self._idle.pop() if self._idle else await Connection.to(self._port)
        sent = b"" if body is None else json.dumps(body).encode()
        headers = (headers or {}) | {"Authorization": f"Bearer {key}"}
        answer = await connection.send(request(method, f"/api/v1{path}", sent, headers))
        if not connection.is_closed:
            self._idle.append(connection)
        return answer.status, json.loads(answer.body) if answer.body else None


async def paced(count: int, rate: float) -> AsyncIterator[tuple[int, float]]:
    """0, 1, … each at its time, `rate` a second, with that time (monotonic)."""
    began = time.monotonic()
    for number in range(count):
        due = began + number / rate
        if (early := due - time.monotonic()) > 0:
            await asyncio.sleep(early)
        yield number, due


async def load(crowd: Crowd, *, rate: float, seconds: float, share_of_reads: float) -> None:
    """Send at `rate` a second for so many seconds."""
    async with asyncio.TaskGroup() as group:
        async for _, due in paced(int(rate * seconds), rate):
            group.create_task(crowd.ask(due, share_of_reads))


def quantile(sorted_ms: list[float], q: float) -> float:
    """The nearest-rank quantile."""
    return sorted_ms[max(math.ceil(q * len(sorted_ms)) - 1, 0)]


def told(crowd: Crowd) -> float:
    """Print what came of it; the p99 of all in ms."""
    everything = sorted(each for times in crowd.took_ms.values() for each in times)
    rows = [(name, sorted(times)) for name, times in sorted(crowd.took_ms.items())]
    click.echo(f"{'request':45}{'count':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for name, times in [*rows, ("all", everything)]:
        figures = "".join(f"{each:9.1f}" for each in (quantile(times, 0.5), quantile(times, 0.99), times[-1]))
        click.echo(f"{name:45}{len(times):8}{figures}")
    for what, count in crowd.wrong.most_common(10):
        click.echo(f"wrong, {count} times: {what}")
    click.echo(f"errors: {sum(crowd.wrong.values())}")
    return quantile(everything, 0.99)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keys", default=1_000, show_default=True, help="API keys, each of somebody else.")
@click.option("--rate", default=100.0, show_default=True, help="Requests a second, over all of them.")
@click.option("--minutes", default=5.0, show_default=True)
@click.option("--reads", default=0.7, show_default=True, help="Share of requests that read.")
@click.option("--seed", default=1, show_default=True)
def main(keys: int, rate: float, minutes: float, reads: float, seed: int) -> None:
    """Let many keys use the API for some minutes."""
    with tempfile.TemporaryDirectory(prefix="daybook-clients-") as directory:
        system = System(Path(directory), environment={"DAYBOOK_AUTH": "on"})
        try:
            system.start()
            words = ("keys", "create", "--name", "admin", "--role", "admin", "--owner", "carol")
            made = system.command(*words, check=True).stdout.split()
            crowd = Crowd(int(system.url.rpartition(":")[2]), seed)

            async def all_of_it() -> None:
                await crowd.enter(next(word for word in made if word.startswith("dbk_")), keys)
                click.echo(f"{keys} keys given out; {rate:g} requests/s for {minutes:g} minutes", err=True)
                await load(crowd, rate=rate, seconds=minutes * 60, share_of_reads=reads)

            asyncio.run(all_of_it())
            p99_ms = told(crowd)
        finally:
            system.destroy()
    sys.exit(bool(crowd.wrong) or p99_ms >= P99_MS)


if __name__ == "__main__":
    main()
