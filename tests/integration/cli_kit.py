"""The command line in tests: in this process over an API that really listens, or as a process of its own."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from click.testing import CliRunner
from structlog.testing import capture_logs

from services.__main__ import main
from shared.loop import Stop
from shared.serving import bound_socket, serve

DAYBOOK = [sys.executable, str(Path(sys.executable).with_name("daybook"))]


@contextlib.asynccontextmanager
async def listening(app):
    """The ASGI application on a port of its own; yields its URL. What it logs doesn't get into the commands' stdout."""
    sock, stop = bound_socket("127.0.0.1", 0), Stop()
    with capture_logs():
        serving = asyncio.create_task(serve(app, sock, until=stop.wait, grace_s=1))
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            stop.set()
            await serving


class Line:
    """`daybook` with an address, in this process; the loop that serves goes on meanwhile."""

    def __init__(self, url, **variables):
        self.variables = {"DAYBOOK_URL": url, "DAYBOOK_TOKEN": "", "NO_COLOR": "", "EDITOR": ""} | variables

    async def __call__(self, *words, status=0, given=None, **variables):
        """Run a command, check its status; its stdout and stderr."""
        done = await asyncio.to_thread(
            CliRunner().invoke, main, list(words), input=given, env=self.variables | variables
        )
        said = (
            f"daybook {' '.join(words)}: {done.exit_code}\n{done.stdout}\n{done.stderr}\n{done.exception!r}"
        )
        assert done.exit_code == status, said
        return SimpleNamespace(stdout=done.stdout, stderr=done.stderr)


def _process(words, variables, given):
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
    return subprocess.run(
        [*DAYBOOK, *words],
        env=ours | variables,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def process(*words, given=None, **variables):
    """A process of its own, once it has ended: `returncode`, `stdout`, `stderr`."""
    return await asyncio.to_thread(_process, words, variables, given)
