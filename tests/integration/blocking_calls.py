"""Blocking handlers for tests: plain functions of a run, which travel to the processes of a pool by name."""

import logging
import os
import sys
import threading
import time


def give_back(run):
    return run.job_data


def sleep(run):
    time.sleep(run.job_data["seconds"])


def die(run):
    os._exit(run.job_data["status"])


def leave(run):
    sys.exit(run.job_data["status"])


def carry_out(run):
    """Carry out the program, which knows the `run`."""
    exec(run.job_data["program"], {"run": run})  # noqa: S102 - the test wrote it


def say(run):
    run.log("begun")
    logging.getLogger("their.library").warning("careful, %s", "now")
    run.progress(0.5, "half")
    thread = threading.Thread(target=run.log, args=("from a thread",))
    thread.start()
    thread.join()
    return "said"


def say_and_sleep(run):
    run.log("begun")
    run.progress(0.25, "a quarter")
    time.sleep(3600)
