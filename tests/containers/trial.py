"""What whoever runs `docker compose up` is promised, tried on a deployment that has just been made."""

import functools
import json
import re
import ssl
from collections import Counter

import httpx
import yaml

from shared.testing import wait_until
from tests.containers.deployment import FILE

ONE_SHOT = ("secrets", "migrate")
START_S, TURN_S, RECOVERY_S = 600, 90, 300
SERVICES = ("api", "timer", "executor", "projector")
PORTS = {"api": 8080}
OPS_PORT = 9100
ACTIVE = "daybook_runs_active"
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
ECHO = {"job_type": "custom", "job_data": {"operation": "echo", "parameters": {"said": "by a container"}}}
SLEEP = {"job_type": "custom", "job_data": {"operation": "sleep", "parameters": {"seconds": 5}}}


async def tried(deployment, say):
    """Go through all of it; an AssertionError says what doesn't hold."""
    await all_are_well(deployment, say)
    everything_is_confined(deployment, say)
    key = first_key(deployment, say)
    async with client(deployment, key) as http:
        await doors(deployment, http, say)
        await a_job_runs_by_itself(http, say)
        await every_target_is_up(deployment, say, {each: _replicas(each) for each in SERVICES})
        await an_executor_is_killed(deployment, http, say)
        await the_stores_are_killed(deployment, http, say)
        await it_scales(deployment, say)
    verdict = deployment.execute(deployment.containers("api")[0], "daybook", "audit", "verify", timeout_s=300)
    say(f"audit: {verdict.strip().splitlines()[-1]}")


async def all_are_well(deployment, say):
    """Every container's health check passes; those that end have ended well."""
    replicas = {name: _replicas(name) for name in deployment.services}
    for service in ONE_SHOT:
        (container,) = deployment.containers(service)
        ended = functools.partial(_has_ended_well, deployment, container)
        await wait_until(ended, f"{service} has ended with 0", timeout_s=START_S, every_s=1)
    for service in (each for each in deployment.services if each not in ONE_SHOT):
        found = deployment.containers(service)
        assert len(found) == replicas[service], f"{len(found)} containers of {service}"
        for container in found:
            await _well(deployment, container, service, START_S)
    say(f"well: {', '.join(f'{name} x{number}' for name, number in replicas.items())}")


def everything_is_confined(deployment, say):
    """What compose.yaml says of each container is what the engine made of it."""
    for service in deployment.services:
        for container in deployment.containers(service):
            host = deployment.inspect(container)["HostConfig"]
            assert host["ReadonlyRootfs"], f"{service} can write to its image"
            assert host["Memory"] > 0, f"{service} may take all memory"
            assert not host["Privileged"]
    for service in SERVICES:
        container = deployment.containers(service)[0]
        identity = deployment.execute(container, "id", "-u").strip()
        rights = deployment.read(container, "/proc/self/status")
        assert identity == "10001", f"{service} runs as {identity}"
        assert "CapEff:\t0000000000000000" in rights, f"{service} has capabilities"
        assert "NoNewPrivs:\t1" in rights
    say("confined: root file systems read-only, memory bounded, services as uid 10001 without a capability")


def first_key(deployment, say):
    """As the manual says it."""
    command = ["daybook", "keys", "create", "--name", "trial", "--role", "admin", "--owner", "trial"]
    key = deployment.execute(deployment.containers("api")[0], *command).strip()
    assert key.startswith("dbk_"), key
    say("the first key is made, by `exec api daybook keys create`")
    return key


def client(deployment, key):
    """One that trusts the deployment's certificate and nobody else's."""
    certificate = deployment.read(deployment.containers("nginx")[0], "/secrets/tls/tls.crt")
    return httpx.AsyncClient(
        base_url=f"https://localhost:{deployment.https_port}",
        verify=ssl.create_default_context(cadata=certificate),
        headers={"X-API-Key": key},
        timeout=30,
    )


async def doors(deployment, http, say):
    """TLS and plain HTTP lead to the API; what it counts, and who has no key, stay outside."""
    plain = f"http://localhost:{deployment.http_port}"
    async with httpx.AsyncClient(timeout=30) as stranger:
        health = (await stranger.get(f"{plain}/health")).raise_for_status().json()
        assert health["status"] == "healthy", health
        assert "swagger-ui" in (await stranger.get(f"{plain}/docs/")).raise_for_status().text
        assert (await stranger.get(f"{plain}/api/v1/jobs")).status_code == httpx.codes.UNAUTHORIZED
    assert (await http.get("/metrics")).status_code == httpx.codes.NOT_FOUND
    (await http.get("/api/v1/jobs")).raise_for_status()
    say("nginx: /health, /docs/ and /api/v1 over HTTP and TLS; 401 without a key; /metrics not from outside")


async def a_job_runs_by_itself(http, say):
    """Created over TLS, fired by a timer, run by an executor, told by the read model: through all four services."""
    job = await _create(http, name="Tick", interval_seconds=1, **ECHO)
    run = await _first(http, f"/api/v1/jobs/{job['id']}/executions?status=succeeded")
    assert run["result"] == {"said": "by a container"}, run
    assert run["trigger"] == "schedule"
    say(f"a job ran: {run['lateness_seconds'] * 1_000:.0f} ms late, on {run['worker']}")


async def every_target_is_up(deployment, say, replicas):
    """Prometheus finds every replica and every exporter, and scrapes each; it has loaded all rules."""
    wanted = Counter({("daybook", each): number for each, number in replicas.items()})
    wanted.update({(each, None): 1 for each in ("redis", "postgres", "prometheus")})
    async with httpx.AsyncClient(
        base_url=f"http://localhost:{deployment.prometheus_port}", timeout=30
    ) as http:

        async def seen():
            targets = (await http.get("/api/v1/targets?state=active")).json()["data"]["activeTargets"]
            return Counter(
                (each["labels"]["job"], each["labels"].get("service"))
                for each in targets
                if each["health"] == "up"
            )

        async def complete():
            return await seen() == wanted

        try:
            await wait_until(complete, "every target is up", timeout_s=TURN_S, every_s=1)
        except AssertionError as error:
            missing, beyond = wanted - (found := await seen()), found - wanted
            raise AssertionError(f"not up: {dict(missing)}, not expected: {dict(beyond)}") from error
        rules = (await http.get("/api/v1/rules")).json()["data"]["groups"]
        broken = [rule for group in rules for rule in group["rules"] if rule["health"] == "err"]
        assert not broken, json.dumps(broken)
        up = (await http.get("/api/v1/query", params={"query": "redis_up + on() pg_up"})).json()["data"][
            "result"
        ]
        assert [each["value"][1] for each in up] == ["2"], f"an exporter does not reach its store: {up}"
    say(
        f"Prometheus: {sum(wanted.values())} targets up, {sum(len(each['rules']) for each in rules)} rules loaded"
    )


async def an_executor_is_killed(deployment, http, say):
    """Its runs are run again by the other one; it comes back by itself."""
    job = await _create(http, name="Slow", overlap_policy="allow", **SLEEP)
    (await http.post(f"/api/v1/jobs/{job['id']}/trigger")).raise_for_status()

    def busy():
        return next(
            (each for each in deployment.containers("executor") if _active_runs(deployment, each)), None
        )

    victim = await wait_until(busy, "an executor runs it", timeout_s=TURN_S, every_s=0.2)
    deployment.crash(victim)
    run = await _first(http, f"/api/v1/jobs/{job['id']}/executions?status=succeeded", timeout_s=RECOVERY_S)
    assert run["attempt"] == 2, run
    await _well(deployment, victim, "the executor that was killed", RECOVERY_S)
    say(
        "an executor was killed (SIGKILL) in a run: the run succeeded in its second attempt, the container is back"
    )


async def the_stores_are_killed(deployment, http, say):
    """Redis, then Postgres: what was acknowledged is there, and work goes on."""
    for store in ("redis", "postgres"):
        before = await _create(http, name=f"Before {store} dies", **ECHO)
        (container,) = deployment.containers(store)
        deployment.crash(container)
        await _well(deployment, container, store, RECOVERY_S)

        async def triggered(job=before["id"]):
            return (await http.post(f"/api/v1/jobs/{job}/trigger")).is_success

        await wait_until(
            triggered, f"a job made before {store} died can be run", timeout_s=RECOVERY_S, every_s=1
        )
        await _first(http, f"/api/v1/jobs/{before['id']}/executions?status=succeeded", timeout_s=RECOVERY_S)
        say(f"{store} was killed (SIGKILL): it is back, and a job made before it died has run")


async def it_scales(deployment, say):
    """One more executor, by the command of the manual: it works, and Prometheus finds it by itself."""
    replicas = {each: _replicas(each) for each in SERVICES}
    replicas["executor"] += 1
    deployment.scale("executor", replicas["executor"])
    for container in deployment.containers("executor"):
        await _well(deployment, container, "executor", RECOVERY_S)
    await every_target_is_up(deployment, say, replicas)
    say(f"scaled: {replicas['executor']} executors")


# How it is asked.


async def _create(http, **job):
    answer = await http.post("/api/v1/jobs", json=job)
    assert answer.is_success, answer.text
    return answer.json()


async def _first(http, path, *, timeout_s=TURN_S):
    """The first item of a list, once it has one."""

    async def found():
        answer = await http.get(path)
        return answer.is_success and answer.json()["items"]

    return (await wait_until(found, f"{path} shows something", timeout_s=timeout_s, every_s=0.2))[0]


async def _well(deployment, container, what, timeout_s):
    try:
        await wait_until(
            lambda: deployment.is_well(container), f"{what} is well", timeout_s=timeout_s, every_s=1
        )
    except AssertionError as error:
        raise AssertionError(f"{error}\n{deployment.logs(container)}") from error


def _has_ended_well(deployment, container):
    state = deployment.state(container)
    return state["Status"] == "exited" and state["ExitCode"] == 0


def _active_runs(deployment, container):
    try:
        page = deployment.execute(container, "python", "-c", FETCH, f"http://127.0.0.1:{OPS_PORT}/metrics")
    except Exception:  # noqa: BLE001 - it may just start
        return False
    return any(line.startswith(ACTIVE) and not line.endswith(" 0.0") for line in page.splitlines())


def _replicas(service):
    told = yaml.safe_load(FILE.read_text())["services"][service]
    return int(re.search(r"\d+", str(told.get("deploy", {}).get("replicas", 1)))[0])  # ${APIS:-3}
