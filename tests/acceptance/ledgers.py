"""The ledgers, folded from the archive's JSON a second time: it shares no code with the projector or the domain.

But for the fingerprint of an error, a function of two texts that has tests of its own.
"""

import json
import uuid
from datetime import UTC, datetime, timedelta

from services.projector.fingerprint import fingerprint

from .book import time

TERMINAL = {
    "RunSucceeded": "succeeded",
    "RunFailed": "failed",
    "RunCancelled": "cancelled",
    "RunExpired": "expired",
}
OUTCOME = {
    "RunSucceeded": "succeeded",
    "RunFailed": "failed",
    "RunRetryPlanned": "failed",
    "RunLost": "lost",
    "RunInterrupted": "interrupted",
    "RunCancelled": "cancelled",
}
COUNTED = {
    "RunRequested": "requested", "RunStarted": "started", "RunSucceeded": "succeeded", "RunFailed": "failed",
    "RunRetryPlanned": "retried", "RunLost": "lost", "RunInterrupted": "interrupted",
    "RunCancelled": "cancelled", "RunExpired": "expired",
}  # fmt: skip
SUMS = (
    *COUNTED.values(),
    "duration_ms_sum",
    "duration_ms_max",
    "first_starts",
    "lateness_ms_sum",
    "lateness_ms_max",
)
JSON_COLUMNS = ("spec", "paused", "skipped", "result", "error", "attempts", "cancel")
GENERATED = ("is_stretched", "error_class")  # by Postgres, of the others
_MS = timedelta(milliseconds=1)


def folded(events):
    """Rows of jobs and of runs by id, and of hours by their key, as the archive's events tell them."""
    jobs, runs, hours = {}, {}, {}
    for event in events:
        if event.run_id:
            _on_run(jobs, runs, event)
            _on_hour(hours, runs[event.run_id], event)
        if event.job_id:
            _on_job(jobs, event)
    for job in jobs.values():
        job["status"] = _status(job)
        job["next_run_time"] = _next_run_time(job, *job.pop("ahead"))
    return jobs, runs, hours


def stored(row):
    """A row as Postgres has it, in the words of `folded`."""
    told = {
        name: str(value) if isinstance(value, uuid.UUID) else value
        for name, value in row.items()
        if name not in GENERATED
    }
    return told | {name: json.loads(told[name]) for name in JSON_COLUMNS if told.get(name) is not None}


def _on_job(jobs, event):
    told = event.told
    if event.type == "JobCreated":
        jobs[event.job_id] = {
            "id": event.job_id, "partition": event.partition, "owner": told["owner"], "tenant": told["tenant"],
            "revision": 1, "state": "pending", "active_runs": 0, "ahead": _ahead(told), "paused": None,
            "skipped": [],
            "last_run_id": None, "last_run_status": None, "last_run_finished_at": None,
            "created_at": time(told["created_at"]), "updated_at": time(told["created_at"]),
        } | _specified(told["spec"])  # fmt: skip
    job = jobs[event.job_id]
    job |= {"epoch": event.epoch, "pos": event.pos}
    _look_ahead(job, event.type, told)
    match event.type:
        case "JobUpdated":
            job |= _specified(told["spec"])
            job |= {
                "revision": told["revision"],
                "updated_at": time(told["updated_at"]),
            }
        case "JobPaused":
            at = told["paused_at"]
            job |= {"state": "paused", "updated_at": time(at)}
            job["paused"] = {
                "by": told["by"],
                "at": _shown(time(at)),
                "reason": told["reason"],
                "until": told["until"] and _shown(time(told["until"])),
                "catch_up": told["catch_up"],
                "switch": told["switch"],
            }
        case "JobResumed":
            job |= {"state": "pending", "paused": None, "updated_at": time(told["resumed_at"])}
        case "JobDeleted":
            job |= {
                "state": "deleted",
                "paused": None,
                "updated_at": time(told["deleted_at"]),
            }
        case "PersonalDataErased":
            job |= {"updated_at": time(told["erased_at"])}
        case "RunRequested":
            job["active_runs"] += 1
        case kind if kind in TERMINAL:
            job["active_runs"] -= 1
            job |= {
                "last_run_id": event.run_id,
                "last_run_status": TERMINAL[event.type],
                "last_run_finished_at": event.at,
            }


def _look_ahead(job, kind, told):
    """What is known of occurrences that nobody has decided yet."""
    match kind:
        case "JobUpdated":
            job["ahead"] = _ahead(told)
        case "JobDeleted" | "JobCompleted":
            job |= {"ahead": (None, None, None), "skipped": []}
        case "OccurrencesSkipped":
            _decided(job, told, told["to"])
        case "RunRequested" if told["trigger"] == "schedule":
            _decided(job, told, told["scheduled_for"])
        case "OccurrenceExcluded":
            at, when = _shown(time(told["scheduled_for"])), time(told["excluded_at"])
            skip = {"scheduled_for": at, "by": told["by"], "at": _shown(when), "reason": told["reason"]}
            job["skipped"] = sorted([*job["skipped"], skip], key=lambda each: each["scheduled_for"])
            job |= {"ahead": (*job["ahead"][:2], time(told["next_run_at"])), "updated_at": when}
        case "OccurrenceIncluded":
            at, when = _shown(time(told["scheduled_for"])), time(told["included_at"])
            job["skipped"] = [each for each in job["skipped"] if each["scheduled_for"] != at]
            job |= {"ahead": (*job["ahead"][:2], time(told["next_run_at"])), "updated_at": when}


def _ahead(told):
    """The next occurrence, when it fires, and when the job runs next if that is to be skipped."""
    return tuple(time(told.get(name)) for name in ("next_for", "next_fires_at", "next_run_at"))


def _decided(job, told, to):
    job["ahead"] = _ahead(told)
    job["skipped"] = [each for each in job["skipped"] if each["scheduled_for"] > _shown(time(to))]


def _next_run_time(job, next_for, fires_at, run_at):
    if job["state"] != "pending" or next_for is None:
        return None
    is_skipped = any(each["scheduled_for"] == _shown(next_for) for each in job["skipped"])
    return run_at if is_skipped else fires_at or next_for


def _specified(spec):
    empty = {"description": "", "tags": []}
    names = ("name", "description", "tags", "job_type", "queue", "priority")
    return {name: (empty | spec)[name] for name in names} | {"spec": spec}


def _status(job):
    if job["state"] in ("deleted", "paused"):
        return job["state"]
    return "running" if job["active_runs"] else job["state"]


def _on_run(jobs, runs, event):
    told = event.told
    if event.type == "RunRequested":
        runs[event.run_id] = _requested(jobs, event, told)
    run = runs[event.run_id]
    run |= {"epoch": event.epoch, "pos": event.pos}
    if event.type in OUTCOME and run["attempts"] and run["attempts"][-1]["outcome"] is None:
        error = told.get("error")
        run["attempts"][-1] |= {
            "finished_at": _shown(event.at),
            "outcome": OUTCOME[event.type],
            "error": error,
        }
    match event.type:
        case "RunStarted":
            if not run["attempts"]:
                run["lateness_ms"] = max(0, (event.at - run["fires_at"]) // _MS)
            run["attempts"].append({
                "attempt": told["attempt"], "worker": told["worker"], "started_at": _shown(event.at),
                "finished_at": None, "outcome": None, "error": None,
            })  # fmt: skip
            run |= {
                "status": "running",
                "attempt": told["attempt"],
                "worker": told["worker"],
                "started_at": event.at,
            }
        case "RunQueued":
            run |= {
                "status": "queued",
                "queue": told["queue"],
                "priority": told["priority"],
                "queued_at": event.at,
            }
        case "RunRetryPlanned":
            run |= {"status": "retrying", "error": told["error"]}
        case "RunSucceeded":
            run |= {"error": None, "result": told["result"]}
        case "RunFailed":
            mark = fingerprint(told["error"]["class"], told["error"]["message"])
            run |= {"error": told["error"], "error_fingerprint": mark}
        case "RunCancelRequested" | "RunCancelled":
            _cancel(run, event, told)
    _end_run(run, event)


def _cancel(run, event, told):
    """The first who wished for it is the one who is named."""
    at = time(told.get("requested_at") or told["cancelled_at"])
    if event.type == "RunCancelled" or run["cancel"] is None:
        run["cancel"] = {"by": told["by"], "at": _shown(at), "reason": told["reason"]}


def _end_run(run, event):
    if event.type in TERMINAL:
        run |= {"status": TERMINAL[event.type], "finished_at": event.at}
        run["duration_ms"] = None if run["started_at"] is None else (event.at - run["started_at"]) // _MS


def _requested(jobs, event, told):
    spec = told["spec"]
    return {
        "id": event.run_id, "id_at": datetime.fromtimestamp(0, UTC) + int(event.run_id.replace("-", "")[:12], 16) * _MS,
        "partition": event.partition, "job_id": told["job_id"], "job_name": spec["job_name"],
        "job_type": spec["job_type"], "status": "held" if told.get("held") else "queued",
        "trigger": told["trigger"], "of": told.get("of"),
        "revision": told["revision"], "queue": spec["queue"], "priority": spec["priority"], "attempt": 0,
        "max_attempts": spec["retry"]["max_retries"] + 1, "scheduled_for": time(told["scheduled_for"]),
        "fires_at": time(told["fires_at"]), "queued_at": None if told.get("held") else event.at,
        "started_at": None, "finished_at": None,
        "duration_ms": None, "lateness_ms": None, "result": None, "error": None, "worker": None,
        "correlation_id": told["correlation_id"], "attempts": [], "cancel": None, "error_fingerprint": None,
        "tenant": jobs[event.job_id]["tenant"], "backfill": told.get("backfill"), "held": None,
    }  # fmt: skip


def _on_hour(hours, run, event):
    if event.type not in COUNTED:
        return
    key = (event.partition, event.at.replace(minute=0, second=0, microsecond=0), run["job_type"])
    hour = hours.setdefault(key, dict.fromkeys(SUMS, 0))
    hour[COUNTED[event.type]] += 1
    if event.type == "RunStarted" and len(run["attempts"]) == 1:
        hour["first_starts"] += 1
        hour["lateness_ms_sum"] += run["lateness_ms"]
        hour["lateness_ms_max"] = max(hour["lateness_ms_max"], run["lateness_ms"])
    if event.type in ("RunSucceeded", "RunFailed"):
        hour["duration_ms_sum"] += run["duration_ms"]
        hour["duration_ms_max"] = max(hour["duration_ms_max"], run["duration_ms"])


def _shown(at):
    """As the API writes a time."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
