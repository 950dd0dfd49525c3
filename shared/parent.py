"""A child that goes when its parent goes, even if the parent is killed and can tell nobody."""

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1  # prctl(2)
LOOK_EVERY_S = 0.5  # `daybook up` promises that no child outlives it by more than a second or two


def die_with_parent(parent: int | None = None, signum: int = signal.SIGTERM) -> None:
    """Have `signum` sent to this process as soon as the process `parent` has ended.

    The parent should pass its own pid to the child, so that a parent which ends before this call is noticed
    as well: without it, the process that adopted the orphan would be taken for the parent. On Linux the
    kernel sends the signal (when the *thread* that started the child ends: start children from the main
    thread); elsewhere a thread looks twice a second. Call it once, from the main thread, before work begins.

    Args:
        parent: pid of the process to live with; this process's parent as of now if None.
        signum: what to send; SIGTERM drains first (`lifecycle.run` bounds how long that takes).
    """
    expected = os.getppid() if parent is None else parent
    if sys.platform == "linux":
        _ask_kernel(signum)
        # The order closes the race: a parent that ended before prctl has a successor by now.
        if os.getppid() != expected:
            os.kill(os.getpid(), signum)
    else:
        _start_watcher(expected, signum)


def _ask_kernel(signum: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl(PR_SET_PDEATHSIG, {signum}): {os.strerror(errno)}")


def _start_watcher(parent: int, signum: int) -> None:
    threading.Thread(target=_watch, args=(parent, signum), name="parent-watch", daemon=True).start()


def _watch(parent: int, signum: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signum)
