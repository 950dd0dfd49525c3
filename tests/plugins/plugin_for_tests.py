"""Somebody else's package: some handlers, and nothing of Daybook imported."""

import os
import time
from pathlib import Path

from pydantic import BaseModel, Field

NUMBER = 7


class Words(BaseModel):
    text: str = Field(json_schema_extra={"x-personal": True})  # somebody's words: kept encrypted
    times: int = 1


async def shout(run):
    """Says it louder.

    This part of the docstring is for whoever reads the code.
    """
    words = Words(**run.job_data)
    return {"shouted": words.text.upper() * words.times, "attempt": run.attempt}


shout.model = Words


def crunch(run):
    """Computes for long, in a process of its own."""
    return {"sum": sum(range(run.job_data["n"])), "pid": os.getpid()}


def nap(run):
    """Writes down which process it is, and sleeps."""
    Path(run.job_data["pid_file"]).write_text(str(os.getpid()))
    time.sleep(3600)


async def block(run):
    """Keeps the whole loop from turning until somebody allows it to go on."""
    _wait_for(Path(run.job_data["go_on"]), here=Path(run.job_data["here"]))
    return {}


def _wait_for(go_on, *, here):
    here.touch()
    while not go_on.exists():
        time.sleep(0.01)
