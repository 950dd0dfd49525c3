"""A real server as a child process: started, found again, stopped, killed."""

import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from . import processes
from .secret import secret_in

READY_S = 60.0  # a crash recovery replays the whole log of the server before it answers
TRIES = 50  # a killed PostgreSQL's backends see it within a statement, and block the next start until then
LOG_BYTES_MAX = 10_000_000
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


class ServerError(Exception):
    """A server could not be started; the message ends with what the server itself said last."""


class _PassingError(Exception):
    """What made the start fail passes by itself: the next try may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a started server answers. `url` holds its password: treat it as a secret."""

    url: str
    pid: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What `launch.py` is told: see its docstring. `environment` is what the program has beside ENVIRONMENT."""

    argv: list[str]
    account: tuple[int, int] | None = None
    pass_all: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


class Server(ABC):
    """One server over one directory, loopback only, ended by the kernel when the starting thread ends.

    `start` from the main thread, or from one that lives as long as the server
    should: the kernel ties the server's life to the *thread* that started it (prctl(2), PR_SET_PDEATHSIG).
    The server has a session of its own, so a Ctrl-C in the terminal does not reach it.
    """

    name: ClassVar[str]
    death_signal: ClassVar[signal.Signals]
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]]

    def __init__(self, directory: Path, *, port: int | None) -> None:
        self.directory = directory.resolve()
        self._port = port
        self._endpoint: Endpoint | None = None
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        """What the server says, kept over starts up to some megabytes."""
        return self.directory / "server.log"

    @property
    def endpoint(self) -> Endpoint:
        """Where the server answers.

        Raises:
            RuntimeError: It was never started.
        """
        if self._endpoint is None:
            raise RuntimeError(f"{self.name} in {self.directory} is not started")
        return self._endpoint

    def start(self) -> Endpoint:
        """Start and wait until the server answers; an orphan left over the same data is stopped first.

        The port is the one given, else a free one, kept by this object for every later start. A `stop` from
        another thread breaks the wait off.

        Raises:
            ServerError: It ended, or did not answer in a minute.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._stop_orphan()
        self._create()
        for _ in range(TRIES):
            self._spawn(self._port or processes.free_port())
            try:
                return self._wait_ready()
            except _PassingError:
                time.sleep(processes.POLL_S)
        raise ServerError(f"{self.name} in {self.directory} failed {TRIES} times\n{self._last_words()}")

    def is_alive(self) -> bool:
        """Whether the process this object started is still there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it cleanly, its data on the disk; harder signals follow if it hangs. Idempotent."""
        self._end(self.stop_signals)

    def kill(self) -> None:
        """SIGKILL, as a crash would; returns when the process is gone."""
        self._end(((signal.SIGKILL, READY_S),))

    def restart(self) -> Endpoint:
        """Stop if running, then start on the same port and data."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _pid_file(self) -> Path:
        return self.directory / "server.pid"

    @property
    def _password(self) -> str:
        """The password of this directory's server."""
        return secret_in(self.directory / "password")

    @abstractmethod
    def _create(self) -> None:
        """Write what the first (or every) start needs."""

    @abstractmethod
    def _launch(self, port: int) -> Launch:
        """Say how the program is called. Its arguments must contain `_marker`."""

    @property
    @abstractmethod
    def _marker(self) -> str:
        """What tells this server's command line from any other's."""

    @abstractmethod
    def _url(self, port: int) -> str: ...

    @abstractmethod
    def _answers(self, endpoint: Endpoint) -> bool: ...

    def _spawn(self, port: int) -> None:
        self._shorten_log()
        launch = self._launch(port)
        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 (the wheel's program)
                self._command(launch, self._pid_file),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**self._environment(), **launch.environment},
                start_new_session=True,
            )
        self._endpoint = Endpoint(url=self._url(port), pid=self._process.pid, port=port)

    def _wait_ready(self) -> Endpoint:
        deadline = time.monotonic() + READY_S
        while not self._answers(self.endpoint):
            if not self.is_alive():
                self._explain_death()
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.name} did not answer within {READY_S} s\n{self._last_words()}")
            time.sleep(processes.POLL_S)
        self._port = self.endpoint.port
        return self.endpoint

    def _command(self, launch: Launch, pid_file: Path | None) -> list[str]:
        plan = {
            "argv": launch.argv,
            "pid_file": None if pid_file is None else str(pid_file),
            "parent": os.getpid(),
            "death_signal": int(self.death_signal),
            "account": launch.account,
            "pass_all": launch.pass_all,
        }
        script = Path(__file__).with_name("launch.py")
        return [sys.executable, "-I", "-S", str(script), json.dumps(plan)]

    def _environment(self) -> dict[str, str]:
        """A short list: nobody's PGOPTIONS, locale or secrets get into a server."""
        return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | {"LC_ALL": "C"}

    def _stop_orphan(self) -> None:
        """Stop what a killed predecessor left over this directory."""
        pid = processes.read_pid(self._pid_file)
        if pid is not None and not self.is_alive():
            processes.end(pid, self._marker, self.stop_signals)
        self._pid_file.unlink(missing_ok=True)

    def _end(self, signals: tuple[tuple[signal.Signals, float], ...]) -> None:
        process = self._process
        if process is None:
            return
        for number, patience_s in signals:
            process.send_signal(number)
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
            break
        self._pid_file.unlink(missing_ok=True)

    def _explain_death(self) -> None:
        """Raise what fits the last words of a server that ended before it answered."""
        said = self._last_words()
        if self._will_pass(said):
            raise _PassingError(said)
        status = None if self._process is None else self._process.returncode
        raise ServerError(f"{self.name} in {self.directory} ended with status {status}\n{said}")

    def _will_pass(self, said: str) -> bool:
        """Whether another try may go well: the free port we saw was taken before the server had it."""
        return self._port is None and "ddress already in use" in said

    def _last_words(self) -> str:
        """Return the last lines of this start."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-12:])

    def _shorten_log(self) -> None:
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_BYTES_MAX:
            self.log_file.replace(self.log_file.with_suffix(".log.old"))
