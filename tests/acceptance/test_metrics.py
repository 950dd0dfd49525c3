"""Every metric that operators were promised is declared, and each is seen to move in one story of a real system."""

import asyncio
import contextlib
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import asyncpg
import jwt
import pytest
from redis.asyncio import Redis
from redis.exceptions import WatchError

from shared.eventlog.keys import Keys
from shared.eventlog.position import Position
from shared.metrics import PREFIX, Metrics, render
from shared.testing import wait_until
from tests.debian import program

from . import book
from .promised_metrics import CONTRACT, PARTITIONS, SLOTS
from .scrapes import Watch, read, scrape
from .system import ROLES, System, eventually

PLUGINS = Path(__file__).parents[1] / "plugins"
LEASE_S = 2
SECRET = "no secret at all, as it stands in a test"  # noqa: S105 - it is none
RATE = 200  # requests a minute; more than the story has
BUSY_S = 7  # more than the executor's five seconds between two counts of a queue
PAUSE_MS = 3_000
PATIENCE_S = 10.0
LAST_PATIENCE_S = 40.0  # the projector counts its ledgers every 15 s
pytestmark = [pytest.mark.xdist_group("metrics"), pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    """What was seen in the course of the story."""
    directory = tmp_path_factory.mktemp("metrics")
    settings = {
        "PYTHONPATH": str(_with_plugins(directory / "site")),
        "DAYBOOK_PARTITIONS": str(PARTITIONS),
        "DAYBOOK_CONCURRENCY": str(SLOTS),
        "DAYBOOK_LEASE_SECONDS": str(LEASE_S),
        "DAYBOOK_WAIT_SECONDS": "0.3",
        "DAYBOOK_AUTH": "on",
        "DAYBOOK_METRICS_OPEN": "on",
        "DAYBOOK_SECRET_KEY": SECRET,
        "DAYBOOK_DRAIN_SECONDS": "0",
        "DAYBOOK_RATE_LIMIT": f"{RATE}/m",
    }
    system = System(directory, environment=settings)
    try:
        system.start()
        watch = Watch(system, CONTRACT)
        asyncio.run(_story(system, watch))
        yield watch
    finally:
        system.destroy()


async def _story(system, watch):
    watch.look("first", PATIENCE_S)
    await _refuse_cats(system)
    async with system.client() as nobody:
        assert (await nobody.get("/api/v1/jobs")).status_code == 401
    async with system.client(headers={"Authorization": f"Bearer {_token('bob')}"}) as flood:
        await _ask_too_often(flood)
    async with system.client(headers={"Authorization": f"Bearer {_token()}"}) as http:
        await _create(http, "cat", "echo")
        await _trigger(http, await _create(http, "fails", "fail", max_retries=0, message="on purpose"))
        await _trigger(
            http, await _create(http, "fails once", "fail", max_retries=1, times=1, message="once")
        )
        ticking = await _keep_busy(http, watch)
        await _leave_one_waiting(http)
        await _edit_from_many_sides(http)
        await _ask_for(http, "POST", f"{ticking[0]}/pause")
        await _lag(system, http, watch)
        await _be_overdue(system, watch)
        await _miss_occurrences(system, http, watch, ticking)
        await _ask_for(http, "POST", f"{ticking[0]}/resume")
        for job_id in ticking:
            await _ask_for(http, "DELETE", job_id)
        await _sleep_through_leases(system, http, watch)
        await _fill_redis(system, http, watch)
        await _fork(system)
        watch.look("last", LAST_PATIENCE_S)


def _token(who="ann"):
    told = {"sub": who, "tenant": "default", "role": "editor", "iss": "daybook", "aud": "daybook"}
    return jwt.encode(told | {"exp": time.time() + 600}, SECRET, algorithm="HS256")


async def _keep_busy(http, watch):
    """Take every slot, and have the schedule want more; return the jobs that fall due each second."""
    nap = await _create(
        http, "nap", "sleep", timeout_seconds=BUSY_S, max_retries=0, overlap_policy="allow", seconds=60
    )
    for _ in range(SLOTS):
        await _trigger(http, nap)
    interval = await _create(http, "each second", "echo", interval_seconds=1)
    cron = await _create(http, "on the second", "echo", cron_expression="* * * * * *")
    async with http.stream("GET", "/api/v1/events/stream"):
        watch.look("busy", PATIENCE_S)
    return interval, cron


async def _ask_too_often(http):
    """Use a limit up, and more than is earned back meanwhile."""
    async with asyncio.timeout(LAST_PATIENCE_S):
        while (await http.get("/api/v1/jobs?nonsense")).status_code != 429:
            await asyncio.gather(*(http.get("/api/v1/jobs?nonsense") for _ in range(50)))


async def _fill_redis(system, http, watch):
    """Leave Redis hardly any memory until new work is refused."""
    redis = Redis.from_url(system.valkey.endpoint.url)
    before = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", (await redis.info("memory"))["used_memory"] * 100 // 95)
    nowhere = "/api/v1/jobs/00000000-0000-8000-8000-000000000000/trigger"

    async def is_refused():
        return (await http.post(nowhere, json={})).status_code == 503

    await wait_until(is_refused, "new work is refused", every_s=0.2)
    watch.look("full", PATIENCE_S)
    await redis.config_set("maxmemory", before)
    await wait_until(lambda: _is_open(is_refused), "new work is taken again", every_s=0.2)
    await redis.aclose()


async def _is_open(is_refused):
    return not await is_refused()


async def _leave_one_waiting(http):
    """Have a run wait for one that waits for an executor, and will for ever."""
    job_id = await _create(http, "in turn", "echo", overlap_policy="queue_one", queue="unserved")
    for _ in range(2):
        await _trigger(http, job_id)


async def _edit_from_many_sides(http):
    job_id = await _create(http, "edited", "echo")
    await asyncio.gather(
        *(http.post(f"/api/v1/jobs/{job_id}/{wish}") for _ in range(20) for wish in ("pause", "resume"))
    )
    await _ask_for(http, "POST", f"{job_id}/pause")
    unknown = job_id[:-1] + ("0" if job_id[-1] != "0" else "1")
    assert (await http.get(f"/api/v1/jobs/{unknown}")).status_code == 404


async def _lag(system, http, watch):
    """Take the archive away: the log goes on without it, and the lag must not read 0 then."""
    system.postgres.stop()
    assert (await http.post("/api/v1/jobs", json=_body("not archived yet", "echo"))).status_code == 202
    watch.look("lagging", PATIENCE_S)
    system.postgres.start()
    eventually(system.is_healthy, "all have found the archive again")


async def _be_overdue(system, watch):
    """Hold every commit up, as a Redis that fails over would, until occurrences have fallen due.

    A timer whose lease can't be renewed gives its partitions up after two thirds of a second at the earliest, and
    speaks of none then: so the pause begins shortly before a second is full, when the cron job falls due.
    """
    redis = Redis.from_url(system.valkey.endpoint.url)
    await wait_until(lambda: _is_late_in_a_second(redis), "a second is nearly over", every_s=0.02)
    await redis.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
    watch.look("overdue", PAUSE_MS / 1000)
    await redis.execute_command("CLIENT", "UNPAUSE")
    await redis.aclose()


async def _miss_occurrences(system, http, watch, ticking):
    """Stop the only timer for longer than the grace; what fell due meanwhile is decided once it goes on.

    While it is stopped, GET /missed tells which occurrences the gauge counts, and none after.
    """
    (timer,) = system.of("timer")
    timer.process.send_signal(signal.SIGSTOP)
    watch.look("missing", PATIENCE_S)
    told = (await http.get("/api/v1/missed")).json()["items"]
    assert {each["job_id"] for each in told} == {ticking[1]}, "the other one is paused"
    timer.process.send_signal(signal.SIGCONT)
    shown = lambda: scrape(watch.url("projector")).value("occurrences_missing", {})  # noqa: E731
    eventually(lambda: shown() == 0, "nothing is missing any more")
    assert (await http.get("/api/v1/missed")).json()["items"] == []


async def _is_late_in_a_second(redis):
    _, micros = await redis.time()
    return 600_000 < micros < 900_000


async def _sleep_through_leases(system, http, watch):
    """Stop the executor until the timer has taken its two runs away, and let it go on."""
    (executor,) = system.of("executor")
    here, go_on = system.directory / "here", system.directory / "go-on"
    await _until_active(watch, 0, "the naps have ended")
    await _trigger(http, await _create(http, "sleeps", "sleep", seconds=3600))
    await _until_active(watch, 1, "one is in its handler")
    files = {"here": str(here), "go_on": str(go_on)}
    block = {"name": "blocks", "job_type": "block", "priority": 10, "job_data": files}
    await _trigger(http, (await _ask_for(http, "POST", "", block))["id"])
    eventually(here.exists, "the other is in its handler, and the event loop stands still in it")
    executor.process.send_signal(signal.SIGSTOP)
    lost = lambda: scrape(watch.url("timer")).value("leases_lost_total", {})  # noqa: E731
    eventually(lambda: lost() == SLOTS, "the timer has taken both away")
    go_on.touch()
    executor.process.send_signal(signal.SIGCONT)


async def _fork(system):
    """Have a log hold another event than the archive, as if a copy of it had been written to and put in its place."""
    written = await book.tails(system)
    await wait_until(lambda: book.has_archived(system, written), "all is archived")
    redis = Redis.from_url(system.valkey.endpoint.url)
    keys = Keys(system.prefix, 0)
    while True:
        async with redis.pipeline(transaction=True) as swap:
            await swap.watch(keys.log)
            (tail, fields), before = await swap.xrevrange(keys.log, count=2)
            if not await book.has_archived(system, {0: Position.parse(tail.decode())}):
                continue
            swap.multi()
            swap.delete(keys.log)
            swap.xadd(keys.log, before[1], id=before[0])
            swap.xadd(keys.log, fields | {b"id": b"forged"}, id=tail)
            swap.hdel(keys.meta, "incarnation")
            with contextlib.suppress(WatchError):
                await swap.execute()
                break
    await redis.aclose()


async def _until_active(watch, count, what):
    eventually(lambda: scrape(watch.url("executor")).value("runs_active", {}) == count, what)


async def _refuse_cats(system):
    """Give a ledger a rule that one job will break."""
    connection = await asyncpg.connect(system.postgres.endpoint.url)
    await connection.execute("alter table ledger.jobs add constraint no_cats check (name <> 'cat')")
    await connection.close()


def _with_plugins(site):
    """Where Python finds a package that nobody installed."""
    shutil.copytree(PLUGINS / "dist-info", site / "daybook_plugin_for_tests-1.0.dist-info")
    shutil.copy(PLUGINS / "plugin_for_tests.py", site)
    return site


def _body(name, operation, **more):
    parameters = {key: more.pop(key) for key in ("seconds", "times", "message") if key in more}
    data = {"operation": operation, "parameters": parameters}
    return {"name": name, "job_type": "custom", "job_data": data, **more}


async def _create(http, name, operation, **more):
    return (await _ask_for(http, "POST", "", _body(name, operation, **more)))["id"]


async def _trigger(http, job_id, body=None):
    await _ask_for(http, "POST", f"{job_id}/trigger", body or {})


async def _ask_for(http, method, path, body=None):
    answer = await http.request(method, f"/api/v1/jobs/{path}".rstrip("/"), json=body)
    assert answer.status_code in (200, 201, 202, 204), answer.text
    return answer.json() if answer.content else None


def test_the_table_has_every_metric_that_is_declared_and_its_type():
    text, kind = render(Metrics(version="1").registry)
    declared = read(text.decode(), kind).families
    assert set(declared) == set(CONTRACT)
    for name, row in CONTRACT.items():
        assert declared[name].documentation.endswith("?"), f"{name} answers no question"
        assert declared[name].type == row.kind, name


@pytest.mark.parametrize("name", CONTRACT)
def test_a_metric_moves_with_what_it_measures(watch, name):
    wrong = [
        f"{name}{sight.labels} of the {sight.role} was {watch.value(name, sight, 'first')} at first and "
        f"{watch.value(name, sight)} in the moment `{sight.moment}`"
        for sight in CONTRACT[name].sights
        if not watch.holds(name, sight)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", CONTRACT)
def test_a_metric_has_the_labels_and_buckets_of_the_contract(watch, name):
    row = CONTRACT[name]
    series = [each for page in watch.pages.values() for each in page.families[name].samples]
    assert {tuple(sorted(set(each.labels) - {"le"})) for each in series} == {tuple(sorted(row.labels))}
    bounds = [each.labels["le"] for each in series if "le" in each.labels]
    assert {float(bound) for bound in bounds} == ({*row.buckets, float("inf")} if row.buckets else set())


@pytest.mark.parametrize("role", ROLES)
def test_prometheus_reads_the_page_of_each_service_and_finds_every_metric_explained(watch, role):
    page = scrape(watch.url(role))
    assert page.kind.startswith("text/plain; version=")
    assert set(page.families) == set(CONTRACT)
    for name in CONTRACT:
        assert len(re.findall(rf"^# HELP {PREFIX}{name} .*\?$", page.text, re.MULTILINE)) == 1, name
        assert len(re.findall(rf"^# TYPE {PREFIX}{name} ", page.text, re.MULTILINE)) == 1, name


@pytest.mark.parametrize("role", ROLES)
def test_promtool_has_nothing_to_say_about_the_page_of_a_service(watch, role):
    check = [program("promtool", "prometheus"), "check", "metrics"]
    done = subprocess.run(
        check, input=scrape(watch.url(role)).text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("role", ROLES)
def test_no_label_holds_what_grows_with_use(watch, role):
    """No ids, positions, times or addresses: a series each would fill Prometheus."""
    for name, family in watch.pages["last", role].families.items():
        for sample in family.samples:
            told = {label: value for label, value in sample.labels.items() if label not in ("le", "version")}
            numbers = [value for value in told.values() if re.search(r"[0-9a-f]{8}|\d{4}", value)]
            assert not numbers, f"{name}{told}"
