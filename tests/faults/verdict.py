"""What a story proves: what was lost, what was done twice, how long it took until all worked again."""

import bisect
import contextlib
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass

from shared.eventlog.position import Position
from tests.acceptance import occurrences
from tests.acceptance.balance import TERMINAL, audit

from .plan import ENOUGH, LONG_S

WRITTEN_AS = {
    "create": "JobCreated",
    "update": "JobUpdated",
    "trigger": "RunRequested",
    "delete": "JobDeleted",
    "erase": "PersonalDataErased",
}
LATER = 202  # in the log, not yet in the archive: what Redis loses before that is no broken promise
ACKNOWLEDGED_MIN = 1_000
RECOVERY_MAX_S = 60.0
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`losses`, `duplicates`, `wrong`: a line each; `recovery`: kind → seconds; `facts`: what there was."""

    losses: list
    duplicates: list
    wrong: list
    recovery: dict
    facts: dict

    @property
    def is_good(self):
        return not (self.losses or self.duplicates or self.wrong)


def of(story):
    """Judge the story."""
    events = story.found.events
    kept = [ack for ack in story.acks if not _may_be_gone(ack, story.set_backs)]
    recovery = _recovery(story)
    return Verdict(
        losses=list(_losses(events, kept, story.notes)),
        duplicates=list(_duplicates(events)),
        wrong=[
            *story.troubles,
            *_unbalanced(story.found, kept),
            *_unverified(story.verified),
            *_too_little(story, kept, recovery),
        ],
        recovery=recovery,
        facts=_facts(story, kept),
    )


def _may_be_gone(ack, set_backs):
    """Whether the answer was "not archived yet", and Redis was set back before it was."""
    if ack.status != LATER:
        return False
    partition, _, position = ack.place.partition(":")
    at = Position.parse(position)
    return any(ack.began <= back.at and at > back.archived[int(partition)] for back in set_backs)


def _losses(events, acks, notes):
    by_cause = defaultdict(set)
    for event in events:
        by_cause[event.corr].add(event.type)
    for ack in acks:
        kind = WRITTEN_AS.get(ack.what)  # pauses and resumes may have had nothing to do
        if kind and kind not in by_cause[ack.request_id]:
            yield f"acknowledged with {ack.status}, not there: {ack}"
    expected, decided = _occurrences(events)
    yield from (f"occurrence never decided: {key}" for key in sorted(expected - decided.keys())[:SHOWN])
    ended = {event.run_id for event in events if event.type in TERMINAL}
    runs = {event.run_id: event for event in events if event.type == "RunRequested"}
    yield from (
        f"run never ended: {event.place} {run_id}" for run_id, event in runs.items() if run_id not in ended
    )
    yield from _made_up(events, runs, notes)


def _made_up(events, runs, notes):
    """Results that no call of a handler has given."""
    given = set(notes)
    for event in events:
        if event.type == "RunSucceeded" and runs[event.run_id].told["spec"]["job_type"].startswith("noted"):
            word = (event.told["result"] or {}).get("word")
            if (event.run_id, event.told["attempt"], word) not in given:
                yield f"no handler gave the result of {event.place}, {event.run_id}"


def _duplicates(events):
    _, decided = _occurrences(events)
    yield from (f"occurrence decided {count} times: {key}" for key, count in decided.items() if count > 1)
    ends = Counter(event.run_id for event in events if event.type in TERMINAL)
    yield from (f"run ended {count} times: {run_id}" for run_id, count in ends.items() if count > 1)
    again = Counter(event.told["of"] for event in events if event.told.get("trigger") == "retry")
    yield from (f"run retried {count} times: {run_id}" for run_id, count in again.items() if count > 1)
    # A client numbers its requests and repeats none: neither may the system, however often it decided again.
    written = Counter(
        (event.corr, event.type)
        for event in events
        if event.type in WRITTEN_AS.values() and event.told.get("trigger", "manual") == "manual"
    )
    yield from (f"{kind} {count} times for {corr}" for (corr, kind), count in written.items() if count > 1)


def _occurrences(events):
    stories = defaultdict(list)
    for event in events:
        if event.job_id:
            stories[event.job_id].append(event)
    expected, decided = set(), Counter()
    for job_id, told in stories.items():
        own = [event for event in told if event.about == "job"]
        expected |= {(job_id, at) for at in occurrences.expected(own)}
        with contextlib.suppress(AssertionError):  # a decision that contradicts itself: the balance says so
            decided.update((job_id, at) for at, _ in occurrences.decided(told))
    return expected, decided


def _unbalanced(found, acks):
    try:
        return audit(found, acks).wrong
    except (AssertionError, LookupError, ValueError) as error:
        return [f"books that can't even be balanced: {error!r}"]


def _unverified(verified):
    if verified.returncode != 0:
        text = [
            line for line in (verified.stdout + verified.stderr).splitlines() if not line.startswith("ok ")
        ]
        yield f"daybook audit verify: exit {verified.returncode}"
        yield from (f"    {line}" for line in text[-30:])


def _too_little(story, acks, recovery):
    """Whether the story shows less than it is there to show."""
    if (sure := sum(ack.status != LATER for ack in acks)) < ACKNOWLEDGED_MIN:
        yield f"only {sure} writes were acknowledged"
    slow = [(kind, each) for kind, times in recovery.items() for each in times if each > RECOVERY_MAX_S]
    yield from (f"{each:.1f} s until all worked again after {kind}" for kind, each in slow)
    if story.plan.seconds >= LONG_S:
        counts = Counter(strike.kind for strike in story.strikes)
        planned = {each.kind for lane in story.plan.lanes.values() for each in lane}
        yield from (f"only {counts[kind]} times: {kind}" for kind in planned if counts[kind] < ENOUGH)


def _recovery(story):
    """Kind → seconds from the end of each fault until a write sent after it was acknowledged and a run ended.

    Whatever else was broken meanwhile is in it: the lanes go on beside each other.
    """
    heard = sorted((ack.began, ack.ended) for ack in story.acks)
    found = defaultdict(list)
    for strike in story.strikes:
        run = _first(story.run_ends, strike.ended)
        later = [ended for began, ended in heard[bisect.bisect_left(heard, (strike.ended,)) :][:200]]
        if run is None or not later:
            found[strike.kind].append(float("inf"))
        else:
            found[strike.kind].append(max(run, min(later)) - strike.ended)
    return dict(found)


def _first(times, moment):
    at = bisect.bisect_left(times, moment)
    return times[at] if at < len(times) else None


def _facts(story, kept):
    kinds = Counter(event.type for event in story.found.events)
    statuses = Counter(ack.status for ack in story.acks)
    gone = Counter(event.corr for event in story.found.events)
    return {
        "events": len(story.found.events),
        "kinds": kinds,
        "statuses": statuses,
        "excusable": len(story.acks) - len(kept),
        "excused": sum(1 for ack in set(story.acks) - set(kept) if ack.request_id not in gone),
        "openings": Counter(e.told["reason"] for e in story.found.events if e.type == "LogOpened"),
        "calls": len(story.notes),
        "called_again": len(story.notes) - len({(run, attempt) for run, attempt, _ in story.notes}),
    }


def told(story, verdict):
    """The report, as it is printed."""
    plan, facts = story.plan, verdict.facts
    kinds, statuses = facts["kinds"], facts["statuses"]
    counts = Counter(strike.kind for strike in story.strikes)
    lines = [
        f"seed {plan.seed}: {plan.seconds:.0f} s of faults, then {story.quiet_s:.0f} s until all was at rest",
        f"faults: {len(story.strikes)}",
    ]
    for kind, times in sorted(verdict.recovery.items()):
        spread = f"recovered after {statistics.median(times):.2f} s (median), {max(times):.2f} s (max)"
        lines.append(f"  {counts[kind]:4} {kind:18} {spread}")
    everything = [each for times in verdict.recovery.values() for each in times]
    if everything:
        lines.append(f"recovery: median {statistics.median(everything):.2f} s, max {max(everything):.2f} s")
    sure = sum(count for status, count in statuses.items() if status != LATER)
    lines += [
        f"acknowledged writes: {sure}; {statuses[LATER]} more answered 202, of which Redis lost {facts['excused']}"
        f" before they were archived; {story.unanswered} without an answer",
        f"events: {facts['events']}; openings of the log: {_counted(facts['openings'])}",
        f"runs: {kinds['RunRequested']}; starts {kinds['RunStarted']}, succeeded {kinds['RunSucceeded']}, failed "
        f"{kinds['RunFailed']}, retries {kinds['RunRetryPlanned']}, lost leases {kinds['RunLost']}, "
        f"interrupted {kinds['RunInterrupted']}, cancelled {kinds['RunCancelled']}, expired {kinds['RunExpired']}",
        f"calls noted by handlers: {facts['calls']}, of which again for the same attempt: {facts['called_again']}",
        f"losses: {len(verdict.losses)}",
        f"duplicates: {len(verdict.duplicates)}",
        f"daybook audit verify: {'clean' if story.verified.returncode == 0 else 'NOT CLEAN'}",
    ]
    bad = [*verdict.losses[:SHOWN], *verdict.duplicates[:SHOWN], *verdict.wrong]
    lines += [f"VIOLATION {each}" for each in bad]
    lines.append(f"{'GOOD' if verdict.is_good else 'BAD'} (seed {plan.seed})")
    return "\n".join(lines)


def _counted(counter):
    return ", ".join(f"{what} {count}" for what, count in sorted(counter.items())) or "none"
