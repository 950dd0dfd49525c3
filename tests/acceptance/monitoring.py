"""Prometheus and its exporters beside a running system: Debian's programs, the configuration of `deploy/`."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import yaml

from shared.embedded import launch
from shared.embedded.processes import free_port
from tests.dashboards import DEPLOY
from tests.debian import program

from .system import eventually

INTERVAL = "2s"  # between scrapes, and between evaluations of the rules; also how long a scrape may take
READY_S = 30.0
TRIES = 5  # somebody else may take a port between our look and the program's
FIRES = {"alert": "DaybookTestFires", "expr": "vector(1) > 0", "labels": {"severity": "page"}}


class Program:
    """One process that answers under a port of its own, and goes when the tests go."""

    def __init__(self, directory, command, *, ready, environment=None):
        self._log_file = directory / f"{Path(command[0]).name}.log"
        for _ in range(TRIES):
            self.port = free_port()
            self._process = self._spawn([each.format(port=self.port) for each in command], environment or {})
            eventually(lambda: self._has_ended() or self._answers(ready), f"{command[0]} answers", READY_S)
            if not self._has_ended():
                return
        raise AssertionError(self._log_file.read_text())

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def end(self):
        self._process.terminate()
        self._process.wait(READY_S)

    def _spawn(self, argv, environment):
        plan = {"argv": argv, "pid_file": None, "parent": os.getpid(), "death_signal": signal.SIGKILL}
        plan |= {"account": None, "pass_all": False}
        with self._log_file.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", launch.__file__, json.dumps(plan)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
                process_group=0,
            )

    def _has_ended(self):
        return self._process.poll() is not None

    def _answers(self, path):
        try:
            return httpx.get(f"http://{self.address}{path}", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


class Monitoring:
    """What `deploy/compose.yaml` starts to watch Daybook, but for Grafana."""

    def __init__(self, system, directory):
        self._directory = directory
        self._started = []
        self._http = httpx.Client(timeout=10, trust_env=False)  # one for all: each makes a TLS context
        try:
            self._start(system)
        except BaseException:
            self.end()
            raise

    def _start(self, system):
        (self._directory / "rules").mkdir(parents=True)
        redis = program("prometheus-redis-exporter", "prometheus-redis-exporter")
        postgres = program("prometheus-postgres-exporter", "prometheus-postgres-exporter")
        exporters = {
            "redis": self._begin(
                [redis, "-web.listen-address", "127.0.0.1:{port}", "-redis.addr", system.valkey.endpoint.url],
                ready="/health",
            ),
            "postgres": self._begin(
                [postgres, "--web.listen-address=127.0.0.1:{port}"],
                ready="/",
                environment={"DATA_SOURCE_NAME": f"{system.postgres.endpoint.url}?sslmode=disable"},
            ),
        }
        self._configure(system, {job: each.address for job, each in exporters.items()})
        prometheus = [program("prometheus", "prometheus"), "--web.listen-address=127.0.0.1:{port}"]
        prometheus += [f"--config.file={self._directory}/prometheus.yml"]
        prometheus += [f"--storage.tsdb.path={self._directory}/data"]
        self.prometheus = self._begin(prometheus, ready="/-/ready")

    def _begin(self, command, **options):
        self._started.append(Program(self._directory, command, **options))
        return self._started[-1]

    def _configure(self, system, exporters):
        """The deployment's own configuration, but for where everybody is and how often they are asked."""
        config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
        for job in config["scrape_configs"]:
            job.pop("dns_sd_configs", None)
            job["static_configs"] = self._targets(system, job["job_name"], exporters)
        (self._directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        for rules in DEPLOY.glob("prometheus/rules/*.yml"):
            (self._directory / "rules" / rules.name).write_text(rules.read_text())
        always = {"groups": [{"name": "of the test", "rules": [FIRES]}]}
        (self._directory / "rules" / "always.yml").write_text(yaml.safe_dump(always))

    def _targets(self, system, job, exporters):
        if job == "prometheus":
            return []
        if job != "daybook":
            return [{"targets": [exporters[job]]}]
        return [
            # The name that the DNS was asked for, as discovery tells it.
            {"targets": [_authority(system, each)], "labels": {"__meta_dns_name": each.role}}
            for each in system.services.values()
        ]

    def ask(self, path, **parameters):
        """What Prometheus answers to a question of its HTTP API."""
        url = f"http://{self.prometheus.address}/api/v1/{path}"
        answer = self._http.get(url, params=parameters).json()
        assert answer["status"] == "success", f"{parameters}: {answer}"
        return answer["data"]

    def rows(self, text):
        """The rows of an expression at this moment, as pairs of labels and a number."""
        found = self.ask("query", query=text)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    def end(self):
        self._http.close()
        for each in reversed(self._started):
            each.end()


def _authority(system, service):
    return re.sub("^http://", "", system.url if service.role == "api" else service.ops_url)
