"""Other people's processes: is it there, is it the one we think, and how it is made to go."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

# Below the range from which kernels take ports for outgoing connections (32768 and up): a client that keeps
# calling a dead server's port from that range may be given the very same port, and then talks to itself.
PORTS = range(15_000, 32_000)
POLL_S = 0.01


def free_port() -> int:
    """Return a loopback TCP port that nobody holds at this moment.

    Raises:
        OSError: A hundred tries found none.
    """
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port among {PORTS.start}-{PORTS.stop}")


def read_pid(pid_file: Path) -> int | None:
    """Return the pid on the first line, or None if there is no such file or number."""
    try:
        return int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def command_line(pid: int) -> str:
    """Return a process's arguments joined by spaces; empty for a zombie, a kernel thread or none at all."""
    if Path("/proc/self").exists():
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return ""
        return os.fsdecode(arguments.replace(b"\0", b" "))
    shown = subprocess.run(  # noqa: S603 (a number we made)
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout


def has_variable(pid: int, variable: str) -> bool:
    """Whether a process of ours was started with `variable` ("NAME=value"); False where nobody can tell."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return os.fsencode(variable) in environment.split(b"\0")


def working_in(directory: Path) -> list[int]:
    """Return the processes whose working directory this is; none where the system does not tell."""
    return [
        int(found.parent.name) for found in Path("/proc").glob("[0-9]*/cwd") if _leads_to(found, directory)
    ]


def _leads_to(link: Path, directory: Path) -> bool:
    try:
        return link.samefile(directory)
    except OSError:  # gone, or another user's
        return False


def is_running(pid: int, marker: str) -> bool:
    """Whether `pid` is alive and its command line holds `marker`: a number alone may have been given anew."""
    line = command_line(pid)
    return bool(line) and marker in line


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll until the condition holds; return whether it did within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def end(pid: int, marker: str, signals: tuple[tuple[signal.Signals, float], ...]) -> None:
    """Send each signal in turn until the process is gone; each has its own patience in seconds."""
    for number, patience_s in signals:
        if not is_running(pid, marker):
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if wait_until(lambda: _has_ended(pid, marker), patience_s):
            return


def _has_ended(pid: int, marker: str) -> bool:
    """Whether nothing of it is left. A dying process loses its command line first, then its sockets.

    Its first thread may be a zombie while another one still holds them.
    """
    if is_running(pid, marker):
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except (OSError, IndexError):
        return True
    is_another = bool(command_line(pid))  # the pid was given anew
    return is_another or (state in {"Z", "X"} and threads <= 1)
