"""Which occurrences interval jobs have had, by arithmetic alone: no croniter, none of our schedule's code."""

from dataclasses import dataclass
from datetime import timedelta

from .book import time


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time for which a job had one interval and one state; its occurrences lie in (after, until]."""

    anchor: object
    every: timedelta
    after: object
    until: object
    paused: bool

    def occurrences(self):
        k = (self.after - self.anchor) // self.every + 1
        while (at := self.anchor + k * self.every) <= self.until:
            yield at
            k += 1


def spans(events):
    """The spans of one job, from its own events in order; what lies after the last of them is nobody's yet.

    A command settles all that is due at its time, so each event closes a span, except a pause of the paused, and an
    edit that leaves the times of a paused job: what falls due in a pause is up to its end.
    """
    anchor = every = since = None
    paused = False
    for event in events:
        told = event.told
        match event.type:
            case "JobCreated":
                since, every = time(told["created_at"]), _interval(told)
                anchor = since
            case "JobUpdated" if paused and _interval(told) == every:
                pass
            case "JobUpdated" | "JobPaused" | "JobResumed" | "JobDeleted":
                now = time(
                    told.get("updated_at")
                    or told.get("paused_at")
                    or told.get("resumed_at")
                    or told.get("deleted_at")
                )
                if every:
                    yield Span(anchor=anchor, every=every, after=since, until=now, paused=paused)
                since = now
                paused = (paused or event.type == "JobPaused") and event.type != "JobResumed"
                if event.type == "JobUpdated" and _interval(told) != every:
                    every, anchor = _interval(told), now
        if told.get("anchor_at"):
            assert time(told["anchor_at"]) == anchor, f"{event.place} moved the anchor without a reason"
        if event.type == "JobDeleted":
            return


def expected(events):
    """Occurrence → whether the job was paused at it."""
    return {at: span.paused for span in spans(events) for at in span.occurrences()}


def decided(events):
    """Every decision of the schedule on one job, in order: (occurrence, `run` or the reason it was skipped)."""
    every = None
    for event in events:
        told = event.told
        if event.type in ("JobCreated", "JobUpdated"):
            every = _interval(told)
        elif event.type == "RunRequested" and told["trigger"] == "schedule":
            yield time(told["scheduled_for"]), "run"
        elif event.type == "OccurrencesSkipped":
            first = time(told["from"])
            assert first + (told["count"] - 1) * every == time(told["to"]), f"{event.place} counts wrong"
            yield from ((first + k * every, told["reason"]) for k in range(told["count"]))


def _interval(told):
    seconds = told["spec"]["schedule"].get("interval_seconds")
    return None if seconds is None else timedelta(seconds=seconds)
