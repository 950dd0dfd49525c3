"""What the end of a run hands on to the jobs that follow on it."""

import pytest
from msgspec.structs import replace

from services.timer import failure_mail
from shared.domain import deciding, ids, relay, run
from shared.domain import job as jobs
from shared.domain.commands import CancelRun, CreateJob, FailRun, StartRun, SucceedRun, TellRelay, Wake
from shared.domain.events import (
    ChainLink,
    ChainRequested,
    ChainTriggered,
    Change,
    Failure,
    RunRequested,
    RunSucceeded,
)
from shared.domain.refusals import NoSuchRun
from shared.domain.spec import Chain, run_spec
from shared.personal.sealing import ERROR as ERROR_FIELD
from shared.personal.sealing import Place, seal_text
from shared.testing import NOON, a_spec, at

JOB, RUN = ids.chance_id(NOON, 0, 1), ids.chance_id(NOON, 0, 2)
NEXT, AFTER_ALL = ids.chance_id(NOON, 1, 3), ids.chance_id(NOON, 2, 4)
CHAIN = Chain(on_success=(NEXT,), on_failure=(AFTER_ALL, NEXT), mail_on_failure=("ops@example.com",))
ERROR = Failure(class_="OSError", message="no route")
FENCE = "1-2"


def a_run(chain=CHAIN, **spec):
    event = RunRequested(
        job_id=JOB,
        scheduled_for=NOON,
        fires_at=NOON,
        trigger="manual",
        revision=1,
        spec=run_spec(a_spec(chain=chain, **spec), tenant="t"),
        follows=True,
        correlation_id="c",
        requested_at=NOON,
        depth=3,
    )
    return run.evolve(None, Change(subject=f"run:{RUN}", event=event))


def ended(state, report):
    """What the decisions on a start and then on `report` have asked of others."""
    for command in (StartRun(worker="w"), report):
        decision = run.decide(state, command, at(7), fence=FENCE)
        for change in decision.changes:
            state = run.evolve(state, change) if change.subject.startswith("run:") else state
    return [change for change in decision.changes if change.subject.startswith("relay:")]


def failed(**more):
    return FailRun(fence=FENCE, error=ERROR, names=("OSError",), draw=0.5, **more)


def test_the_end_is_handed_on_in_the_same_unit():
    (change,) = ended(a_run(), SucceedRun(fence=FENCE))
    assert (change.subject, change.job, change.both) == (f"relay:{RUN}", JOB, False)
    event = change.event
    assert (event.outcome, event.followers, event.mail_to, event.error) == ("succeeded", (NEXT,), (), None)
    assert (event.depth, event.correlation_id, event.requested_at) == (3, "c", at(7))


def test_a_failure_for_good_goes_to_others_and_by_mail():
    (change,) = ended(a_run(), failed(give_up=True))
    event = change.event
    assert (event.outcome, event.followers) == ("failed", (AFTER_ALL, NEXT))
    assert (event.mail_to, event.error) == (("ops@example.com",), ERROR)


def test_a_failure_that_is_tried_again_is_no_end():
    assert ended(a_run(), failed()) == []


def test_a_run_that_nobody_started_in_time_counts_as_failed():
    state = a_run(start_deadline_seconds=5)
    changes = run.decide(state, Wake(), at(6), fence="").changes
    assert [type(change.event).__name__ for change in changes] == ["RunExpired", "ChainRequested"]
    assert changes[1].event.outcome == "expired"


def test_a_run_that_was_cancelled_leads_to_nothing():
    changes = run.decide(a_run(), CancelRun(by="ann"), NOON, fence="").changes
    assert [type(change.event).__name__ for change in changes] == ["RunCancelled"]


def test_a_decision_that_does_nothing_leads_to_nothing_either():
    state = a_run()
    for command in (StartRun(worker="w"), CancelRun(by="ann")):
        for change in run.decide(state, command, at(1), fence=FENCE).changes:
            state = run.evolve(state, change)
    assert run.decide(state, CancelRun(by="bob"), at(2), fence=FENCE).changes == ()
    assert run.decide(a_run(), Wake(), at(2), fence="").changes == ()


@pytest.mark.parametrize("chain", [None, Chain(on_failure=(NEXT,))])
def test_where_nobody_follows_nothing_is_asked(chain):
    assert ended(a_run(chain), SucceedRun(fence=FENCE)) == []


def waiting():
    return relay.evolve(None, ended(a_run(), failed(give_up=True))[0])


def test_it_is_due_at_once_until_everybody_was_told_and_then_over():
    state = waiting()
    assert (state.due_at, state.over) == (at(7), False)
    links = (ChainLink(job_id=NEXT, run_id=RUN), ChainLink(job_id=AFTER_ALL, refused="paused"))
    (told,) = relay.decide(state, TellRelay(links=links)).changes
    assert told.event == ChainTriggered(links=links)
    state = relay.evolve(state, told)
    assert (state.due_at, state.over) == (None, True)
    assert relay.decide(state, TellRelay(links=links)).changes == ()


def test_what_it_can_not_be():
    with pytest.raises(NoSuchRun):
        relay.decide(None, Wake())
    with pytest.raises(ValueError, match="before any ChainRequested"):
        relay.evolve(None, Change(subject=f"relay:{RUN}", event=ChainTriggered(links=())))
    state = waiting()
    assert relay.evolve(state, Change(subject=f"relay:{RUN}", event=RunSucceeded(attempt=1))) == state
    assert relay.decide(state, Wake()).changes == ()
    assert isinstance(ended(a_run(), SucceedRun(fence=FENCE))[0].event, ChainRequested)


def test_a_message_that_is_sealed_is_not_mailed():
    key = b"k" * 32
    plain, sealed = (
        "no mailbox ann@example.com",
        seal_text("no mailbox ann@example.com", key, Place(JOB, ERROR_FIELD)),
    )
    job = deciding.decide(None, CreateJob(job_id=JOB, spec=a_spec(), owner="o", tenant="t"), NOON).changes[0]
    for message, shown in ((plain, plain), (sealed, "(personal data: the execution shows it)")):
        state = replace(waiting(), error=Failure(class_="OSError", message=message))
        body = failure_mail.data(state, jobs.evolve(None, job))["body"]
        assert f"OSError: {shown}\n" in body
        assert "$personal" not in body
