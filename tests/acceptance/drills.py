"""What drills on a whole system share: a history over HTTP, a crash of all services, pictures, faults, and going on."""

import asyncio
import re
import shutil
import subprocess
from datetime import timedelta

import asyncpg
import httpx
import redis as redis_client

from shared.clock import SystemClock
from shared.domain import ids
from shared.eventlog.connection import connect
from shared.eventlog.keys import Keys
from tests import pictures
from tests.integration.trace_kit import Rewindable
from tests.seed import sow

from . import book
from .system import System, eventually
from .test_restore_drill import Client

KINDS = {"job", "run", "backfill", "relay", "apikey", "calendar"}
LONG = {"operation": "sleep", "parameters": {"seconds": 600}}
QUIET = {"max_retries": 0, "job_data": {"operation": "fail"}}
LATER_S = 3600


class Drill:
    """A system with a history, whose servers are lost or come back older.

    Args:
        directory: an empty one.
    """

    def __init__(self, directory):
        self.directory = directory
        self.system = System(
            directory / "system",
            environment={
                "DAYBOOK_LEASE_SECONDS": "2",
                "DAYBOOK_SMTP_URL": "smtp://127.0.0.1:9",
            },  # nobody is there
            redis=Rewindable(directory / "system"),
        )
        (directory / "system").mkdir()
        self.told = {}

    def destroy(self):
        self.system.destroy()

    @property
    def client(self):
        return Client(self.system)

    def tails(self):
        return self.system.tails()

    # What happens.

    def every_kind(self, *, but_api=False):
        """Jobs and runs in every state, calendars, keys, a backfill; then services are killed, and a chain waits."""
        client, told = self.client, self.told
        now = SystemClock().now()
        assert (
            self.system.command(
                "keys", "create", "--name", "k", "--role", "viewer", "--owner", "ann"
            ).returncode
            == 0
        )
        client.put("/calendars/holidays", dates=["2030-12-25"], weekdays=["sun"])
        told["beats"] = client.make("beats", interval_seconds=1, misfire_policy="all", overlap_policy="allow")
        client.make("windowed", cron_expression="0 3 * * *", timezone="Europe/Berlin", jitter_seconds=30,
                    start_at=(now + timedelta(days=1)).isoformat(), end_at="2031-01-01T00:00:00Z", max_runs=9,
                    exclude=["2030-12-31"], exclude_calendars=["holidays"])  # fmt: skip
        client.post(f"/jobs/{client.make('paused', interval_seconds=LATER_S)}/pause")
        until = client.make("paused until", interval_seconds=LATER_S)
        client.post(f"/jobs/{until}/pause", until=(now + timedelta(hours=1)).isoformat(), catch_up="all")
        client.make("once", run_at=(now + timedelta(seconds=1)).isoformat())
        client.delete(f"/jobs/{client.make('deleted', interval_seconds=LATER_S)}")
        mail = {"recipient": "ann@example.org", "subject": "s", "body": "b"}
        for name in ("mails", "erased"):
            job = client.make(name, "email_notification", job_data=mail, interval_seconds=LATER_S)
        client.post(f"/jobs/{job}/erase", reason="ticket 4711")
        self._runs(client)
        follower = client.make("follows")
        told["first"] = client.make("goes first", on_success=[follower])
        beaten = f"/jobs/{told['beats']}/executions?status=succeeded"
        eventually(lambda: len(client.items(beaten)) > 1, "it beats")
        self.crash(leave_a_relay=True, but_api=but_api)

    def _runs(self, client):
        """Runs in every state that there is."""
        for name in ("at work", "waits for the crane"):
            job = client.make(name, job_data=LONG, concurrency_key="the crane", concurrency_limit=1)
            self.told[name] = client.post(f"/jobs/{job}/trigger")["id"]
            wanted = "running" if name == "at work" else "held"
            eventually(lambda: self._is(client, self.told[name], wanted), name)  # noqa: B023 - asked here and now
        self.told["long"] = client.post(f"/jobs/{client.make('long', job_data=LONG)}/trigger")["id"]
        eventually(lambda: self._is(client, self.told["long"], "running"), "it is at work")
        job = client.make("one after the other", job_data=LONG, overlap_policy="queue_all")
        for _ in range(2):
            run = client.post(f"/jobs/{job}/trigger")["id"]
        client.post(f"/executions/{client.post(f'/jobs/{job}/trigger')['id']}/cancel")
        eventually(lambda: self._is(client, run, "held"), "it waits for its turn")
        job = client.make("nobody serves it", queue="nobodys", start_deadline_seconds=LATER_S)
        client.post(f"/jobs/{job}/trigger")
        job = client.make("too late", queue="nobodys", start_deadline_seconds=1)
        self.told["expired"] = client.post(f"/jobs/{job}/trigger")["id"]
        dead = client.post(f"/jobs/{client.make('fails', **QUIET)}/trigger")["id"]
        slow = {"initial_seconds": 300, "max_seconds": 300}
        job = client.make("tries again", job_data=QUIET["job_data"], max_retries=3, retry_backoff=slow)
        retrying = client.post(f"/jobs/{job}/trigger")["id"]
        eventually(lambda: self._is(client, dead, "failed"), "a dead letter")
        eventually(lambda: self._is(client, retrying, "retrying"), "it will try again")
        eventually(lambda: self._is(client, self.told["expired"], "expired"), "nobody came")
        client.post(f"/executions/{dead}/retry")
        job = client.make("nightly", job_data=LONG, cron_expression="0 2 * * *")
        end = SystemClock().now()
        span = {"from": (end - timedelta(days=5)).isoformat(), "to": end.isoformat()}
        client.post(f"/jobs/{job}/backfill", **span, max_parallel=1)

    def more_happens(self):
        """The services are at work for a while; then they are killed."""
        self.system.start_services()
        client = self.client
        told = client.make("came later", interval_seconds=LATER_S)
        run = client.post(f"/jobs/{told}/trigger")["id"]
        eventually(lambda: self._is(client, run, "succeeded"), "it runs")
        client.post(f"/jobs/{told}/pause", reason="rest")
        client.delete(f"/jobs/{client.make('gone', interval_seconds=LATER_S)}")
        self.crash()

    def crash(self, *, leave_a_relay=False, but_api=False):
        """kill -9 to all services; the projector's last, once it has all."""
        client, services = self.client, self.system.services
        services["timer-1"].kill()
        if leave_a_relay:
            run = client.post(f"/jobs/{self.told['first']}/trigger")["id"]
            eventually(lambda: self._is(client, run, "succeeded"), "it has gone first")
        services["executor-1"].kill()
        if not but_api:
            services["api-1"].kill()
        tails = self.ends_of_logs()
        eventually(lambda: asyncio.run(book.has_archived(self.system, tails)), "all is archived")
        services["projector-1"].kill()

    def write_unarchived(self):
        """Have the API take what nobody archives any more, and kill it; the partition where that stands."""
        body = {"name": "of the former master alone", "job_type": "custom", "job_data": {"operation": "echo"}}
        answer = httpx.post(
            f"{self.system.url}/api/v1/jobs", json=body, headers={"Prefer": "respond-async"}, timeout=30
        )
        assert answer.status_code == 202, answer.text
        self.system.services["api-1"].kill()
        return ids.partition_of(answer.json()["id"])

    @staticmethod
    def _is(client, run, status):
        return client.get(f"/executions/{run}").get("status") == status

    # What is lost.

    def empty_redis(self):
        with redis_client.Redis.from_url(self.system.valkey.endpoint.url) as client:
            client.flushall()

    def remember_postgres(self):
        """Keep its directory as it is; nobody is at work."""
        self._while_stopped(lambda at: _copied(at, self.directory / "postgres kept"))

    def set_postgres_back(self):
        self._while_stopped(lambda at: (shutil.rmtree(at), _copied(self.directory / "postgres kept", at)))

    def empty_postgres(self):
        """Another one, with tables and nothing in them."""
        self._while_stopped(lambda at: (shutil.rmtree(at), sow(self.system.directory)))

    def _while_stopped(self, change):
        self.system.postgres.stop()
        change(self.system.directory / "postgres")
        self.system.postgres.start()

    def trim(self, places):
        """Drop from each log what stands before these positions."""
        with redis_client.Redis.from_url(self.system.valkey.endpoint.url) as client:
            for partition, place in places.items():
                log = Keys(self.system.prefix, partition).log
                client.xtrim(log, minid=str(place), approximate=False)

    def ends_of_logs(self):
        """The newest position of each."""
        return asyncio.run(book.tails(self.system))

    def follow(self, replica):
        """Have `replica` follow the system's Redis from now on."""
        password, port = re.search(r":(\w+)@127.0.0.1:(\d+)", self.system.valkey.endpoint.url).groups()
        with redis_client.Redis.from_url(replica.endpoint.url) as client:
            client.config_set("masterauth", password)
            client.replicaof("127.0.0.1", port)
            eventually(lambda: client.info("replication")["master_link_status"] == "up", "it follows")

    def promote(self, replica):
        """Have it follow nobody any more, once it has all."""
        with (
            redis_client.Redis.from_url(replica.endpoint.url) as client,
            redis_client.Redis.from_url(self.system.valkey.endpoint.url) as master,
        ):
            written = master.info("replication")["master_repl_offset"]
            eventually(lambda: client.info("replication")["slave_repl_offset"] >= written, "it has all")
            client.replicaof("no", "one")

    # What is done about it.

    def said(self, *words, status=0):
        """What a command prints that must end so."""
        done = self.system.command(*map(str, words))
        assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def recovers(self, pattern):
        """Have `daybook recover` find the same of each partition."""
        lines = [line for line in self.said("recover").splitlines() if line.startswith("partition ")]
        assert len(lines) == self.system.partitions
        for number, line in enumerate(lines):
            assert re.match(f"partition {number}: {pattern}", line), line

    def projects_the_rest(self):
        """A projector alone archives what the log has beyond the archive; then it is killed."""
        self.system.start_service("projector-1")
        tails = self.ends_of_logs()
        eventually(lambda: asyncio.run(book.has_archived(self.system, tails)), "all is archived")
        self.system.services["projector-1"].kill()

    def quarantined(self):
        """Partition, type and reason of what was put aside."""
        question = "select partition, type, reason from book.quarantine order by partition, pos"
        return asyncio.run(book._asked(self.system, question))

    def picture(self):
        """The picture of both stores."""
        return asyncio.run(self._picture())

    async def _picture(self):
        pool = await asyncpg.create_pool(self.system.postgres.endpoint.url, min_size=1, max_size=1)
        redis = connect(self.system.valkey.endpoint.url)
        try:
            return await pictures.taken(
                pool, redis, prefix=self.system.prefix, partitions=self.system.partitions
            )
        finally:
            await redis.aclose()
            await pool.close()

    def goes_on(self):
        """The API answers, jobs fire, runs end, a chain is told; and all books tell one story."""
        system = self.system
        system.start_services()
        client = self.client
        jobs = {each["name"]: each["id"] for each in client.items("/jobs?per_page=200")}
        assert {"beats", "windowed", "paused", "once", "goes first"} <= jobs.keys()
        beats, follows = (f"/jobs/{jobs[name]}/executions?status=succeeded" for name in ("beats", "follows"))
        seen = client.get(beats)["total"]
        eventually(lambda: client.get(beats)["total"] > seen + 1, "it beats again")
        eventually(lambda: client.items(follows), "what follows has run")
        long = f"/executions/{self.told['long']}"
        eventually(lambda: client.get(long)["attempt"] > 1, "what was at work is taken up again")
        run = client.post(f"/jobs/{client.make('made afterwards')}/trigger")["id"]
        eventually(lambda: self._is(client, run, "succeeded"), "what is new runs")
        status, said = system.audit()
        assert status == 0, said


def _copied(source, target):
    """With its owner: PostgreSQL is another user's where tests run as root."""
    subprocess.run(["cp", "-pR", source, target], check=True)
