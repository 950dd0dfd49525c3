"""What the audit makes of decisions about occurrences that somebody wanted skipped."""

import pytest
from msgspec.structs import replace

from services.projector.audit import schedules
from services.projector.audit.lines import Findings
from services.projector.audit.schedules import Decided
from shared.domain import deciding, job
from shared.domain.commands import CreateJob, DeleteJob, PauseJob, SkipOccurrence, UpdateJob, Wake
from shared.domain.events import OccurrencesSkipped
from shared.testing import NOON, a_job_id, a_spec, at

JOB = a_job_id(partition=3)


def a_job(**spec):
    command = CreateJob(job_id=JOB, spec=a_spec(every=10, **spec), owner="ann", tenant="t")
    return fold(None, deciding.decide(None, command, NOON).changes)


def fold(state, changes):
    for change in changes:
        state = job.evolve(state, change)
    return state


def wrong(state, changes):
    """The lines that an audit finds wrong with these decisions."""
    findings, decided = Findings(), Decided()
    for change in changes:
        schedules.check(findings, decided, state, change, "here")
        state = job.evolve(state, change)
    return {line.name for line in findings.lines() if line.violations}


def skipping(state, *seconds, now=NOON):
    for second in seconds:
        state = fold(
            state, deciding.decide(state, SkipOccurrence(scheduled_for=at(second), by="ann"), now).changes
        )
    return state


def decided(state, command, now):
    return deciding.decide(state, command, now).changes


def told_as(changes, **data):
    return [
        replace(change, event=replace(change.event, **data))
        if isinstance(change.event, OccurrencesSkipped)
        else change
        for change in changes
    ]


@pytest.mark.parametrize("second", [20, 30, 40])
def test_what_was_to_be_skipped_may_not_be_told_as_late(second):
    state = a_job(misfire_policy="skip", misfire_grace_seconds=1)
    late = decided(state, Wake(), at(55))
    assert wrong(state, late) == set()
    assert wrong(skipping(state, second), late) == {"excluded"}, "as one of a range, too"


def test_what_nobody_wanted_skipped_may_not_be_told_as_that():
    state = a_job(misfire_policy="skip", misfire_grace_seconds=1)
    late = decided(state, Wake(), at(25))
    assert wrong(state, told_as(late, reason="excluded", by="ann")) == {"excluded"}
    assert wrong(skipping(state, 10), told_as(late, reason="excluded", by="ann")) == {"excluded"}
    assert wrong(skipping(state, 10, 20), told_as(late, reason="excluded", by="ann")) == set()


def test_a_wish_about_what_is_no_occurrence_any_more_is_nobodys_fault():
    state = skipping(a_job(misfire_policy="skip", misfire_grace_seconds=1), 20)
    slower = replace(state.spec, schedule=replace(state.spec.schedule, interval_seconds=15, start_at=at(15)))
    state = fold(state, decided(state, UpdateJob(spec=slower), at(1)))
    assert state.skips(at(20))
    assert wrong(state, decided(state, Wake(), at(55))) == set()


def test_what_jitter_holds_back_is_told_before_it_is_deleted():
    state = a_job(jitter_seconds=9)
    now = at(10)
    assert state.due_at > now
    skipped, deleted = decided(state, DeleteJob(by="ann"), now)
    assert wrong(state, (skipped, deleted)) == set()
    assert wrong(state, (deleted,)) == {"occurrences"}


def test_what_falls_due_in_a_pause_waits_for_its_end_unless_an_edit_announces_something_else():
    state = a_job()
    state = fold(state, decided(state, PauseJob(by="ann"), NOON))
    renamed = UpdateJob(spec=replace(state.spec, name="another"))
    assert wrong(state, decided(state, renamed, at(25))) == set()
    skipped, updated = decided(state, UpdateJob(spec=a_spec(every=7)), at(25))
    assert wrong(state, (skipped, updated)) == set()
    assert wrong(state, (updated,)) == {"occurrences"}
