"""The last step before a server's own program: who it runs as, and who it dies with.

Run as a script (`python launch.py '<plan as JSON>'`), never imported: what it does has to happen between
fork and exec, where a program with threads may not run Python of its own.

The plan: `argv` · `pid_file` or null (written first, so that an orphan can always be found) · `parent` (pid)
and `death_signal` (sent by the kernel when the parent's starting thread ends; Linux only) · `account`
`[uid, gid]` or null · `pass_all` (keep the right to pass directories that the account itself may not).
"""

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2  # <linux/prctl.h>
SECBIT_NO_SETUID_FIXUP = 4  # <linux/securebits.h>
CAP_DAC_OVERRIDE = 1  # <linux/capability.h>; in the set a container's root has by default
CAPABILITY_VERSION_3 = 0x20080522


def main(plan: dict[str, Any]) -> None:
    """Become the server of the plan; never returns."""
    if plan["pid_file"]:
        Path(plan["pid_file"]).write_text(f"{os.getpid()}\n")
    if plan["account"]:
        try:
            _become(*plan["account"], pass_all=plan["pass_all"])
        except OSError as error:
            sys.exit(
                f"{plan['argv'][0]} does not run as root, and it can't be given to another user here ({error}). "
                "Start as a user that is not root, or move program and data where every user may pass."
            )
    if sys.platform == "linux":
        _die_with(plan["parent"], plan["death_signal"])
    os.execv(plan["argv"][0], plan["argv"])  # noqa: S606 (the plan is ours)


def _become(uid: int, gid: int, *, pass_all: bool) -> None:
    """Drop root for good; with `pass_all`, all of its rights but one."""
    if pass_all:
        # Without it setuid(2) drops every right, and access(2), which PostgreSQL asks, leaves out the kept one.
        _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if pass_all:
        _keep_only(CAP_DAC_OVERRIDE)
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)


def _keep_only(capability: int) -> None:
    """Set effective, permitted and inheritable sets to one capability (capset(2))."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    low = 1 << capability
    data = (ctypes.c_uint32 * 6)(low, low, low, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset refused to keep CAP_DAC_OVERRIDE")


def _die_with(parent: int, signal: int) -> None:
    """Ask for `signal` when the parent ends; leave at once when it already has."""
    _prctl(PR_SET_PDEATHSIG, signal)  # after setuid, which clears it
    if os.getppid() != parent:
        sys.exit(f"the process {parent} that started this server is gone")


def _prctl(option: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    padded = [ctypes.c_ulong(n) for n in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *padded) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
