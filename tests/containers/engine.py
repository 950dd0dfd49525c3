"""Which container engine this machine has, and how one speaks to it: Docker with its compose, else podman."""

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

STORE = Path(sys.prefix) / "containers"  # beside the environment's packages: gone with it
PODMAN_COMPOSE = "podman-compose==1.6.0"
ASK_S = 60
PODMAN_NOFILE = 1_048_576  # what podman gives a container unless told otherwise
NONE = """\
There is no container engine here, so nothing was tried. One of these does:
  Docker with its compose plugin, and a daemon that answers `docker info`;
  podman (on Debian, as root: apt-get install podman runc netavark aardvark-dns debootstrap).
"""


class NoEngineError(Exception):
    """No engine was found; the message says what would do."""


class EngineError(Exception):
    """A command of the engine failed: which, and what it said."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine's two commands, and the environment they are run in."""

    command: str
    composing: tuple[str, ...]
    environ: dict = field(default_factory=dict)

    @property
    def is_podman(self):
        return self.command == "podman"

    def run(self, *args, timeout_s=ASK_S, **options):
        """What the command printed.

        Raises:
            EngineError: it ended with another status than 0, or not in time.
        """
        return self._said([self.command, *args], timeout_s, **options)

    def compose(self, *args, timeout_s, environ):
        """The same for the engine's compose; `environ` is what compose.yaml may ask for."""
        return self._said([*self.composing, *args], timeout_s, env=self._environ | environ)

    def build(self, context, tag, *options, timeout_s):
        """Build an image, over the machine's own network: it reaches what the machine reaches."""
        docker_format = ["--format", "docker"] if self.is_podman else []  # OCI's has no HEALTHCHECK
        command = [
            "build",
            "--quiet",
            "--network",
            "host",
            *docker_format,
            "--tag",
            tag,
            *options,
            str(context),
        ]
        self.run(*command, timeout_s=timeout_s)

    def inspect(self, *names):
        """What the engine knows of containers or images."""
        return json.loads(self.run("inspect", *names)) if names else []

    def has_image(self, name):
        try:
            self.run("image", "inspect", name)
        except EngineError:
            return False
        return True

    @property
    def _environ(self):
        return os.environ | self.environ

    def _said(self, command, timeout_s, *, env=None, stdin=None):
        try:
            done = subprocess.run(
                command,
                env=env or self._environ,
                stdin=stdin or subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"{' '.join(command)} took more than {timeout_s} s") from error
        if done.returncode:
            said = f"{done.stdout}\n{done.stderr}".strip()[-4_000:]
            raise EngineError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
        return done.stdout


def find(say):
    """The engine of this machine.

    Raises:
        NoEngineError: there is none.
    """
    if _answers("docker", "info") and _answers("docker", "compose", "version"):
        return Engine(command="docker", composing=("docker", "compose"))
    if shutil.which("podman"):
        return _podman(say)
    raise NoEngineError(NONE)


def _answers(*command):
    if not shutil.which(command[0]):
        return False
    return subprocess.run(command, capture_output=True, check=False, timeout=ASK_S).returncode == 0


def _podman(say):
    programs = STORE / "podman-compose"
    if not (programs / "bin" / "podman-compose").exists():
        say(f"getting {PODMAN_COMPOSE}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(programs)], check=True, timeout=300)
        install = [str(programs / "bin/python"), "-m", "pip", "install", "--quiet", PODMAN_COMPOSE]
        subprocess.run(install, check=True, timeout=300)
    environ = {}
    if "CONTAINERS_CONF" not in os.environ and (text := configuration()):
        path = STORE / "containers.conf"
        path.write_text(text)
        environ["CONTAINERS_CONF"] = str(path)
        say(f"podman needs telling here: {' '.join(text.split())}")
    return Engine(
        command="podman", composing=(str(programs / "bin/podman-compose"), "--no-ansi"), environ=environ
    )


def configuration(*, nofile=None, has_crun=None, has_systemd=None, has_runc=None):
    """A containers.conf for what podman can't know of this machine; nothing where its defaults do.

    A container that asks for a higher limit than this process may set isn't started; Debian's default runtime
    needs not be installed; without systemd there is nobody to make control groups and to keep events.
    """
    nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if nofile is None else nofile
    lines = {"containers": [], "engine": []}
    if nofile != resource.RLIM_INFINITY and nofile < PODMAN_NOFILE:
        lines["containers"].append('default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]')
    if not (shutil.which("crun") if has_crun is None else has_crun) and (
        shutil.which("runc") if has_runc is None else has_runc
    ):
        lines["engine"].append('runtime = "runc"')
    if not (Path("/run/systemd/system").is_dir() if has_systemd is None else has_systemd):
        lines["engine"] += ['cgroup_manager = "cgroupfs"', 'events_logger = "file"']
    return "".join(f"[{part}]\n" + "\n".join(said) + "\n" for part, said in lines.items() if said)
