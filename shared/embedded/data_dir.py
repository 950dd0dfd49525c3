"""The data directory: one system at a time, its secret, and where its parts answer.

lock             held while `daybook up` runs over the directory
secret           signs what clients are given
endpoints.json   addresses (passwords included) and pids of the running system; gone when it ends
run/<name>.json  written by a service itself: {"name", "pid", "port"}, its pid and the port of its pages
valkey/ postgres/ files/ mail/
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .secret import secret_in


class DirectoryBusyError(Exception):
    """Another `daybook up` runs over the same data directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAddress:
    """One service process: its pid, and the URL under which /metrics, /livez and /readyz stand."""

    pid: int
    ops: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where a running system answers. `redis` and `postgres` hold passwords."""

    pid: int
    api: str
    redis: str
    postgres: str
    services: dict[str, ServiceAddress] = field(default_factory=dict)


class DataDir:
    """The directory at `path`; made when it is first held."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; the kernel lets go when the process ends, however it ends.

        Raises:
            DirectoryBusyError: Somebody else holds it.
        """
        (self.path / "run").mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise DirectoryBusyError(self._busy(lock.read().strip())) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def secret(self) -> str:
        """Return the secret of this directory, made at the first call."""
        return secret_in(self.path / "secret")

    def write_endpoints(self, endpoints: Endpoints) -> None:
        """Tell operators' commands where the system is; readers see the old file or the new one, whole."""
        draft = self.path / "endpoints.json.new"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(endpoints), indent=2) + "\n")
        draft.replace(self._endpoints)

    def read_endpoints(self) -> Endpoints | None:
        """Return what endpoints.json says, None if there is none, or one of another version's making.

        After a crash it may be out of date.
        """
        try:
            document = json.loads(self._endpoints.read_text())
            services = {name: ServiceAddress(**each) for name, each in document.pop("services").items()}
            return Endpoints(**document, services=services)
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def remove_endpoints(self) -> None:
        """Say that nothing runs here any more. Idempotent."""
        self._endpoints.unlink(missing_ok=True)

    def port_file(self, name: str) -> Path:
        """Where the service `name` writes its pid and port."""
        return self.path / "run" / f"{name}.json"

    def reported_port(self, name: str, pid: int) -> int | None:
        """Return the port that the process `pid` of the service `name` has reported, if it has."""
        try:
            report = json.loads(self.port_file(name).read_text())
        except (OSError, ValueError):
            return None
        return int(report["port"]) if report.get("pid") == pid else None

    @property
    def _endpoints(self) -> Path:
        return self.path / "endpoints.json"

    def _busy(self, holder: str) -> str:
        process = f" (process {holder})" if holder else ""
        return (
            f"Daybook already runs over {self.path}{process}: stop it, or choose another directory with "
            "--data-dir or DAYBOOK_DATA_DIR."
        )
