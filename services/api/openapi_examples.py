"""Examples of what is sent and what is answered, by the name of its schema; a test checks each against it."""

from __future__ import annotations

from typing import Any

JOB_ID = "01a20ad0-3484-8003-875b-32a60b7402cd"
RUN_ID = "01a20af1-9b80-8003-b1d4-0d6f2c9a7e15"
BACKFILL_ID = "01a20af5-6f00-8003-9f0a-7c1d5e2b3a44"
KEY_ID = "01a20ad0-11c0-8001-9c3f-6b1f0a2d4e88"
EVENT_ID = "01a20af1-9b8a-7c41-8a55-3f6d20c9b7e1"
POSITION = "3:1763900000000-17"
ETAG = '"1.1763900000000-17"'

_NIGHTLY: dict[str, Any] = {
    "name": "Nightly echo",
    "job_type": "custom",
    "job_data": {"operation": "echo", "parameters": {"greeting": "Good night"}},
    "cron_expression": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "jitter_seconds": 300,
    "exclude": ["2026-12-25", {"from": "2026-12-31", "to": "2027-01-01"}],
    "tags": ["night"],
}
_SPEC: dict[str, Any] = {
    "name": "Nightly echo",
    "description": "",
    "tags": ["night"],
    "job_type": "custom",
    "job_data": {"operation": "echo", "parameters": {"greeting": "Good night"}},
    "cron_expression": "30 2 * * *",
    "interval_seconds": None,
    "run_at": None,
    "start_at": None,
    "end_at": None,
    "max_runs": None,
    "jitter_seconds": 300,
    "exclude": ["2026-12-25", {"from": "2026-12-31", "to": "2027-01-01"}],
    "exclude_calendars": ["holidays"],
    "timezone": "Europe/Berlin",
    "dst_policy": {"gap": "auto", "overlap": "auto"},
    "timeout_seconds": 3600,
    "max_retries": 3,
    "retry_backoff": {"initial_seconds": 1.0, "multiplier": 2.0, "max_seconds": 300.0, "jitter": 0.1},
    "retry_on": [],
    "give_up_on": [],
    "priority": 5,
    "queue": "default",
    "misfire_policy": "latest",
    "misfire_grace_seconds": 60,
    "overlap_policy": "skip",
    "start_deadline_seconds": None,
    "max_lost": 3,
    "pause_after_failures": None,
    "on_success": [],
    "on_failure": [],
    "notify_on_failure": [],
    "concurrency_key": None,
    "concurrency_limit": None,
}
_JOB: dict[str, Any] = {
    "id": JOB_ID,
    **_SPEC,
    "owner": "bob",
    "tenant": "default",
    "status": "pending",
    "revision": 1,
    "next_run_time": "2026-11-28T01:30:00.000Z",
    "last_run": {"id": RUN_ID, "status": "succeeded", "finished_at": "2026-11-27T01:30:00.052Z"},
    "created_at": "2026-11-24T10:15:00.484Z",
    "updated_at": "2026-11-24T10:15:00.484Z",
    "paused": None,
    "skipped": [
        {
            "scheduled_for": "2026-11-29T01:30:00.000Z",
            "by": "bob",
            "at": "2026-11-27T08:00:00.000Z",
            "reason": "the database moves",
        }
    ],
}
_RUN: dict[str, Any] = {
    "id": RUN_ID,
    "job_id": JOB_ID,
    "job_name": "Nightly echo",
    "job_type": "custom",
    "status": "succeeded",
    "trigger": "schedule",
    "of": None,
    "backfill": None,
    "revision": 1,
    "queue": "default",
    "priority": 5,
    "attempt": 1,
    "max_attempts": 4,
    "scheduled_for": "2026-11-27T01:30:00.000Z",
    "fires_at": "2026-11-27T01:31:47.208Z",
    "queued_at": "2026-11-27T01:30:00.010Z",
    "started_at": "2026-11-27T01:30:00.031Z",
    "finished_at": "2026-11-27T01:30:00.052Z",
    "duration_seconds": 0.021,
    "lateness_seconds": 0.031,
    "result": {"greeting": "Good night"},
    "error": None,
    "worker": "w7",
    "progress": None,
    "cancel": None,
    "held": None,
    "correlation_id": EVENT_ID,
    "attempts": [
        {
            "attempt": 1,
            "worker": "w7",
            "started_at": "2026-11-27T01:30:00.031Z",
            "finished_at": "2026-11-27T01:30:00.052Z",
            "outcome": "succeeded",
            "error": None,
        }
    ],
}
_KEY: dict[str, Any] = {
    "id": KEY_ID,
    "name": "deploy pipeline",
    "prefix": "dbk_fBwcPzlB",
    "role": "editor",
    "tenant": "default",
    "owner": "bob",
    "issued_by": "alice",
    "issued_at": "2026-11-24T10:14:51.648Z",
    "expires_at": "2027-11-24T00:00:00.000Z",
    "revoked": None,
    "last_used_at": None,
}
_EDIT: dict[str, Any] = {
    "revision": 2,
    "at": "2026-11-25T08:00:00.120Z",
    "by": "bob",
    "type": "JobUpdated",
}
_MOVED: dict[str, Any] = {
    "scheduled_for": "2027-03-28T01:00:00.000Z",
    "local_time": "2027-03-28T03:00:00+02:00",
    "fires_at": "2027-03-28T01:00:00.000Z",
    "rule": "gap_next_valid",
}
_FIRST: dict[str, Any] = {
    "scheduled_for": "2026-10-25T00:30:00.000Z",
    "local_time": "2026-10-25T02:30:00+02:00",
    "fires_at": "2026-10-25T00:30:00.000Z",
    "rule": "overlap_first",
}
_SECOND: dict[str, Any] = {
    "at": "2026-10-25T01:30:00.000Z",
    "local_time": "2026-10-25T02:30:00+01:00",
    "reason": "overlap_first",
    "by": None,
}
_DECIDED: dict[str, Any] = {
    "scheduled_for": "2026-11-27T02:30:00.000Z",
    "reason": None,
    "by": None,
    "fires_at": None,
    "decided_at": "2026-11-27T02:30:00.009Z",
    "execution_id": None,
    "status": None,
    "waits": False,
    "collides_with": RUN_ID,
    "estimated": False,
    "positions": [],
}

EXAMPLES: dict[str, list[Any]] = {
    "JobBody": [
        _NIGHTLY,
        {
            "name": "Heartbeat",
            "job_type": "custom",
            "job_data": {"operation": "echo"},
            "interval_seconds": 3600,
        },
        {
            "name": "Always fails",
            "job_type": "custom",
            "job_data": {"operation": "fail"},
            "max_retries": 0,
        },
    ],
    "PreviewBody": [
        {
            "cron_expression": "30 2 * * *",
            "timezone": "Europe/Berlin",
            "from": "2026-03-28T12:00:00Z",
            "count": 2,
        },
        {"interval_seconds": 3600, "start_at": "2026-11-28T00:00:00+01:00"},
    ],
    "JobPatch": [{"priority": 8, "description": None}],
    "PauseBody": [{"reason": "maintenance", "until": "2030-11-28T12:00:00Z", "catch_up": "latest"}],
    "ResumeBody": [{"catch_up": "latest"}],
    "PauseManyBody": [{"reason": "the database moves", "until": "2030-11-28T12:00:00Z", "dry_run": True}],
    "ResumeManyBody": [{"catch_up": "skip", "dry_run": True}],
    "SwitchView": [
        {"switch": "tag:night", "changed": 42, "unchanged": 1, "next_cursor": None, "dry_run": False}
    ],
    "SkipBody": [{"scheduled_for": "2026-11-29T02:30:00+01:00", "reason": "the database moves"}],
    "UnskipBody": [{"scheduled_for": "2026-11-29T02:30:00+01:00"}],
    "EraseBody": [{"reason": "asked for under Art. 17 GDPR, ticket 4711"}],
    "ErasureView": [
        {
            "job_id": JOB_ID,
            "by": "ann",
            "at": "2026-11-27T09:00:00.000Z",
            "reason": "asked for under Art. 17 GDPR, ticket 4711",
        }
    ],
    "TriggerBody": [{"priority": 10}],
    "CancelBody": [{"reason": "started by mistake"}],
    "BackfillBody": [{"from": "2026-11-20T00:00:00Z", "max_parallel": 4, "dry_run": True}],
    "RetryBody": [{"priority": 10}],
    "RevertBody": [{"revision": 1}],
    "RedriveBody": [{"filter": {"error_class": "ConnectionError"}, "dry_run": True}],
    "BulkBody": [{"operations": [{"op": "create", "job": _NIGHTLY}, {"op": "pause", "id": JOB_ID}]}],
    "ApplyBody": [{"jobs": [_NIGHTLY], "dry_run": True}],
    "BulkView": [
        {
            "items": [{"index": 0, "op": "create", "status": 201, "job": _JOB}],
            "succeeded": 1,
            "failed": 0,
        }
    ],
    "ApplyView": [
        {
            "items": [
                {
                    "name": "Nightly echo",
                    "id": "00000000-0000-8001-9d53-522473e5b844",
                    "action": "update",
                    "changes": [{"pointer": "/priority", "from": 5, "to": 8}],
                }
            ],
            "created": 0,
            "updated": 1,
            "unchanged": 0,
            "deleted": 0,
            "dry_run": True,
        }
    ],
    "PreviewView": [
        {
            "cron_expression": "30 2 * * *",
            "timezone": "Europe/Berlin",
            "occurrences": [_FIRST],
            "dropped": [_SECOND],
        }
    ],
    "NextView": [
        {
            "job_id": JOB_ID,
            "timezone": "Europe/Berlin",
            "paused": None,
            "occurrences": [_MOVED],
            "dropped": [],
        }
    ],
    "ForecastView": [
        {
            "from": "2026-11-28T01:00:00.000Z",
            "to": "2026-11-28T02:00:00.000Z",
            "bucket_seconds": 3600,
            "jobs": 1200,
            "durations": "job",
            "unmeasured_jobs": 3,
            "buckets": [
                {
                    "from": "2026-11-28T01:00:00.000Z",
                    "occurrences": 1200,
                    "work_seconds": 5400.0,
                    "concurrency": 1.5,
                }
            ],
        }
    ],
    "SimulationView": [
        {
            "job_id": JOB_ID,
            "revision": 3,
            "changes": [{"pointer": "/overlap_policy", "from": "skip", "to": "queue_one"}],
            "usual_seconds": 5400.0,
            "measured_runs": 20,
            "past": {
                "from": "2026-11-26T00:00:00.000Z",
                "to": "2026-11-27T08:00:00.000Z",
                "was": {
                    "occurrences": 2,
                    "runs": 1,
                    "skipped": {"overlap": 1},
                    "collisions": 1,
                    "waiting": 0,
                },
                "would": {"occurrences": 2, "runs": 2, "skipped": {}, "collisions": 1, "waiting": 1},
                "totals": {"same": 1, "added": 1, "removed": 0, "moved": 0, "changed": 0},
                "items": [
                    {
                        "change": "added",
                        "was": {
                            **_DECIDED,
                            "decision": "skip",
                            "reason": "overlap",
                            "by": RUN_ID,
                            "positions": [POSITION],
                        },
                        "would": {
                            **_DECIDED,
                            "decision": "run",
                            "fires_at": "2026-11-27T02:30:00.000Z",
                            "execution_id": "01a21e6f-ebb7-8003-8ad1-122b2c7e6320",
                            "waits": True,
                        },
                    }
                ],
                "truncated": True,
                "refused": [],
                "paused_by_failures": [],
            },
            "future": None,
            "assumptions": ["Calendars are read as they were at the time of each decision."],
        }
    ],
    "ApiKeyBody": [{"name": "deploy pipeline", "role": "viewer", "owner": "bob"}],
    "TokenBody": [{}],
    "PrincipalsView": [
        {
            "from": "2026-11-26T00:00:00.000Z",
            "to": "2026-11-27T00:00:00.000Z",
            "items": [
                {
                    "principal": "bob",
                    "requests": 1204,
                    "changes": 31,
                    "last_change_at": "2026-11-26T21:14:09.001Z",
                }
            ],
            "more": False,
        }
    ],
    "JobView": [_JOB],
    "ExecutionView": [_RUN],
    "MissedView": [
        {
            "job_id": JOB_ID,
            "job_name": "Nightly echo",
            "scheduled_for": "2026-11-27T01:30:00.000Z",
            "missing_since": "2026-11-27T01:33:12.481Z",
        }
    ],
    "ExplanationView": [
        {
            "job_id": JOB_ID,
            "execution_id": None,
            "timezone": "Europe/Berlin",
            "summary": "It did not run for 2026-11-27 02:30 Europe/Berlin (01:30 UTC); skipped: run "
            f"{RUN_ID} of the job had not ended (overlap_policy skip).",
            "findings": [
                {
                    "code": "overlap",
                    "sentence": f"skipped: run {RUN_ID} of the job had not ended (overlap_policy skip)",
                    "at": "2026-11-27T01:30:00.004Z",
                    "local_time": "2026-11-27T02:30:00.004+01:00",
                    "events": [
                        {"position": POSITION, "id": EVENT_ID, "type": "io.daybook.occurrences.skipped"}
                    ],
                    "details": {
                        "run_id": RUN_ID,
                        "reason": "overlap",
                        "from": "2026-11-27T01:30:00.000Z",
                        "to": "2026-11-27T01:30:00.000Z",
                        "count": 1,
                    },
                }
            ],
        }
    ],
    "OutputView": [
        {
            "attempt": 1,
            "text": "copied 3 files\n",
            "dropped_bytes": 0,
            "at": "2026-11-27T01:30:00.052Z",
            "attempts": [1],
        }
    ],
    "RedriveView": [
        {
            "matched": 1,
            "total_is_capped": False,
            "retried": [{"of": RUN_ID, "id": None}],
            "refused": [],
            "more": False,
            "dry_run": True,
        }
    ],
    "BackfillView": [
        {
            "id": BACKFILL_ID,
            "job_id": JOB_ID,
            "status": "running",
            "which": "missing",
            "from": "2026-11-20T00:00:00.000Z",
            "to": "2026-11-27T08:00:00.000Z",
            "total": 5,
            "requested": 4,
            "running": 2,
            "succeeded": 1,
            "failed": 1,
            "max_parallel": 2,
            "revision": 1,
            "by": "bob",
            "reason": "the machine was off",
            "created_at": "2026-11-27T08:00:00.000Z",
            "finished_at": None,
            "cancel": None,
        }
    ],
    "BackfillDryRunView": [
        {
            "job_id": JOB_ID,
            "which": "missing",
            "from": "2026-11-20T00:00:00.000Z",
            "to": "2026-11-27T08:00:00.000Z",
            "total": 2,
            "first": "2026-11-21T01:30:00.000Z",
            "last": "2026-11-22T01:30:00.000Z",
            "times": ["2026-11-21T01:30:00.000Z", "2026-11-22T01:30:00.000Z"],
            "dry_run": True,
        }
    ],
    "ErrorsView": [
        {
            "items": [
                {
                    "error_class": "ConnectionError",
                    "fingerprint": "5f0c8ad1e2b7",
                    "count": 14,
                    "retried": 2,
                    "jobs": 3,
                    "first_at": "2026-11-26T22:00:01.200Z",
                    "last_at": "2026-11-27T01:00:01.070Z",
                    "sample": "the mail server refused the connection",
                    "last_execution_id": RUN_ID,
                }
            ]
        }
    ],
    "JobTypesView": [
        {
            "items": [
                {
                    "name": "cleanup_task",
                    "description": "Deletes regular files older than retention_days under path, …",
                    "source": "daybook",
                    "schema": {
                        "type": "object",
                        "required": ["cleanup_type", "retention_days", "path"],
                        "properties": {
                            "cleanup_type": {"const": "temp_files"},
                            "retention_days": {"type": "integer", "minimum": 0},
                            "path": {"type": "string"},
                        },
                    },
                    "result": {
                        "type": "object",
                        "properties": {"files": {"type": "integer"}, "bytes": {"type": "integer"}},
                    },
                    "extra": None,
                    "available": True,
                    "why_not": None,
                    "retried": "every failure, by the job's own policy",
                    "given_up": "nothing by itself; name exceptions in give_up_on",
                }
            ]
        }
    ],
    "CalendarBody": [
        {
            "description": "public holidays",
            "dates": ["2026-12-25", {"from": "2026-12-31", "to": "2027-01-01"}],
            "weekdays": ["sun"],
        }
    ],
    "CalendarView": [
        {
            "name": "holidays",
            "tenant": "default",
            "description": "public holidays",
            "dates": ["2026-12-25", {"from": "2026-12-31", "to": "2027-01-01"}],
            "weekdays": ["sun"],
            "timezone": None,
            "revision": 2,
            "created_at": "2026-11-24T10:15:00.484Z",
            "updated_at": "2026-11-25T08:00:00.120Z",
            "updated_by": "bob",
        }
    ],
    "ApiKeyView": [_KEY],
    "ApiKeyMadeView": [{**_KEY, "key": "dbk_fBwcPzlB…, shown this once"}],
    "TokenView": [{"access_token": "eyJhbGciOi…", "token_type": "Bearer", "expires_in": 900}],
    "RevisionView": [_EDIT],
    "RevisionJobView": [{**_EDIT, "job": {**_SPEC, "priority": 8}}],
    "DiffView": [{"from": 1, "to": 2, "changes": [{"pointer": "/priority", "from": 5, "to": 8}]}],
    "Event": [
        {
            "specversion": "1.0",
            "id": EVENT_ID,
            "source": "/daybook/3",
            "type": "io.daybook.run.succeeded",
            "subject": f"run/{RUN_ID}",
            "time": "2026-11-27T01:30:00.052Z",
            "datacontenttype": "application/json",
            "dataversion": "1",
            "sequence": POSITION,
            "partitionkey": JOB_ID,
            "correlationid": EVENT_ID,
            "causationid": EVENT_ID,
            "actor": "executor",
            "traceparent": "",
            "data": {"attempt": 1, "result": {"greeting": "Good night"}},
        }
    ],
    "Problem": [
        {
            "type": "/problems/invalid",
            "title": "The request means nothing here",
            "status": 422,
            "detail": "#/interval_seconds: input should be greater than or equal to 1",
            "instance": "/api/v1/jobs",
            "correlation_id": EVENT_ID,
            "errors": [
                {
                    "pointer": "#/interval_seconds",
                    "detail": "input should be greater than or equal to 1",
                }
            ],
        }
    ],
}
"""Schema → examples of it. Those of bodies work as they stand."""
