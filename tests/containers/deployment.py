"""A deployment of deploy/compose.yaml: of its own name, ports and volumes, so that another isn't touched."""

import os
import secrets
import signal
import socket
from pathlib import Path

from tests.containers.engine import EngineError

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy/compose.yaml"
UP_S, DOWN_S = 900, 300
REMOVE = {
    "container": ("container", "rm", "--force"),
    "volume": ("volume", "rm"),
    "network": ("network", "rm"),
}  # in this order: what is used can't be removed
LABEL = "com.docker.compose"  # podman-compose writes the same labels


class Deployment:
    """What one `compose up` made; names are those of compose.yaml's services."""

    def __init__(self, engine, image, services):
        self._engine = engine
        self.project = f"daybook-trial-{secrets.token_hex(3)}"
        self.services = services
        self.http_port, self.https_port, self.prometheus_port = _free_ports(3)
        self._environ = {
            "DAYBOOK_IMAGE": image,
            "HTTP_PORT": str(self.http_port),
            "HTTPS_PORT": str(self.https_port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
        }

    def up(self):
        """Make and start everything, as the manual says it."""
        options = []
        if self._engine.is_podman:
            # Its `--requires` starts nothing that needs what has ended as it should (podman-compose issue 683). The
            # services wait for the stores by themselves; only the secrets must be there before who reads them.
            self._compose("run", "--rm", "secrets", timeout_s=UP_S)
            options = ["--no-deps"]
        self._compose("up", "--detach", "--no-build", *options, *self.services, timeout_s=UP_S)

    def scale(self, service, number):
        """Have so many containers of a service, and leave all others as they are."""
        options = ["--no-build", "--no-recreate", "--no-deps", "--scale", f"{service}={number}"]
        self._compose("up", "--detach", *options, service, timeout_s=UP_S)

    def down(self):
        """End everything and throw its data away; return what is left of it."""
        self._compose("down", "--volumes", timeout_s=DOWN_S)
        # podman-compose 1.6 forgets what was scaled up, and networks of services that were not started.
        for kind, command in REMOVE.items():
            for left in self._labelled(kind):
                self._engine.run(*command, left)
        return {kind: left for kind in REMOVE if (left := self._labelled(kind))}

    def containers(self, service):
        """Ids of the containers of a service."""
        return self._labelled("container", f"{LABEL}.service={service}")

    def inspect(self, container):
        """What the engine knows of a container."""
        return self._engine.inspect(container)[0]

    def state(self, container):
        """Whether it runs, since when, how it ended."""
        return self.inspect(container)["State"]

    def is_well(self, container):
        """Whether the container's own health check is passed."""
        if not self._engine.is_podman:
            return self.state(container).get("Health", {}).get("Status") == "healthy"
        try:  # podman has systemd ask every few seconds, where there is one; so ask now
            self._engine.run("healthcheck", "run", container)
        except EngineError:
            return False
        return True

    def execute(self, container, *command, timeout_s=120):
        """Run a command in a container; return what it printed."""
        return self._engine.run("exec", container, *command, timeout_s=timeout_s)

    def read(self, container, path):
        """The text of a file in a container."""
        return self.execute(container, "cat", path)

    def crash(self, container):
        """Kill the container's first process, as the kernel would that is out of memory.

        Not by the engine's `kill`: what somebody stops by hand is not started again by its policy.
        """
        os.kill(self.state(container)["Pid"], signal.SIGKILL)

    def logs(self, container, lines=40):
        """The last lines that a container wrote."""
        return self._engine.run("logs", "--tail", str(lines), container)

    def _compose(self, *args, timeout_s):
        command = ["--project-name", self.project, "--file", str(FILE), *args]
        return self._engine.compose(*command, environ=self._environ, timeout_s=timeout_s)

    def _labelled(self, kind, *more):
        """Ids of what is this deployment's."""
        listing = ["container", "ls", "--all"] if kind == "container" else [kind, "ls"]
        labels = [f"{LABEL}.project={self.project}", *more]
        filters = [part for label in labels for part in ("--filter", f"label={label}")]
        return self._engine.run(*listing, "--quiet", *filters).split()


def _free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
