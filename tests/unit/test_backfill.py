"""The backfill: so many runs at a time, each occurrence once, and an end that is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import backfill, backfilling, ids, kinds, run
from shared.domain.backfill import TIMES_MAX
from shared.domain.backfilling import RUNS_A_WAKE
from shared.domain.commands import (
    CancelBackfill,
    CreateJob,
    DeleteJob,
    PauseJob,
    RequestBackfill,
    Wake,
)
from shared.domain.events import (
    BackfillAdvanced,
    BackfillCancelled,
    BackfillCompleted,
    BackfillRequested,
    Change,
    Failure,
    JobDeleted,
    RunCancelled,
    RunExpired,
    RunFailed,
    RunOutput,
    RunRequested,
    RunSucceeded,
)
from shared.domain.refusals import IllegalTransition, NoSuchBackfill, StaleRevision
from shared.domain.retry import RetryPolicy
from shared.eventlog import envelope, snapshot
from shared.eventlog.envelope import DATA_MAX
from shared.testing import NOON, a_job_id, a_spec, at

JOB = a_job_id(partition=3)
ID = a_job_id(partition=3)
SUCCEEDED = RunSucceeded(attempt=1)
ENDS = (
    SUCCEEDED,
    RunFailed(attempt=1, error=Failure(class_="OSError", message="no")),
    RunCancelled(attempt=0, by="ann", reason="", cancelled_at=NOON),
    RunExpired(start_by=NOON),
)


class World:
    """A job, its backfill and the runs of that, as they stand after all that was decided."""

    def __init__(self, count, max_parallel=1, **spec):
        self.states = {}
        self.now, self.events = NOON, []
        spec = a_spec(cron="* * * * *", **spec)
        self.does(f"job:{JOB}", CreateJob(job_id=JOB, spec=spec, owner="ann", tenant="t"))
        self.times = tuple(ids.to_ms(at(60 * n - 86_400)) for n in range(count))
        self.max_parallel = max_parallel

    def does(self, ref, command):
        kind = kinds.of_ref(ref)
        return self.takes(kind.decide(self.states.get(ref), command, self.now, kinds.Seen("", {})).changes)

    def takes(self, changes):
        for change in changes:
            for ref in change.advances:
                self.states[ref] = kinds.of_ref(ref).evolve(self.states.get(ref), change)
        self.events += [change.event for change in changes]
        return [change.event for change in changes]

    def request(self, backfill_id=ID, **fields):
        command = RequestBackfill(
            backfill_id=backfill_id, which="missing", from_=at(-86_400), to=NOON, times=self.times,
            max_parallel=self.max_parallel, by="ann", correlation_id="c", **fields,
        )  # fmt: skip
        return self.does(f"job:{JOB}", command)

    def wakes(self):
        return self.does(f"backfill:{ID}", Wake())

    def ends(self, run_id, event=SUCCEEDED, *beside):
        changes = [Change(subject=f"run:{run_id}", event=each, job=JOB) for each in (*beside, event)]
        return self.takes([*changes, *backfilling.after_ends(self.backfill, changes, self.now)])

    @property
    def backfill(self):
        return self.states[f"backfill:{ID}"]

    @property
    def job(self):
        return self.states[f"job:{JOB}"]

    @property
    def requests(self):
        return [each for each in self.events if isinstance(each, RunRequested)]


def test_a_request_pins_what_is_to_run_and_holds_the_job_until_it_is_over():
    world = World(2)
    (event,) = world.request(job_data={"operation": "fail"}, priority=9, reason="lost a night")
    assert isinstance(event, BackfillRequested)
    assert (event.times, event.spec.job_data, event.spec.priority) == (world.times, {"operation": "fail"}, 9)
    assert world.job.backfill == ID
    assert world.backfill.due_at == NOON
    with pytest.raises(IllegalTransition, match=ID):
        world.request(a_job_id(partition=3))


def test_a_request_of_nothing_is_completed_at_once():
    world = World(0)
    assert [type(each) for each in world.request()] == [BackfillRequested, BackfillCompleted]
    assert world.backfill.over
    assert world.backfill.due_at is None
    assert world.job.backfill is None
    assert world.wakes() == []


def test_a_request_made_up_from_an_older_revision_is_refused():
    world = World(2)
    with pytest.raises(StaleRevision):
        world.request(if_revision=(2,))


def test_runs_are_asked_for_oldest_first_as_many_as_may_be_unfinished():
    world = World(3, max_parallel=2)
    world.request()
    advanced, first, second = world.wakes()
    assert isinstance(advanced, BackfillAdvanced)
    assert [first.scheduled_for, second.scheduled_for] == [at(-86_400), at(-86_340)]
    assert (first.trigger, first.of, first.backfill) == ("backfill", "2026-11-22T12:00:00.000Z", ID)
    assert (first.fires_at, first.follows, first.correlation_id) == (NOON, False, "c")
    assert world.backfill.due_at is None
    assert world.wakes() == []
    world.now = at(5)
    (_, counted) = world.ends(world.backfill.unfinished[0])
    assert counted.succeeded == 1
    assert world.backfill.due_at == at(5)
    assert [each.scheduled_for for each in world.wakes()[1:]] == [at(-86_280)]


def test_what_one_wake_asks_for_is_bounded_and_the_rest_is_due_at_once():
    world = World(70, max_parallel=50)
    world.request()
    assert len(world.wakes()) == 1 + RUNS_A_WAKE
    assert world.backfill.due_at == NOON
    while world.wakes():
        pass
    assert len(world.backfill.unfinished) == 50
    assert world.backfill.due_at is None


def test_it_is_completed_in_the_unit_of_its_last_run():
    world = World(2, max_parallel=2)
    world.request()
    world.wakes()
    one, two = world.backfill.unfinished
    assert [type(each) for each in world.ends(one, ENDS[1])] == [RunFailed, BackfillAdvanced]
    world.now = at(9)
    *_, completed = world.ends(two, SUCCEEDED, RunOutput(attempt=1, text="told"))
    assert completed == BackfillCompleted(succeeded=1, failed=1, completed_at=at(9))
    assert world.job.backfill is None
    assert world.backfill.over


def test_an_end_counts_once_and_only_that_of_its_own_run():
    world = World(2, max_parallel=2)
    world.request()
    world.wakes()
    one, _ = world.backfill.unfinished
    assert backfilling.after_ends(world.backfill, [_of(a_job_id(), SUCCEEDED)], NOON) == ()
    assert (
        world.takes(backfilling.after_ends(world.backfill, [_of(one, RunOutput(attempt=1, text=""))], NOON))
        == []
    )
    world.ends(one)
    assert world.ends(one) == [SUCCEEDED]
    assert world.backfill.succeeded == 1


def _of(run_id, event):
    return Change(subject=f"run:{run_id}", event=event, job=JOB)


def test_a_cancelled_one_asks_for_no_more_and_counts_what_goes_on():
    world = World(5, max_parallel=2)
    world.request()
    world.wakes()
    one, two = world.backfill.unfinished
    assert world.does(f"backfill:{ID}", CancelBackfill(by="bob", reason="enough")) == [
        BackfillCancelled(by="bob", reason="enough", cancelled_at=NOON)
    ]
    assert world.job.backfill is None
    assert world.wakes() == []
    assert not world.backfill.over
    world.ends(one)
    assert [type(each) for each in world.ends(two, ENDS[2])] == [RunCancelled, BackfillAdvanced]
    assert (world.backfill.succeeded, world.backfill.failed) == (1, 1)
    assert world.backfill.over
    assert world.does(f"backfill:{ID}", CancelBackfill(by="bob")) == []


def test_one_that_is_completed_or_unknown_can_not_be_cancelled():
    world = World(0)
    with pytest.raises(NoSuchBackfill):
        world.does(f"backfill:{ID}", CancelBackfill(by="bob"))
    assert world.wakes() == []
    world.request()
    with pytest.raises(IllegalTransition, match="completed"):
        world.does(f"backfill:{ID}", CancelBackfill(by="bob"))


def test_a_deleted_job_takes_its_backfill_with_it_and_its_own_event_is_the_last():
    world = World(5)
    world.request()
    cancelled, deleted = world.does(f"job:{JOB}", DeleteJob(by="ann"))
    assert isinstance(cancelled, BackfillCancelled)
    assert isinstance(deleted, JobDeleted)
    assert world.wakes() == []


def test_a_paused_job_s_backfill_goes_on_and_leaves_the_schedule_alone():
    world = World(5)
    world.does(f"job:{JOB}", PauseJob(by="ann"))
    world.now = at(600)
    before = world.job
    world.request()
    assert len(world.wakes()) == 2
    assert (world.job.next_for, world.job.decided_to, world.job.runs) == (before.next_for, None, 0)
    assert world.job.active == ()


def test_its_snapshot_is_read_as_it_was_written():
    world = World(3, max_parallel=2)
    world.request()
    world.wakes()
    ref, state = f"backfill:{ID}", world.backfill
    apart, spec = snapshot.dump_apart(state).encode(), snapshot.dump_spec(state).encode()
    assert b"times" not in apart
    assert snapshot.read(ref, b"1-1", apart, spec, b"").state == state
    assert snapshot.load(backfill.Backfill, snapshot.dump(state).encode()) == state


def test_the_largest_that_may_be_asked_for_fits_into_an_event():
    names = tuple("E" * 200 for _ in range(50))
    retry = RetryPolicy(retry_on=names, give_up_on=names)
    world = World(0, retry=retry, job_data={"text": "x" * (64 * 1024 - 11)})
    world.times = tuple(ids.to_ms(at(n)) for n in range(TIMES_MAX))
    (event,) = world.request(reason="ü" * 500)
    assert DATA_MAX * 3 // 4 < len(envelope.encode(event).encode()) < DATA_MAX


@given(
    st.integers(0, 60),
    st.integers(1, 30),
    st.lists(st.tuples(st.sampled_from(["wake", "end", "end"]), st.integers(0, 99), st.sampled_from(ENDS))),
)
def test_in_whatever_order_each_occurrence_runs_once_and_never_more_than_may(count, max_parallel, steps):
    world = World(count, max_parallel)
    world.request()
    for step, which, end in [*steps, *[("wake", 0, SUCCEEDED), ("end", 0, SUCCEEDED)] * count]:
        unfinished = world.backfill.unfinished
        if step == "wake":
            world.wakes()
        elif unfinished:
            world.ends(unfinished[which % len(unfinished)], end)
        state = world.backfill
        assert len(state.unfinished) <= max_parallel
        assert state.over or state.due_at is not None or state.unfinished
        assert state.requested == state.succeeded + state.failed + len(state.unfinished)
    assert list(world.times) == [ids.to_ms(each.scheduled_for) for each in world.requests]
    assert world.backfill.status == "completed"
    assert world.job.backfill is None
    ended = [each for each in world.events if type(each) in map(type, ENDS)]
    assert sum(each is SUCCEEDED for each in ended) == world.backfill.succeeded
    assert len({run.evolve(None, _of("r", each)).scheduled_for for each in world.requests}) == count
