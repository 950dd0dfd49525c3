"""The metrics that operators were promised: names, types, labels, buckets; and where the story shows each to move.

`test_metrics` tells the story. Its moments: `first`: nothing has happened. `busy`: all slots are taken, and work
waits. `lagging`: Postgres is down. `overdue`: Redis lets nobody decide. `missing`: the timer stands still. `full`:
Redis has hardly any memory left. `last`: the executor has slept through its leases, clients have edited one job at
once, a ledger has refused a row, a log has forked, and all is calm again.
"""

from .scrapes import Row, Sight, above, equals, grown, recent
from .system import ROLES

SLOTS, PARTITIONS = 2, 2  # of the story's system

DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
DURATIONS = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600,
)  # fmt: skip
BATCHES = (1, 2, 5, 10, 20, 50, 100, 200)
JOB = "/api/v1/jobs/<job_id>"
CUSTOM = {"job_type": "custom"}


def counter(*sights, labels=()):
    return Row("counter", labels, sights)


def gauge(*sights, labels=()):
    return Row("gauge", labels, sights)


def histogram(buckets, *sights, labels=()):
    return Row("histogram", labels, sights, buckets)


def at(moment, role, holds=grown, /, **labels):
    return Sight(role, moment, holds, labels)


def from_0(role, moment, holds, /, *, to=0, **labels):
    """A gauge that is 0 at first, is something at `moment`, and `to` at last."""
    return (
        at("first", role, equals(0), **labels),
        at(moment, role, holds, **labels),
        at("last", role, equals(to), **labels),
    )


CONTRACT = {
    # The API. The story asks for one job that there isn't, and once without saying who asks.
    "http_requests_total": counter(
        at("last", "api", method="POST", route="/api/v1/jobs", status="201"),
        at("last", "api", equals(1), method="GET", route=JOB, status="404"),
        labels=("method", "route", "status"),
    ),
    "http_request_duration_seconds": histogram(DELAYS, at("last", "api")),
    "auth_failures_total": counter(at("last", "api", equals(1), reason="missing"), labels=("reason",)),
    # Somebody else asks more often than anybody may; Redis has hardly any room left for a moment.
    "requests_limited_total": counter(at("last", "api", limit="principal"), labels=("limit",)),
    "requests_unlimited_total": counter(at("last", "api", equals(0))),  # test_api_limits sees it move
    "work_refused_total": counter(at("last", "api", room="memory"), labels=("room",)),
    "jobs_created_total": counter(at("last", "api", equals(11))),
    "event_streams": gauge(*from_0("api", "busy", equals(1))),
    "event_stream_resets_total": counter(
        at("last", "api", equals(0))
    ),  # tests/integration/test_api_stream_process
    # The timer. An interval of a second gives runs; those that the last one overlaps are skipped.
    "occurrences_decided_total": counter(
        at("last", "timer", decision="run"),
        at("last", "timer", decision="skip_overlap"),
        at("last", "api", decision="skip_paused"),  # what fell due meanwhile is decided when a job is resumed
        labels=("decision",),
    ),
    "fire_delay_seconds": histogram(DELAYS, at("last", "timer")),
    "jobs_overdue": gauge(*from_0("timer", "overdue", above(0))),
    "timer_last_tick_timestamp_seconds": gauge(at("last", "timer", recent)),
    "partitions": gauge(*(at("first", role, equals(PARTITIONS)) for role in ROLES)),
    "partitions_owned": gauge(
        at("first", "timer", equals(PARTITIONS), role="timer"),
        at("first", "projector", equals(PARTITIONS), role="projector"),
        at("last", "timer", equals(PARTITIONS), role="timer"),
        at("last", "projector", equals(PARTITIONS), role="projector"),
        labels=("role",),
    ),
    "schedule_searches_total": counter(at("last", "timer")),  # a cron expression's next time
    # The executor. Two naps run into their time-out; one handler fails by itself.
    "start_delay_seconds": histogram(DELAYS, at("last", "executor")),
    "runs_finished_total": counter(
        at("last", "executor", outcome="succeeded", **CUSTOM),
        at("last", "executor", equals(3), outcome="failed", **CUSTOM),
        labels=("job_type", "outcome"),
    ),
    "run_duration_seconds": histogram(DURATIONS, at("last", "executor", **CUSTOM), labels=("job_type",)),
    "attempts_total": counter(
        at("last", "executor", outcome="succeeded", **CUSTOM),
        at("last", "executor", equals(4), outcome="failed", **CUSTOM),  # one of them is tried again
        at("last", "executor", equals(1), outcome="lost", **CUSTOM),
        at("last", "executor", equals(1), outcome="lost", job_type="block"),
        labels=("job_type", "outcome"),
    ),
    "runs_active": gauge(*from_0("executor", "busy", equals(SLOTS), to=1)),  # the longer one begins again
    "slots": gauge(
        at("first", "executor", equals(SLOTS), state="free"),
        at("busy", "executor", equals(0), state="free"),
        *from_0("executor", "busy", equals(SLOTS), to=1, state="busy"),
        labels=("state",),
    ),
    "queue_depth": gauge(*from_0("executor", "busy", above(0), queue="default"), labels=("queue",)),
    # The executor is stopped with two runs for longer than its lease: the timer takes them away; when it goes on,
    # one handler ends at once, and its result is refused; the other learns it from the heartbeat.
    "starts_held_total": counter(  # tests/integration/test_concurrency
        at("last", "executor", equals(0), reason="concurrency"),
        at("last", "executor", equals(0), reason="rate"),
        labels=("reason",),
    ),
    "leases_lost_total": counter(at("last", "timer", equals(2)), at("last", "executor", equals(1))),
    "results_refused_total": counter(at("last", "executor", equals(1))),
    # The log. Each service commits, and counts what it did.
    "events_committed_total": counter(
        at("last", "api", equals(11), type="JobCreated"),
        at("last", "timer", type="RunRequested"),
        at("last", "timer", equals(2), type="RunLost"),
        at("last", "executor", type="RunStarted"),
        labels=("type",),
    ),
    "commit_duration_seconds": histogram(
        DELAYS, *(at("last", role) for role in ("api", "timer", "executor"))
    ),
    "commit_batch_size": histogram(BATCHES, *(at("last", role) for role in ("api", "timer", "executor"))),
    "commit_conflicts_total": counter(at("last", "api")),
    "redis_memory_used_ratio": gauge(*from_0("api", "full", above(0.9))),
    # The projector.
    "log_length": gauge(at("first", "projector", above(0)), at("last", "projector")),
    "archive_position": gauge(at("first", "projector", above(0)), at("last", "projector")),
    "projection_lag_events": gauge(*from_0("projector", "lagging", above(0))),
    "projection_lag_seconds": gauge(*from_0("projector", "lagging", above(1.5))),  # no moment: the outage
    "projection_errors_total": counter(at("last", "projector", equals(1))),
    "occurrences_missing": gauge(*from_0("projector", "missing", above(0))),
    "occurrences_duplicated_total": counter(at("last", "projector", equals(0))),  # test_missing forges one
    "jobs": gauge(
        *from_0("projector", "last", equals(1), to=1, status="paused", **CUSTOM),
        labels=("status", "job_type"),
    ),
    # Behind one that nobody serves.
    "runs_held": gauge(*from_0("projector", "last", equals(1), to=1, reason="overlap"), labels=("reason",)),
    "dead_letters": gauge(*from_0("projector", "last", equals(3), to=3)),
    "quarantined_events": gauge(*from_0("projector", "last", equals(1), to=1)),
    # All.
    "build_info": gauge(*(at("first", role, equals(1)) for role in ROLES), labels=("version",)),
    "tzdata_info": gauge(*(at("first", role, equals(1)) for role in ROLES), labels=("version",)),
}
