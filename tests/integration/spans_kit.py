"""A whole system in one process whose services have their own tracing, and one memory in which all spans end."""

import asyncio
import contextlib
from datetime import timedelta

from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services import traced
from services.executor.resources import of_settings
from services.executor.service import Executor
from shared import settings
from shared.clock import SystemClock
from shared.domain import ids
from shared.eventlog.connection import connect
from shared.eventlog.log import EventLog
from shared.job_types.catalog import catalog_of
from shared.lease import Share
from shared.loop import Stop
from shared.metrics import Metrics
from shared.ops import Health
from shared.personal.keys import PersonalKeys
from shared.testing import chance, wait_until
from shared.tracing.spans import Masked, Tracing, provider
from tests.integration.api_stage import stage_on

ROLES = ("api", "timer", "executor", "projector")
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ITS_TRACE = CALLER.split("-")[1]


class Spans:
    """What all services have made, and the tracing of each."""

    def __init__(self):
        self.memory = InMemorySpanExporter()
        self.of = {role: self._tracing(role) for role in ROLES}

    def _tracing(self, role):
        made = provider(role, f"{role}-1")
        made.sampler = sampling.ParentBased(sampling.ALWAYS_ON)
        made.add_span_processor(SimpleSpanProcessor(Masked(self.memory)))
        return Tracing(made)

    def all(self, name=None):
        """Those that have ended, by their beginning."""
        found = [each for each in self.memory.get_finished_spans() if name in {None, each.name}]
        return sorted(found, key=lambda each: each.start_time)

    async def one(self, name):
        """The one span of this name, once it is there."""
        await wait_until(lambda: self.all(name), f"there is a span {name!r}")
        (found,) = self.all(name)
        return found

    def parent(self, span):
        """Who it is a child of; None for the first of a trace, and for a caller's."""
        by_id = {each.context.span_id: each for each in self.all()}
        return None if span.parent is None else by_id.get(span.parent.span_id)

    def line(self, span):
        """Its name and service, and its parents', up to the first."""
        line = []
        while span is not None:
            line.append((span.resource.attributes["service.name"], span.name))
            span = self.parent(span)
        return line


def trace_of(span):
    return f"{span.context.trace_id:032x}"


@contextlib.asynccontextmanager
async def a_traced_system(valkey, postgres, files_root, **told):
    """Its stage, with timer and executor at work beside; `stage.spans` has the spans."""
    spans = Spans()
    async with stage_on(valkey, postgres, files_root, tracings=spans.of) as stage:
        stage.spans = spans
        stop = Stop()
        timer, bells, logs_ = _timer(stage)
        executor, log = _executor(stage, **told)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(timer.run(stop))
            tasks.create_task(executor.run(stop))
            try:
                yield stage
            finally:
                stop.set()
        await bells.aclose()
        await logs_.close()
        await log.close()


def _log(stage, process):
    log = EventLog(
        stage.redis,
        prefix=stage.prefix,
        partitions=stage.partitions,
        process=process,
        metrics=Metrics(),
        reopen=stage.reopen,
    )
    log.saw(ids.to_ms(stage.log.now()))  # as a service does when it starts
    return log


def _timer(stage):
    log, bells = _log(stage, "timer"), connect(stage.redis_url, blocking=True)
    leases = {partition: log.keys(partition).lease("timer") for partition in range(stage.partitions)}
    timer = traced.timer(
        stage.tracings["timer"],
        stage.pool,
        log=log,
        decider=_decider(stage, "timer", log),
        bells=bells,
        share=Share(stage.redis, leases, f"{stage.prefix}:timers", "timer"),
        clock=SystemClock(),
        metrics=Metrics(),
        health=Health(),
    )
    return timer, bells, log


def _executor(stage, **told):
    log = _log(stage, "executor")
    chosen = settings.load(
        redis_url=stage.redis_url, prefix=stage.prefix, partitions=stage.partitions, drain_seconds=5, **told
    )
    executor = Executor(
        log=log,
        decider=_decider(stage, "executor", log),
        settings=chosen,
        redis_url=stage.redis_url,
        known=stage.deps.known,
        resources=of_settings(chosen, catalog_of(chosen)),
        personal=PersonalKeys(stage.redis, stage.pool, prefix=stage.prefix),
        metrics=Metrics(),
        health=Health(),
        **traced.attempts(stage.tracings["executor"], stage.pool, log),
    )
    return executor, log


def _decider(stage, role, log):
    return traced.decider(stage.tracings[role], log, lease=timedelta(seconds=15), chance=chance)
