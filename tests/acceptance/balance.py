"""The audit: whether log, archive, ledgers, snapshots and due index tell one story, line by line."""

import hashlib
import struct
from collections import Counter, defaultdict

from shared.domain import ids, job, run
from shared.domain.job import Job
from shared.domain.run import Run
from shared.eventlog import snapshot
from shared.eventlog.envelope import Recorded
from shared.eventlog.position import Position

from . import ledgers, occurrences, overlap_story
from .overlap_story import TERMINAL

SHOWN = 5  # differences told of each line


class Balance:
    """Lines of two amounts each, that must be the same."""

    def __init__(self):
        self.lines, self.wrong = [], []

    def same(self, what, expected, actual, differences=()):
        """Note a line; `differences` tell more than two unequal amounts do."""
        differences = list(differences)
        good = expected == actual and not differences
        self.lines.append(f"  {'ok   ' if good else 'WRONG'} {what}: {_amount(expected)} = {_amount(actual)}")
        if not good:
            self.wrong += [self.lines[-1], *(f"          {each}" for each in differences[:SHOWN])]

    def none(self, what, found):
        """Note a line about things there must be none of."""
        found = list(found)
        self.same(what, 0, len(found), found)

    def rows(self, what, expected, actual):
        """Note a line about rows by key, compared in every column."""
        self.same(what, len(expected), len(actual), _differences(expected, actual))

    def told(self):
        return "\n".join(self.lines)


def audit(book, acknowledged=()):
    """The balance of a book at rest: nothing due, no run under way, the archive level with the log."""
    balance = Balance()
    _check_schedule(balance, book)
    _check_runs(balance, book)
    _check_rows(balance, book)
    _check_archive(balance, book)
    _check_write_side(balance, book)
    _check_acknowledged(balance, book, acknowledged)
    return balance


# One decision for each occurrence.


def _check_schedule(balance, book):
    stories = defaultdict(list)
    for event in book.events:
        if event.job_id:
            stories[event.job_id].append(event)
    expected, decided = {}, []
    for job_id, events in stories.items():
        own = [event for event in events if event.about == "job"]
        expected |= {(job_id, at): paused for at, paused in occurrences.expected(own).items()}
        decided += [((job_id, at), how) for at, how in occurrences.decided(events)]
    how_often = Counter(key for key, _ in decided)
    hows = Counter(how for _, how in decided)
    balance.same("occurrences expected = decided", len(expected), len(decided))
    told = ", ".join(f"{how} {count}" for how, count in sorted(hows.items()))
    balance.same(
        f"each of them decided ({told})", len(expected), len(how_often), expected.keys() ^ how_often.keys()
    )
    balance.none("occurrences decided twice", (key for key, count in how_often.items() if count > 1))
    wrong_side = (
        f"{key} {how}" for key, how in decided if key in expected and expected[key] != (how == "paused")
    )
    balance.none("occurrences run while paused, or skipped as paused while not", wrong_side)
    requested = sum(1 for e in book.events if e.type == "RunRequested" and e.told["trigger"] == "schedule")
    balance.same("occurrences run = scheduled runs requested", hows["run"], requested)
    balance.none(
        "decisions out of order", (job_id for job_id, events in stories.items() if not _rises(events))
    )
    balance.none(
        "overlaps against the policy, skips without an overlap, waits for nothing",
        (fault for events in stories.values() for fault in overlap_story.faults(events)),
    )


def _rises(events):
    """Whether a job's schedule is decided in the order of time."""
    times = [at for at, _ in occurrences.decided(events)]
    return times == sorted(times)


# Every run ends once.


def _check_runs(balance, book):
    stories = defaultdict(list)
    for event in book.events:
        if event.run_id:
            stories[event.run_id].append(event)
    ends = [event.run_id for event in book.events if event.type in TERMINAL]
    balance.same("runs = terminal events", len(stories), len(ends))
    balance.none("runs ended twice", (run_id for run_id, count in Counter(ends).items() if count > 1))
    balance.none("runs without an end", stories.keys() - set(ends))
    balance.none(
        "events after a run's end", (e[-1].place for e in stories.values() if e[-1].type not in TERMINAL)
    )
    starts = [event for event in book.events if event.type == "RunStarted"]
    lost = sum(event.type == "RunLost" for event in book.events)
    what = f"attempts counted 1, 2, 3 … ({len(starts)} starts, {lost} lost)"
    balance.none(f"{what}: runs where not", (run_id for run_id, e in stories.items() if not _counts_up(e)))
    balance.none("results that are not of the latest start", _stale_results(stories))


def _counts_up(events):
    attempts = [event.told["attempt"] for event in events if event.type == "RunStarted"]
    return attempts == list(range(1, len(attempts) + 1))


def _stale_results(stories):
    """A start, or the loss of one, between a result's own start and the result makes it stale."""
    for events in stories.values():
        running = None
        for event in events:
            if event.type == "RunStarted":
                if running is not None:
                    yield f"{event.place} starts a run that is running"
                running = event
            elif event.type in ("RunSucceeded", "RunRetryPlanned", "RunInterrupted", "RunLost"):
                if running is None or event.told["attempt"] != running.told["attempt"]:
                    yield f"{event.place} ends an attempt that is not running"
                elif event.type in ("RunSucceeded", "RunRetryPlanned") and event.cause != running.id:
                    yield f"{event.place} is not the result of {running.place}"
                running = None


# Rows are the fold of the archive.


def _check_rows(balance, book):
    jobs, runs, hours = ledgers.folded(book.events)
    balance.rows("rows of ledger.jobs = fold of the archive", jobs, _by_id(book.jobs))
    balance.rows("rows of ledger.runs = fold of the archive", runs, _by_id(book.runs))
    kept = {
        (row["partition"], row["hour"], row["job_type"]): {name: row[name] for name in ledgers.SUMS}
        for row in book.hours
    }
    balance.rows("rows of ledger.run_hourly = fold of the archive", hours, kept)
    balance.same("rows refused", 0, book.errors)


def _by_id(rows):
    return {str(row["id"]): ledgers.stored(row) for row in rows}


# The archive is the log.


def _check_archive(balance, book):
    for partition, log in book.logs.items():
        events = [event for event in book.events if event.partition == partition]
        balance.same(
            f"partition {partition}: events numbered 1…n",
            list(range(1, len(events) + 1)),
            [e.pos for e in events],
        )
        logged = dict(log)
        newest = max(Position.parse(position) for position in logged)
        archived = {
            e.position: _entry(e)
            for e in events
            if e.position in logged or Position.parse(e.position) > newest
        }  # a log that was healed lacks what stood between its own end and the archive's
        balance.rows(
            f"partition {partition}: entries of the log = their rows in the archive", logged, archived
        )
        chain = _chain(events)
        wrong = (e.place for e, link in zip(events, chain, strict=True) if e.chain != link)
        balance.none(f"partition {partition}: broken links of the chain", wrong)
        mark, last = book.checkpoints[partition], events[-1]
        tail = (last.epoch, last.pos, last.id, last.chain)
        balance.same(
            f"partition {partition}: checkpoint = last event",
            tail,
            (mark["epoch"], mark["pos"], mark["id"], mark["chain"]),
        )
    balance.same("event ids = events", len(book.events), len({event.id for event in book.events}))


def _entry(event):
    names = ("id", "type", "v", "subject", "job", "advances", "at", "actor", "cause", "corr", "trace", "data")
    return {name: str(ids.to_ms(event.at)) if name == "at" else str(getattr(event, name)) for name in names}


def _chain(events):
    """The links, made anew: SHA-256 over the link before and each field with its length before it."""
    link = bytes(32)
    for event in events:
        values = [ids.to_ms(each) if hasattr(each, "tzinfo") else each for each in event.row]
        texts = [str(value).encode() for value in values]
        link = hashlib.sha256(link + b"".join(struct.pack(">I", len(text)) + text for text in texts)).digest()
        yield link


# Snapshots and due index are the fold of the archive.


def _check_write_side(balance, book):
    states, versions = _states(book.events)
    kept, alive = {}, {}
    for ref, state in states.items():
        # Keys of what is over stay for a while: a run's for a minute, a job's for a day, unless the log was healed.
        over = state.ended if isinstance(state, Run) else state.over
        if ref in book.aggregates or not over:
            parts = {"state": snapshot.dump_apart(state), "spec": snapshot.dump_spec(state)}
            alive[ref] = {"version": versions[ref], **parts}
    for ref, told in book.aggregates.items():
        kept[ref] = {"version": told["version"], "state": told["state"], "spec": told["spec"]}
    balance.rows("snapshots in Redis = fold of the archive, to the byte", alive, kept)
    due = {
        ref: ids.to_ms(state.due_at)
        for ref, state in states.items()
        if isinstance(state, Job) and state.due_at
    }
    balance.rows("due index = what the states say", due, book.due)
    balance.same("runs left in work streams", 0, sum(book.work.values()))


def _states(events):
    states, versions = {}, {}
    for event in events:
        if event.about == "log":
            continue
        change = _recorded(event).change()
        for ref in change.advances:
            evolve = job.evolve if ref.startswith("job:") else run.evolve
            states[ref] = evolve(states.get(ref), change)
            versions[ref] = event.position
    return states, versions


def _recorded(event):
    names = (
        "partition",
        "id",
        "type",
        "v",
        "subject",
        "job",
        "advances",
        "actor",
        "cause",
        "corr",
        "trace",
        "data",
    )
    told = {name: getattr(event, name) for name in names}
    return Recorded(position=Position(event.epoch, event.pos), at=ids.to_ms(event.at), **told)


# Nothing acknowledged is lost.


def _check_acknowledged(balance, book, acknowledged):
    states, at_place = {}, {}
    for event in book.events:
        if event.about == "job":
            states[event.job_id] = {
                "JobPaused": "paused",
                "JobDeleted": "deleted",
                "JobResumed": "pending",
            }.get(event.type, states.get(event.job_id, "pending"))
        at_place[event.place] = event, states.get(event.job_id)
    kinds = ", ".join(
        f"{what} {count}" for what, count in sorted(Counter(a.what for a in acknowledged).items())
    )
    missing = [ack for ack in acknowledged if not _stands(ack, *at_place.get(ack.place, (None, None)))]
    found = len(acknowledged) - len(missing)
    balance.same(f"writes acknowledged = found ({kinds})", len(acknowledged), found, missing)


def _stands(ack, event, state):
    """Whether the event at an acknowledged position is what the answer said."""
    if event is None or event.job_id != ack.job_id:
        return False
    match ack.what:
        case "create":
            return event.type == "JobCreated" and event.told["spec"]["name"] == ack.said
        case "update":
            return event.type == "JobUpdated" and event.told["spec"].get("description") == ack.said
        case "trigger":
            return event.type == "RunRequested" and event.run_id == ack.said and event.corr == ack.request_id
        case "delete":
            return event.type == "JobDeleted" and event.corr == ack.request_id
        case "erase":
            return event.type == "PersonalDataErased" and event.corr == ack.request_id
        case "pause":
            return state == "paused"
        case "resume":
            return state == "pending"
        case "cancel" | "retry":
            return event.run_id == ack.said and _run_stands(ack, event)
    raise AssertionError(ack)


def _run_stands(ack, event):
    if ack.what == "retry":  # an answer 200 tells of the retry that there was, wherever it has come to
        return ack.status == 200 or event.type == "RunRequested"
    # An answer 200 tells how the run has ended: perhaps otherwise, just before it was cancelled.
    return ack.status != 200 or ledgers.TERMINAL.get(event.type) == ack.shown


def _amount(value):
    return str(len(value)) if isinstance(value, list | tuple) else str(value)


def _differences(expected, actual):
    for key in [*expected, *(key for key in actual if key not in expected)]:
        wants, has = expected.get(key), actual.get(key)
        if wants == has:
            continue
        if not isinstance(wants, dict) or not isinstance(has, dict):
            yield f"{key}: expected {wants}, is {has}"
            continue
        columns = [name for name in {**wants, **has} if wants.get(name) != has.get(name)]
        yield f"{key}: " + "; ".join(
            f"{name}: expected {wants.get(name)!r}, is {has.get(name)!r}" for name in columns
        )
