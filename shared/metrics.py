"""Every metric of Daybook, declared once, with the question it answers.

Each process builds one `Metrics` and exposes all names; a replica that doesn't do a thing reports zero, so
read gauges with `sum` or `max` over the replicas. Gauges without labels speak of the whole process: a
projector with two partitions sets their sum (events) or their worst (seconds). Labels are bounded: a job
type, never a job's id.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from shared.domain.events import Change, OccurrencesSkipped, RunRequested
from shared.domain.run import Run
from shared.domain.zones import tables_version

PREFIX = "daybook_"
DELAYS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
DURATIONS_S = (
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    120,
    300,
    600,
    1800,
    3600,
    7200,
    21600,
)
BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200)  # a commit takes at most 200 units


class Pulled(Collector):
    """A counter whose values somebody else keeps; they are read and added up at each scrape."""

    def __init__(self, name: str, question: str) -> None:
        self._name = name
        self._question = question
        self._reads: list[Callable[[], float]] = []

    def add(self, read: Callable[[], float]) -> None:
        """Count what `read()` returns too; it must be quick, never fall and not raise."""
        self._reads.append(read)

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Yield the sum of all readings; called by the registry."""
        yield CounterMetricFamily(self._name, self._question, value=sum(read() for read in self._reads))


class Metrics:
    """The metrics of one process; attributes are named as in /metrics, without `daybook_`.

    Args:
        registry: where they are registered: a new one if None, so that each test may have its own.
        version: what `build_info` says; the installed distribution's if None.
    """

    def __init__(self, registry: CollectorRegistry | None = None, version: str | None = None) -> None:
        # One `_created` series for each series would double /metrics, and nobody asks for them.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry if registry is not None else CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        build = Info(f"{PREFIX}build", "Which version runs here?", registry=self.registry)
        build.info({"version": version or importlib.metadata.version("daybook")})
        zones = Info(f"{PREFIX}tzdata", "Which zone tables does it go by?", registry=self.registry)
        zones.info({"version": tables_version()})
        self._declare_http()
        self._declare_decisions()
        self._declare_runs()
        self._declare_log()
        self._declare_ledgers()

    def collect_from(self, name: str, read: Callable[[], float]) -> None:
        """Have `read()` called at each scrape for the metric `name` (without `daybook_`).

        It must be quick and must not raise: /metrics would fail with it. A gauge has one source, the last one
        given; sources of a pulled counter add up.

        Raises:
            ValueError: there is no such metric, it has labels, or it counts by itself.
        """
        match getattr(self, name, None):
            case Pulled() as counter:
                counter.add(read)
            case Gauge() as gauge:
                gauge.set_function(read)
            case _:
                raise ValueError(f"{name} is not a metric that can be pulled")

    def count_occurrences(self, changes: Iterable[Change], now: datetime) -> None:
        """Count the occurrences of schedules among what was decided `now`: by the timer, or before an edit."""
        for change in changes:
            match change.event:
                case RunRequested(trigger="schedule", fires_at=fires_at):
                    self._decided("run").inc()
                    self.fire_delay_seconds.observe((now - fires_at).total_seconds())
                case OccurrencesSkipped(count=count, reason=reason):
                    self._decided(f"skip_{reason}").inc(count)

    def count_ends(self, runs: Iterable[Run]) -> None:
        """Count runs that have ended without an executor's seeing it: cancelled, expired, lost too often."""
        for run in runs:
            self.runs_finished_total.labels(run.spec.job_type, run.status.value).inc()

    def _declare_http(self) -> None:
        self.http_requests_total = self._counter(
            "http_requests_total", "How many requests were answered, and how?", "method", "route", "status"
        )
        self.http_request_duration_seconds = self._histogram(
            "http_request_duration_seconds", "How long did clients wait for an answer?", DELAYS_S
        )

        self.auth_failures_total = self._counter(
            "auth_failures_total", "How many requests were not let in, and why?", "reason"
        )
        self.requests_limited_total = self._counter(
            "requests_limited_total", "How many requests were refused as too many, by which limit?", "limit"
        )
        self.requests_unlimited_total = self._counter(
            "requests_unlimited_total", "How many requests passed uncounted, as Redis did not answer?"
        )
        self.work_refused_total = self._counter(
            "work_refused_total",
            "How many requests for new work were refused for want of room, and of which?",
            "room",
        )

        self.event_streams = self._gauge("event_streams", "How many clients follow events now?")
        self.event_stream_resets_total = self._counter(
            "event_stream_resets_total", "How many streams were ended as their clients read too slowly?"
        )

    def _declare_decisions(self) -> None:
        self.occurrences_decided_total = self._counter(
            "occurrences_decided_total", "How many occurrences were decided, to run or to skip?", "decision"
        )
        self._decided = cache(
            self.occurrences_decided_total.labels
        )  # finding a series costs more than counting
        self.fire_delay_seconds = self._histogram(
            "fire_delay_seconds",
            "How late was the decision, after the occurrence's time and jitter?",
            DELAYS_S,
        )
        self.jobs_overdue = self._gauge("jobs_overdue", "How many wakes in the due index are in the past?")
        self.timer_last_tick_timestamp_seconds = self._gauge(
            "timer_last_tick_timestamp_seconds", "When did the timer last look at the due index (Unix time)?"
        )
        self.partitions = self._gauge("partitions", "How many partitions does the deployment have?")
        self.partitions_owned = self._gauge(
            "partitions_owned", "How many partitions does this replica serve?", "role"
        )
        self.schedule_searches_total = self._pulled(
            "schedule_searches_total", "How many next times were searched for rather than found in the cache?"
        )

    def _declare_runs(self) -> None:
        self.start_delay_seconds = self._histogram(
            "start_delay_seconds",
            "How late did handlers start, after the occurrence's time and jitter?",
            DELAYS_S,
        )
        self.runs_finished_total = self._counter(
            "runs_finished_total", "How many runs have ended, and how?", "job_type", "outcome"
        )
        self.run_duration_seconds = self._histogram(
            "run_duration_seconds", "How long did a run's last attempt take?", DURATIONS_S, "job_type"
        )
        self.attempts_total = self._counter(
            "attempts_total", "How many attempts have ended, and how?", "job_type", "outcome"
        )
        self.runs_active = self._gauge("runs_active", "How many runs are in their handler now?")
        self.slots = self._gauge(
            "slots", "How many runs could this executor take (free), and has (busy)?", "state"
        )
        self.queue_depth = self._gauge("queue_depth", "How many runs wait for an executor?", "queue")
        self.starts_held_total = self._counter(
            "starts_held_total", "How many starts had to wait for a limit, and for which kind?", "reason"
        )
        self.runs_held = self._gauge("runs_held", "How many runs wait for room, and what for?", "reason")
        self.leases_lost_total = self._counter(
            "leases_lost_total", "How many runs were taken from a worker that stopped renewing?"
        )
        self.results_refused_total = self._counter(
            "results_refused_total", "How many results came from a worker that had lost its lease?"
        )
        self.dead_letters = self._gauge(
            "dead_letters", "How many failed runs wait for somebody to look at them?"
        )

    def _declare_log(self) -> None:
        self.events_committed_total = self._counter(
            "events_committed_total", "What has happened, and how often?", "type"
        )
        self.commit_duration_seconds = self._histogram(
            "commit_duration_seconds", "How long does Redis take to accept a batch?", DELAYS_S
        )
        self.commit_batch_size = self._histogram(
            "commit_batch_size", "How many units does group commit put into one batch?", BATCH_SIZES
        )
        self.commit_conflicts_total = self._counter(
            "commit_conflicts_total", "How many units were decided again, as somebody else was first?"
        )
        self.log_length = self._gauge("log_length", "How many events do the streams still hold?")
        self.redis_memory_used_ratio = self._gauge(
            "redis_memory_used_ratio", "How much of the memory that Redis may take is in use (0: no limit)?"
        )

    def _declare_ledgers(self) -> None:
        self.projection_lag_events = self._gauge(
            "projection_lag_events", "How many events are not in Postgres yet?"
        )
        self.projection_lag_seconds = self._gauge(
            "projection_lag_seconds", "How old is the oldest event that is not in Postgres yet?"
        )
        self.projection_errors_total = self._counter(
            "projection_errors_total", "How many rows did a read model refuse?"
        )
        self.quarantined_events = self._gauge(
            "quarantined_events", "How many events of logs that had forked lie aside for somebody to look at?"
        )
        self.archive_position = self._gauge("archive_position", "How many events has the archive taken in?")
        self.occurrences_missing = self._gauge(
            "occurrences_missing", "How many occurrences should have been decided by now, and were not?"
        )
        self.occurrences_duplicated_total = self._counter(
            "occurrences_duplicated_total", "How many occurrences does the log decide a second time?"
        )
        self.jobs = self._gauge("jobs", "How many jobs are there, in which state?", "status", "job_type")
        self.jobs_created_total = self._counter("jobs_created_total", "How many jobs were created?")

    def _counter(self, name: str, question: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, question, labels, registry=self.registry)

    def _gauge(self, name: str, question: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, question, labels, registry=self.registry)

    def _histogram(self, name: str, question: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(PREFIX + name, question, labels, buckets=buckets, registry=self.registry)

    def _pulled(self, name: str, question: str) -> Pulled:
        counter = Pulled(PREFIX + name, question)
        self.registry.register(counter)
        return counter


def render(registry: CollectorRegistry) -> tuple[bytes, str]:
    """Return the body of /metrics, and its content type."""
    return prometheus_client.generate_latest(registry), prometheus_client.CONTENT_TYPE_LATEST
