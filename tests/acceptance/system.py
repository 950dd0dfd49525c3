"""The real system as processes: two servers, and any number of each service.

Start it from the main thread: the kernel ties servers and services to the life of the thread that starts them.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from shared.embedded import Postgres, Valkey
from tests.seed import sow

ROLES = ("api", "timer", "executor", "projector")
READY_S = 40.0  # four interpreters on one busy core
END_S = 20.0
TAIL_LINES = 8
LAST = "projector"  # it stops after those that write, so that it has all that they wrote


def eventually(condition, what, timeout_s=READY_S):
    """Wait for `condition()` without a loop, and return what it returned."""
    until = time.monotonic() + timeout_s
    while not (seen := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)
    return seen


class Service:
    """One process of one role, which can be killed and started again."""

    def __init__(self, name, environment, directory, api_fd):
        self.name, self.role = name, name.split("-", maxsplit=1)[0]
        self.log_file = directory / f"{name}.log"
        self._port_file = directory / f"{name}.json"
        self._environment = environment | {"DAYBOOK_PORT_FILE": str(self._port_file)}
        self._fds = (api_fd,) if self.role == "api" else ()
        if self._fds:
            self._environment["DAYBOOK_API_FD"] = str(api_fd)
        self._said_before = 0
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    @property
    def lines(self):
        """The lines it has logged, as far as they are JSON."""
        text = self.log_file.read_text(errors="replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def spawn(self):
        with self.log_file.open("ab") as log:
            self._said_before = log.tell()
            self.process = subprocess.Popen(
                [*_daybook(), self.role],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                pass_fds=self._fds,
                process_group=0,
            )

    def kill(self):
        """SIGKILL; returns when it is gone."""
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """SIGTERM; return the exit status."""
        self.process.terminate()
        return self.process.wait(END_S)

    @property
    def ops_url(self):
        """Where it shows /metrics and its probes; None until this very process has said so."""
        try:
            told = json.loads(self._port_file.read_text())
        except FileNotFoundError:
            return None
        return f"http://127.0.0.1:{told['port']}" if told["pid"] == self.pid else None

    def is_up(self):
        """Whether this process serves."""
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}\n{self.tail()}"
        if self.role == "api":
            return b'"serving"' in self.log_file.read_bytes()[self._said_before :]
        url = self.ops_url
        if url is None:
            return False
        try:
            return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def tail(self):
        """Its last lines, and the last of them that complain."""
        text = self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
        lines = text.splitlines()
        calm = ('"level":"info"', '"run lost"')
        loud = [line for line in lines if not any(each in line for each in calm)]
        return "\n".join([f"--- {self.name}", *loud[-TAIL_LINES:], "…", *lines[-TAIL_LINES:]])


class System:
    """Servers and services over `directory`.

    All API processes share one listening socket, as under `daybook up`: what connects while none is there waits.
    """

    def __init__(self, directory, *, replicas=None, environment=None, postgres=None, redis=None):
        self.directory = directory
        counts = dict.fromkeys(ROLES, 1) | (replicas or {})
        self._names = [f"{role}-{n}" for role in ROLES for n in range(1, counts[role] + 1)]
        self._settings = environment or {}
        self.valkey = redis or Valkey(directory)
        self.postgres = Postgres(directory, settings=postgres or {})
        self.prefix = "acceptance"
        self.ready_s = READY_S
        self.partitions = int(self._settings.get("DAYBOOK_PARTITIONS", 4))
        self._socket = socket.socket()
        self.services = {}

    def start(self):
        """Return when /health says that all is well."""
        self.start_servers()
        return self.start_services()

    def start_servers(self):
        """Both servers, and no service yet."""
        self.valkey.start()
        sow(self.directory)
        self.postgres.start()

    def start_services(self):
        """All services, over servers that are there; return when /health says that all is well."""
        if not self.services:
            self._socket.bind(("127.0.0.1", 0))
            self._socket.listen(512)
        for name in self._names:
            self.start_service(name)
        eventually(self.is_healthy, "the system is healthy", self.ready_s)
        return self

    def start_service(self, name):
        """Start one, over the servers as they are now; don't wait."""
        environment = self._environment_of(name)
        self.services[name] = Service(name, environment, self.directory, self._socket.fileno())
        self.services[name].spawn()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def client(self, *, timeout_s=20, **options):
        """An HTTP client for the API."""
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        return httpx.AsyncClient(base_url=self.url, timeout=timeout_s, limits=limits, **options)

    def command(self, *words, check=False, timeout_s=READY_S):
        """Run `daybook …` to its end, with the settings of the services."""
        return subprocess.run(
            [*_daybook(), *words],
            env=self._environment(),
            check=check,
            timeout=timeout_s,
            capture_output=True,
            text=True,
        )

    def of(self, role):
        """The services of a role."""
        return [service for service in self.services.values() if service.role == role]

    def is_healthy(self):
        for service in self.services.values():
            if not service.is_up():
                return False
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self, name):
        """SIGKILL, and start another at once."""
        self.services[name].kill()
        self.services[name].spawn()

    def audit(self):
        """`daybook audit verify`: its status and what it printed. The system may be at work."""
        command = [*_daybook(), "audit", "verify"]
        done = subprocess.run(
            command, env=self._environment(), timeout=READY_S, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def stop(self):
        """SIGTERM to everything, servers last; all must end by themselves, with status 0."""
        statuses = {}
        try:
            for wave in (False, True):
                services = [each for each in self.services.values() if (each.role == LAST) is wave]
                for service in services:
                    service.process.send_signal(signal.SIGTERM)
                statuses |= {service.name: service.process.wait(END_S) for service in services}
        finally:
            self.destroy()
        assert statuses == dict.fromkeys(self.services, 0), self.tails()

    def destroy(self):
        """End what is left, however."""
        for service in self.services.values():
            if service.process is not None and service.process.poll() is None:
                service.kill()
        self._socket.close()
        self.postgres.stop()
        self.valkey.stop()

    def tails(self):
        """The last lines of every service."""
        return "\n".join(service.tail() for service in self.services.values())

    def _environment_of(self, name):  # noqa: ARG002 - for those who tell services apart
        """What the service `name` is started with."""
        return self._environment()

    def _environment(self):
        ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
        return ours | {
            "DAYBOOK_REDIS_URL": self.valkey.endpoint.url,
            "DAYBOOK_DATABASE_URL": self.postgres.endpoint.url,
            "DAYBOOK_PREFIX": self.prefix,
            "DAYBOOK_DATA_DIR": str(self.directory),
            "DAYBOOK_LOG_FORMAT": "json",
            "DAYBOOK_PARENT_PID": str(os.getpid()),
            "PYTHONTZPATH": "",
            **self._settings,
        }


def _daybook():
    return [sys.executable, str(Path(sys.executable).with_name("daybook"))]
