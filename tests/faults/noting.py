"""Handlers for the fault suite, installed as a stranger's plug-in: each writes down that it was there.

A note is a line: run, attempt, fence, and a word that only this call knows. It is written through before the
handler returns that word, so a result in the books that no note has was made up. This file is copied next to
an entry point and imports nothing of Daybook.
"""

import asyncio
import os
import secrets
import time
from functools import cache

DIRECTORY = "FAULT_NOTES"  # names the environment variable


async def noted(run):
    """Waits `seconds`; fails the first `fails` attempts."""
    word = _began(run)
    await asyncio.sleep(run.job_data["seconds"])
    return _ended(run, word)


def noted_apart(run):
    """The same in a process of its own."""
    word = _began(run)
    time.sleep(run.job_data["seconds"])
    return _ended(run, word)


def _began(run):
    word = secrets.token_hex(8)
    os.write(_file(), f"{run.run_id} {run.attempt} {run.fence} {word}\n".encode())
    return word


def _ended(run, word):
    if run.attempt <= run.job_data.get("fails", 0):
        raise OSError(f"attempt {run.attempt} fails")
    return {"word": word}


@cache
def _file():
    path = os.path.join(os.environ[DIRECTORY], f"{os.getpid()}.notes")  # noqa: PTH118 - no pathlib in a handler
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
