"""A real nginx over deploy/nginx, with its places and ports moved to where a test may write and listen."""

import asyncio
import contextlib
import os
import re
import socket
import ssl
import subprocess
from pathlib import Path
from types import SimpleNamespace

from services.cli.secrets import made
from shared.testing import wait_until
from tests.debian import program

DEPLOY = Path(__file__).parents[2] / "deploy"


def free_ports(count):
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


def moved(directory, *, http, https, api, name_server, **bounds):
    """A copy of the configuration in `directory` for these ports and servers, and a certificate of its own."""
    places = {
        "/etc/daybook/": f"{directory}/nginx/",
        "/secrets/tls/": f"{directory}/tls/",
        "/etc/resolv.conf": f"{directory}/resolv.conf",
        "/tmp/": f"{directory}/tmp/",  # noqa: S108 - nginx's, as written there
        "/dev/stdout": f"{directory}/access.log",
        "/dev/stderr": f"{directory}/error.log",
        "listen 8080": f"listen 127.0.0.1:{http}",
        "listen 8443": f"listen 127.0.0.1:{https}",
        "api:8080": api,
        "worker_processes auto": "worker_processes 1",  # each has its own memory of names
    } | {f"{name}={bound}": f"{name}={other}" for name, (bound, other) in bounds.items()}
    for name in ("nginx", "tmp"):
        (directory / name).mkdir()
    for file in (DEPLOY / "nginx").iterdir():
        text = re.sub("|".join(map(re.escape, places)), lambda match: places[match[0]], file.read_text())
        (directory / "nginx" / file.name).write_text(text)
    if os.geteuid() == 0:  # its workers may enter a test's directory, too
        main = directory / "nginx/nginx.conf"
        main.write_text(f"user root;\n{main.read_text()}")
    (directory / "resolv.conf").write_text(
        f"search example\nnameserver {name_server}\nnameserver 127.0.0.9\n"
    )
    list(made(directory, hosts=["localhost"]))


def started_by(directory):
    """The command that start.sh ends in, as a process: what it does before has been done."""
    tools = directory / "tools"
    tools.mkdir()
    (tools / "nginx").symlink_to(program("nginx", "nginx"))
    return subprocess.Popen(
        ["sh", str(directory / "nginx" / "start.sh")],
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.asynccontextmanager
async def nginx(directory, api, *, name_server="127.0.0.1", **bounds):
    """nginx before `api` (host:port): `http` and `https` are its doors, `trust` what a client must trust.

    `bounds` are other than ours for the test: name=(ours, other).
    """
    http, https = free_ports(2)
    moved(directory, http=http, https=https, api=api, name_server=name_server, **bounds)
    process = started_by(directory)
    try:
        await wait_until(lambda: _listens(http) or process.poll() is not None, "nginx listens")
        assert process.poll() is None, process.stderr.read() + (directory / "error.log").read_text()
        yield SimpleNamespace(
            http=f"http://localhost:{http}",
            https=f"https://localhost:{https}",
            trust=ssl.create_default_context(cafile=str(directory / "tls/tls.crt")),
            directory=directory,
        )
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 10)
        process.stderr.close()


def _listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
