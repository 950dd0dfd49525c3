"""What a child of `daybook up` is given: its command line and its environment."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared import environment
from shared.embedded import DataDir
from shared.settings import Settings, describe

from .child import Program

APPLICATION_CACHE = Path("/tmp/application_cache")  # noqa: S108 (what the tour and the tests tidy up)


def daybook_command() -> list[str]:
    """Return how this installation's `daybook` is called, so that it is called so in `ps` as well."""
    script = Path(sys.executable).with_name("daybook")
    return [sys.executable, str(script)] if script.exists() else [sys.executable, "-m", "services"]


class Surroundings:
    """Makes programs of names, over one data directory, one pair of servers and one API socket.

    Args:
        settings: as `up` was given them.
        data_dir: the one that is held.
        redis_url: where the log is.
        database_url: where the archive is.
        api: the listening socket. Every API process inherits it, so a new one finds the connections that
            came while none was there.
        command: what a service's name is put behind.
        beside: variables that tell of what was started beside.
    """

    def __init__(
        self,
        settings: Settings,
        data_dir: DataDir,
        *,
        redis_url: str,
        database_url: str,
        api: socket.socket,
        command: Sequence[str],
        beside: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._api_fd = api.fileno()
        self._command = command
        common = {
            **os.environ,
            **{each.name: each.value for each in describe(settings) if each.source == "argument"},
            "DAYBOOK_REDIS_URL": redis_url,
            "DAYBOOK_DATABASE_URL": database_url,
            "DAYBOOK_SECRET_KEY": self._secret(),
            "DAYBOOK_DATA_DIR": str(data_dir.path),
            "DAYBOOK_FILES_ROOTS": ",".join(str(root) for root in self._files_roots()),
            "DAYBOOK_PORT": str(api.getsockname()[1]),
            "DAYBOOK_PARENT_PID": str(os.getpid()),
            **beside,
            "PYTHONTZPATH": "",  # zones come from the tzdata package, in every process the same
        }
        self._common = environment.without_files(common)

    def migration(self) -> Program:
        """Return what brings the schema up to date, and ends."""
        return Program(name="migrate", argv=[*self._command, "migrate"], environment=self._common)

    def services(self) -> list[Program]:
        """Return the services in the order in which they are shown."""
        names = [
            *_numbered("api", self._settings.apis),
            "timer",
            *_numbered("executor", self._settings.executors),
            "projector",
        ]
        return [self._service(name, number) for number, name in enumerate(names)]

    def _service(self, name: str, number: int) -> Program:
        role = name.split("-", maxsplit=1)[0]
        own = {
            **self._common,
            "DAYBOOK_PORT_FILE": str(self._data_dir.port_file(name)),
            "DAYBOOK_OPS_PORT": str(self._settings.ops_port and self._settings.ops_port + number),
        }
        if role != "api":
            return Program(name=name, argv=[*self._command, role], environment=own)
        inherited = {**own, "DAYBOOK_API_FD": str(self._api_fd)}
        return Program(name=name, argv=[*self._command, role], environment=inherited, fds=(self._api_fd,))

    def _secret(self) -> str:
        given = self._settings.secret_key
        return self._data_dir.secret() if given is None else given.get_secret_value()

    def _files_roots(self) -> tuple[Path, ...]:
        """Return the roots of the settings, else two that exist: one of our own, and the tour's."""
        if self._settings.files_roots:
            return self._settings.files_roots
        own = self._data_dir.path / "files"
        for root in (own, APPLICATION_CACHE):
            root.mkdir(exist_ok=True)
        return (own, APPLICATION_CACHE)


def _numbered(role: str, count: int) -> list[str]:
    return [role] if count == 1 else [f"{role}-{number}" for number in range(1, count + 1)]
