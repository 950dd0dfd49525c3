"""Erasing a job's personal data: allowed of every job there ever was, and told once."""

import pytest

from services.projector import projections
from shared.domain import deciding, kinds
from shared.domain.commands import (
    CreateJob,
    DeleteJob,
    EraseJob,
    PauseJob,
    RequestBackfill,
    RetryRun,
    SkipOccurrence,
    StartRun,
    SucceedRun,
    SuspendJob,
    TriggerJob,
    UnskipOccurrence,
    UpdateJob,
    Wake,
)
from shared.domain.events import JobCreated, JobDeleted, PersonalDataErased
from shared.domain.job import Erasure, Job, Status
from shared.domain.refusals import NoSuchJob
from shared.domain.run import Status as RunStatus
from shared.domain.spec import run_spec
from shared.eventlog import envelope, snapshot
from shared.eventlog.envelope import Recorded
from shared.eventlog.position import Position
from shared.testing import NOON, a_job_id, a_spec, at

from .one_job import OneJob

ERASE = EraseJob(by="ann", reason="ticket 4711")


def names(told):
    return [type(event).__name__ for event in told]


def erased_at(seconds):
    return Erasure(by="ann", reason="ticket 4711", at=at(seconds))


def a_pending():
    return OneJob(every=10)


def a_paused():
    one = OneJob(every=10)
    one.do(PauseJob(by="ann"))
    return one


def a_completed():
    one = OneJob(every=10, max_runs=1)
    one.wake(10)
    assert one.job.status is Status.COMPLETED
    return one


@pytest.mark.parametrize("make", [a_pending, a_paused, a_completed])
def test_a_job_is_deleted_in_the_same_unit(make):
    one = make()
    one.now, units = at(11), len(one.units)
    told = one.do(ERASE)
    assert told[-2:] == [
        JobDeleted(by="ann", deleted_at=at(11)),
        PersonalDataErased(by="ann", reason="ticket 4711", erased_at=at(11)),
    ]
    assert len(one.units) == units + 1
    assert (one.job.status, one.job.erased, one.job.updated_at) == (Status.DELETED, erased_at(11), at(11))
    assert one.job.due_at is None


def test_what_is_due_is_decided_first():
    one = a_pending()
    one.now = at(10)
    assert names(one.do(ERASE)) == ["RunRequested", "JobDeleted", "PersonalDataErased"]


def test_what_jitter_holds_back_is_dropped_as_by_a_deletion():
    one = OneJob(every=10, jitter_seconds=9)
    one.now = at(10)
    told = one.do(ERASE)
    assert names(told)[-2:] == ["JobDeleted", "PersonalDataErased"]
    assert len(told) == 3  # its occurrence ran or was skipped


def test_runs_that_wait_are_cancelled_and_a_backfill_ends():
    one = OneJob(overlap_policy="queue_all", every=10)
    for _ in range(2):
        one.do(TriggerJob(run_id=a_job_id(partition=3), correlation_id="c"))
    held = one.runs(RunStatus.HELD)
    assert len(held) == 1
    told = one.do(ERASE)
    assert names(told)[-2:] == ["JobDeleted", "PersonalDataErased"]
    assert {"RunCancelled"} == set(names(told[:-2]))
    assert one.run(held[0]).status is RunStatus.CANCELLED


def test_a_long_backlog_takes_several_units_and_then_it_is_erased():
    one = OneJob(every=1, overlap_policy="allow", misfire_policy="all")
    one.now = at(200)
    one.do(ERASE)
    assert len(one.units) > 3
    assert one.job.erased == erased_at(200)


def test_a_deleted_job_is_erased_as_long_after_as_anybody_likes():
    one = a_pending()
    one.do(DeleteJob(by="bob"))
    one.now = at(10 * 365 * 86_400)
    assert one.do(ERASE) == [
        PersonalDataErased(by="ann", reason="ticket 4711", erased_at=at(10 * 365 * 86_400))
    ]
    assert one.job.over


def test_twice_changes_nothing_and_the_first_stands():
    one = a_pending()
    one.now = at(1)
    one.do(ERASE)
    one.now = at(2)
    assert one.do(EraseJob(by="bob", reason="again")) == []
    assert one.job.erased == erased_at(1)


def test_a_job_that_never_was_is_refused():
    with pytest.raises(NoSuchJob):
        deciding.decide(None, ERASE, NOON)


COMMANDS = [
    DeleteJob(by="a"),
    PauseJob(by="a"),
    UpdateJob(spec=a_spec()),
    SuspendJob(by="timer", reason="r"),
    SkipOccurrence(scheduled_for=at(20), by="a"),
    UnskipOccurrence(scheduled_for=at(20), by="a"),
    TriggerJob(run_id=a_job_id(partition=3), correlation_id="c"),
    RetryRun(
        run_id=a_job_id(partition=3), correlation_id="c", of="r", scheduled_for=NOON, revision=1,
        spec=run_spec(a_spec(), tenant="t"),
    ),
    RequestBackfill(
        backfill_id="b", which="all", from_=NOON, to=at(10), times=(), max_parallel=1, by="a",
        correlation_id="c",
    ),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: type(each).__name__)
def test_no_command_brings_an_erased_job_back(command):
    one = a_pending()
    one.do(ERASE)
    with pytest.raises(NoSuchJob):
        deciding.decide(one.job, command, at(5))
    assert deciding.decide(one.job, Wake(), at(50)).changes == ()


def test_a_run_that_is_at_work_goes_on_and_ends_as_it_would():
    one = OneJob(overlap_policy="skip")
    one.do(TriggerJob(run_id=(run_id := a_job_id(partition=3)), correlation_id="c"))
    one.do(StartRun(worker="w"), run_id)
    one.do(ERASE)
    assert not one.job.over  # its end advances the job, too
    one.do(SucceedRun(fence=one.fences[f"run:{run_id}"], result=None), run_id)
    assert (one.run(run_id).status, one.job.over, one.job.erased) == (
        RunStatus.SUCCEEDED, True, erased_at(0),
    )  # fmt: skip


def test_the_snapshot_of_an_erased_job_is_read_again_and_an_older_one_is_that_of_a_job_that_is_not():
    one = a_pending()
    one.do(ERASE)
    text = snapshot.dump(one.job)
    assert snapshot.load(Job, text.encode()) == one.job
    older = snapshot.dump(a_pending().job).replace(f'"shape":{kinds.JOB.shape}', '"shape":4')
    assert snapshot.load(Job, older.encode()).erased is None


# What the projector makes of it.


def recorded(subject, event, pos, version=1):
    return Recorded(
        0, Position(1, pos), f"e{pos}", type(event).__name__, version, subject, "", "subject",
        1_790_000_000_000, "ann", "", "c", "", envelope.encode(event),
    )  # fmt: skip


def test_the_projector_is_told_whose_key_to_destroy():
    job_id = a_job_id()
    (created,) = deciding.decide(
        None, CreateJob(job_id=job_id, spec=a_spec(), owner="ann", tenant="t"), NOON
    ).changes
    assert isinstance(created.event, JobCreated)
    erased = PersonalDataErased(by="ann", reason="r", erased_at=NOON)
    told = [recorded(f"job/{job_id}", created.event, 1), recorded(f"job/{job_id}", erased, 2)]
    assert projections.fold(told[:1], {}, {}).erased == set()
    folded = projections.fold(told, {}, {})
    assert (folded.erased, folded.unreadable) == ({job_id}, [])


def test_an_erasure_that_a_newer_build_wrote_is_meant_all_the_same():
    job_id = a_job_id()
    erased = PersonalDataErased(by="ann", reason="r", erased_at=NOON)
    told = recorded(f"job/{job_id}", erased, 2, version=99)
    folded = projections.fold([told], {}, {})
    assert folded.erased == {job_id}
    assert len(folded.unreadable) == 1


def test_a_subject_that_is_no_id_of_ours_stops_nobody():
    erased = PersonalDataErased(by="ann", reason="r", erased_at=NOON)
    assert projections.fold([recorded("job/none", erased, 1)], {}, {}).erased == set()
