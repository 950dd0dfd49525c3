"""The audit of these tests finds what it is there to find: a book that was tampered with doesn't balance."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.testing import wait_until

from . import book
from .balance import audit
from .load import FOREVER_S, Clients
from .system import System

RUNS = 12
pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(150)]


@pytest.fixture
async def story(tmp_path):
    """A book with some of everything, and what its clients were told."""
    system = System(tmp_path, environment={"DAYBOOK_PARTITIONS": "1"})
    try:
        system.start()
        async with system.client() as http:
            clients = Clients(http, random.Random(1))
            made = [await clients.create() for _ in range(6)]
            for does in (clients.pause, clients.resume, clients.trigger):
                await does(made[0])
            await wait_until(lambda: _ran(http), f"{RUNS} runs have ended", timeout_s=30, every_s=0.1)
            await clients.pause(made[0])
            await clients.delete(made[1])
            for job_id in made[2:]:
                await clients.update(job_id, interval_seconds=FOREVER_S)
        await wait_until(lambda: book.is_at_rest(system), "all is at rest", timeout_s=30, every_s=0.1)
        yield await book.read(system), clients.acks
    finally:
        system.destroy()


async def _ran(http):
    answer = await http.get("/api/v1/executions", params={"status": "succeeded"})
    return answer.json()["total"] >= RUNS


async def test_a_book_that_was_tampered_with_does_not_balance(story):
    found, acks = story
    balance = audit(found, acks)
    assert not balance.wrong, balance.told()
    for damage, line in DAMAGES.items():
        wrong = "\n".join(audit(damage(found), acks).wrong)
        assert line in wrong, f"{damage.__name__} is not seen by {line!r}:\n{wrong}"


def _of_type(found, kind):
    return next(event for event in found.events if event.type == kind)


def _scheduled(found):
    return next(event for event in found.events if event.told.get("trigger") == "schedule")


def _without(found, *gone):
    return replace(found, events=[event for event in found.events if event not in gone])


def _in_place_of(found, event, *others):
    at = found.events.index(event)
    return replace(found, events=[*found.events[:at], *others, *found.events[at + 1 :]])


def _changed(event, **columns):
    names = list(book.COLUMNS)
    row = tuple(columns.get(name, value) for name, value in zip(names, event.row, strict=True))
    return replace(event, row=row)


def an_occurrence_was_lost(found):
    lost = _scheduled(found)
    return _without(found, *(event for event in found.events if event.run_id == lost.run_id))


def an_occurrence_was_decided_twice(found):
    event = _scheduled(found)
    return _in_place_of(found, event, event, event)


def an_occurrence_was_moved(found):
    event = _scheduled(found)
    moved = book.time(event.told["scheduled_for"]) + timedelta(milliseconds=1)
    return _in_place_of(found, event, replace(event, told=event.told | {"scheduled_for": moved.isoformat()}))


def a_run_never_ended(found):
    return _without(found, _of_type(found, "RunSucceeded"))


def a_run_ended_twice(found):
    event = _of_type(found, "RunSucceeded")
    return _in_place_of(found, event, event, event)


def a_run_went_on_after_its_end(found):
    end = _of_type(found, "RunSucceeded")
    start = next(event for event in found.events if event.type == "RunStarted" and event.run_id == end.run_id)
    return _in_place_of(found, end, end, start)


def an_attempt_was_left_out(found):
    event = _of_type(found, "RunStarted")
    return _in_place_of(found, event, replace(event, told=event.told | {"attempt": 2}))


def a_result_came_from_an_older_start(found):
    event = _of_type(found, "RunSucceeded")
    return _in_place_of(found, event, _changed(event, cause="another"))


def a_row_of_a_job_is_wrong(found):
    first, *rest = found.jobs
    return replace(found, jobs=[first | {"revision": first["revision"] + 1}, *rest])


def a_row_of_a_run_is_missing(found):
    return replace(found, runs=found.runs[1:])


def an_hour_counts_one_too_many(found):
    first, *rest = found.hours
    return replace(found, hours=[first | {"started": first["started"] + 1}, *rest])


def the_log_says_something_else(found):
    (position, fields), *rest = found.logs[0]
    return replace(found, logs={0: [(position, fields | {"actor": "somebody"}), *rest]})


def a_link_of_the_chain_is_broken(found):
    event = found.events[3]
    return _in_place_of(found, event, replace(event, chain=bytes(32)))


def an_archived_event_was_rewritten(found):
    event = found.events[3]
    return _in_place_of(found, event, _changed(event, actor="somebody"))


def a_snapshot_is_older_than_its_events(found):
    ref, told = next(iter(found.aggregates.items()))
    return replace(found, aggregates=found.aggregates | {ref: told | {"version": "1-1"}})


def a_job_is_not_in_the_due_index(found):
    return replace(found, due=dict(list(found.due.items())[1:]))


def a_run_is_left_in_a_work_stream(found):
    return replace(found, work=found.work | {"somewhere": 1})


def an_acknowledged_write_is_gone(found):
    return _without(found, _of_type(found, "JobDeleted"))


DAMAGES = {
    an_occurrence_was_lost: "occurrences expected = decided",
    an_occurrence_was_decided_twice: "occurrences decided twice",
    an_occurrence_was_moved: "each of them decided",
    a_run_never_ended: "runs = terminal events",
    a_run_ended_twice: "runs ended twice",
    a_run_went_on_after_its_end: "events after a run's end",
    an_attempt_was_left_out: "attempts counted",
    a_result_came_from_an_older_start: "results that are not of the latest start",
    a_row_of_a_job_is_wrong: "rows of ledger.jobs",
    a_row_of_a_run_is_missing: "rows of ledger.runs",
    an_hour_counts_one_too_many: "rows of ledger.run_hourly",
    the_log_says_something_else: "entries of the log",
    a_link_of_the_chain_is_broken: "broken links of the chain",
    an_archived_event_was_rewritten: "broken links of the chain",
    a_snapshot_is_older_than_its_events: "snapshots in Redis",
    a_job_is_not_in_the_due_index: "due index",
    a_run_is_left_in_a_work_stream: "runs left in work streams",
    an_acknowledged_write_is_gone: "writes acknowledged",
}
