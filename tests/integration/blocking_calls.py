"""Blocking handlers for tests: plain functions of a run, which travel to the processes of a pool by name."""

import logging
import os
import sys
import threading
import time

from shared import logs
from shared.job_types.secrets import SecretRef


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


def tell_the_secret(run):
    """Say what was revealed in all ways there are, then do as `end` says."""
    secret = run.job_data["secret"]
    run.log(f"log {secret}")
    logging.getLogger("their.library").warning("logging %s", secret)
    logs.get("ours").warning("line", word=f"structured {secret}")
    run.progress(0.5, f"progress {secret}")
    thread = threading.Thread(target=logging.getLogger("their.thread").warning, args=(f"thread {secret}",))
    thread.start()
    thread.join()
    if run.job_data["end"] == "raise":
        raise type(f"{secret}Error", (ValueError,), {})(f"raised {secret}")
    return {"said": f"result {secret}", secret: 1, "kind": type(secret).__name__}


def tell_what_resources_reveal(resources, run):
    """Say a secret that the handler itself asked for."""
    told = resources.for_run(run.reporter.mask)
    secret = told.secrets.value(SecretRef.model_validate({"$secret": run.job_data["name"]}))
    run.log(f"log {secret}")
    run.progress(0.5, f"progress {secret}")
    logging.getLogger("their.library").warning("logging %s", secret)
    if run.job_data.get("raises"):
        raise ValueError("x" * 1_985 + f"raised {secret}")  # cut in the middle of it
    return {"said": f"result {secret}"}


def tell_what_is_personal(run):
    """Say what was sealed in all ways there are, then do as `end` says."""
    who = run.job_data["to"][0]
    run.log(f"log {who}")
    logging.getLogger("their.library").warning("logging %s", who)
    logs.get("ours").warning("line", word=f"structured {who}")
    run.progress(0.5, f"progress {who}")
    if run.job_data["end"] == "raise":
        raise ValueError(f"no mailbox {who}")
    return {"sent": list(run.job_data["to"]), "kind": type(who).__name__}
