"""Violations in what was decided: a story is written again from edited events, and all ledgers tell it alike."""

import json
from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain import ids
from shared.testing import a_job_id, chance
from tests.integration.audit_kit import says, tells


def _at(events, kind, *, nth=0, **data):
    """Index of the nth event of a type whose data says so."""
    return [n for n, event in enumerate(events) if event.type == kind and says(event, **data)][nth]


def _edited(kind, *, nth=0, where=None, **data):
    """A story in which one event has other data; a function makes the new value from the old one."""

    async def plant(copy):
        def edit(events):
            at = _at(events, kind, nth=nth, **(where or {}))
            told = json.loads(events[at].data)
            fresh = {name: value(told[name]) if callable(value) else value for name, value in data.items()}
            events[at] = tells(events[at], **fresh)
            return events

        await copy.retells(edit)

    plant.__name__ = f"another {kind}"
    return plant


def _later(**delta):
    return lambda text: (datetime.fromisoformat(text) + timedelta(**delta)).isoformat().replace("+00:00", "Z")


def _fired(events):
    """The first two firings of the job that has several."""
    return _at(events, "RunRequested", trigger="schedule"), _at(
        events, "RunRequested", trigger="schedule", nth=1
    )


async def an_occurrence_is_skipped_in_silence(copy):
    def edit(events):
        del events[_at(events, "OccurrencesSkipped", reason="overlap")]
        return events

    await copy.retells(edit)


async def an_occurrence_is_swallowed_by_a_change(copy):
    def edit(events):
        skipped = _at(events, "OccurrencesSkipped", reason="paused")
        following = json.loads(events[skipped].data)["next_for"]
        resumed = _at(events, "JobResumed")
        events[resumed] = tells(events[resumed], resumed_at=_later(seconds=1)(following))
        return events

    await copy.retells(edit)


async def an_occurrence_is_decided_out_of_order(copy):
    def edit(events):
        one, two = _fired(events)
        earlier = _later(seconds=-1)(json.loads(events[one].data)["scheduled_for"])
        events[one] = tells(events[one], next_for=earlier)
        events[two] = tells(events[two], scheduled_for=earlier, fires_at=earlier)
        return events

    await copy.retells(edit)


async def an_occurrence_is_decided_again_after_a_change(copy):
    def edit(events):
        completed = _at(events, "JobCompleted", nth=-1)
        job = events[completed].subject
        requested = events[completed - 1]
        changed = next(e for e in events if e.type == "JobUpdated" and e.subject == job)
        at = json.loads(requested.data)["scheduled_for"]
        again = [
            _copied(tells(changed, next_for=at)),
            _copied(requested, subject=f"run/{a_job_id(0, datetime.fromisoformat(at))}"),
            _copied(events[completed]),
        ]
        return [*events[: completed + 1], *again, *events[completed + 1 :]]

    await copy.retells(edit)


async def a_run_fires_after_the_time_of_the_next(copy):
    """As it was announced, but its order isn't kept."""

    def edit(events):
        at = next(
            n
            for n, event in enumerate(events)
            if event.type == "RunRequested" and event.job == copy.told["skipped"]
        )
        told = json.loads(events[at].data)
        late = _later(seconds=1)(told["next_for"])
        announcing = max(n for n in range(at) if events[n].subject == f"job/{events[at].job}")
        events[announcing] = tells(events[announcing], next_fires_at=late)
        events[at] = tells(events[at], fires_at=late, requested_at=late)
        return events

    await copy.retells(edit)


async def a_paused_job_fires(copy):
    def edit(events):
        at, _ = _fired(events)
        when = _later(seconds=-1)(json.loads(events[at].data)["scheduled_for"])
        paused, resumed = events[_at(events, "JobPaused")], events[_at(events, "JobResumed")]
        subject = f"job/{events[at].job}"
        before = _copied(tells(paused, paused_at=when), subject=subject)
        after = _copied(tells(resumed, resumed_at=when), subject=subject)
        return [*events[:at], before, events[at], after, *events[at + 1 :]]

    await copy.retells(edit)


async def a_deleted_job_skips(copy):
    def edit(events):
        deleted = events[_at(events, "JobDeleted")]
        at = _at(events, "OccurrencesSkipped", reason="misfire")
        when = _later(seconds=-1)(json.loads(events[at].data)["from"])
        return [
            *events[:at],
            _copied(tells(deleted, deleted_at=when), subject=events[at].subject),
            *events[at:],
        ]

    await copy.retells(edit)


async def a_run_starts_beside_another(copy):
    def edit(events):
        _, second = _fired(events)
        ended = _at(events, "RunSucceeded")
        assert ended < second
        return [*events[:ended], *events[ended + 1 : second + 1], events[ended], *events[second + 1 :]]

    await copy.retells(edit)


async def a_run_that_waits_is_forgotten(copy):
    def edit(events):
        held = {e.subject for e in events if e.type == "RunRequested" and e.change().event.held}
        released = next(e for e in events if e.type == "RunQueued" and e.subject in held)
        gone = [e for e in events if e.subject == released.subject and e.type in ("RunQueued", "RunStarted")]
        return [event for event in events if event not in gone]

    await copy.retells(edit)


async def a_run_waits_for_nothing(copy):
    def edit(events):
        at = _at(events, "RunRequested", held=True)
        requested = [e for e in events[:at] if e.job == events[at].job and e.type == "RunRequested"]
        ours = [e for e in events if e.subject == requested[0].subject]
        return [event for event in events if event not in ours]

    await copy.retells(edit)


async def a_run_ends_twice(copy):
    def edit(events):
        at = _at(events, "RunSucceeded")
        return [*events[: at + 1], _copied(events[at]), *events[at + 1 :]]

    await copy.retells(edit)


async def a_run_goes_on_after_its_end(copy):
    def edit(events):
        at = _at(events, "RunCancelled")
        output = replace(
            _copied(events[_at(events, "RunOutput")]), subject=events[at].subject, job=events[at].job
        )
        return [*events[: at + 1], output, *events[at + 1 :]]

    await copy.retells(edit)


async def an_attempt_is_left_out(copy):
    def edit(events):
        ends = _at(events, "RunOutput") + 1
        attempt = json.loads(events[ends].data)["attempt"]
        for at, event in enumerate(events):
            if (
                event.subject == events[ends].subject
                and event.type != "RunLost"
                and says(event, attempt=attempt)
            ):
                events[at] = tells(event, attempt=attempt + 1)
        return events

    await copy.retells(edit)


async def a_cancel_answers_an_older_start(copy):
    def edit(events):
        at = _at(events, "RunCancelled", attempt=1)
        events[at] = replace(events[at], cause="another")
        return events

    await copy.retells(edit)


async def a_run_expires_after_its_start(copy):
    def edit(events):
        at = _at(events, "RunExpired")
        started = next(
            e for e in events if e.type == "RunStarted" and e.subject.endswith(copy.told["poison"])
        )
        lost = next(e for e in events if e.type == "RunLost" and e.subject == started.subject)
        queued = events[_at(events, "RunQueued", reason="lost")]
        of_it = {"subject": events[at].subject, "job": events[at].job}
        more = [_copied(started, **of_it), _copied(lost, **of_it), _copied(queued, **of_it)]
        return [*events[:at], *more, *events[at:]]

    await copy.retells(edit)


async def a_result_answers_an_older_start(copy):
    def edit(events):
        at = _at(events, "RunOutput") + 1
        older = next(e for e in events if e.type == "RunStarted" and e.subject == events[at].subject)
        events[at] = replace(events[at], cause=older.id)
        return events

    await copy.retells(edit)


async def an_output_answers_an_older_start(copy):
    def edit(events):
        at = _at(events, "RunOutput")
        events[at] = replace(events[at], cause="another")
        return events

    await copy.retells(edit)


async def a_run_starts_again_without_a_reason(copy):
    def edit(events):
        del events[_at(events, "RunInterrupted")]
        return events

    await copy.retells(edit)


async def a_run_starts_again_without_being_queued(copy):
    def edit(events):
        del events[_at(events, "RunQueued", reason="interrupted")]
        return events

    await copy.retells(edit)


def _copied(event, **changes):
    return replace(event, id=ids.event_id(event.at, chance()), **changes)


async def a_newer_event_stands_there(copy):
    def edit(events):
        at = _at(events, "RunOutput")
        events[at] = replace(events[at], v=99)
        return events

    await copy.retells(edit)


async def a_newer_event_of_a_job_stands_there(copy):
    def edit(events):
        at = _at(events, "JobUpdated")
        events[at] = replace(events[at], v=99)
        return events

    await copy.retells(edit)


async def a_job_is_erased_that_is_not_deleted(copy):
    def edit(events):
        del events[_at(events, "PersonalDataErased") - 1]
        return events

    await copy.retells(edit)


async def a_key_is_revoked_that_nobody_issued(copy):
    def edit(events):
        del events[_at(events, "ApiKeyIssued", nth=1)]
        return events

    await copy.retells(edit)


STORIES = [
    (_edited("RunRequested", where={"trigger": "schedule"}, next_for=_later(seconds=1)), {"occurrences"}),
    (_edited("ScheduleReplanned", next_for=_later(seconds=1)), {"occurrences"}),
    (_edited("ScheduleReplanned", replanned_at=_later(hours=2)), {"occurrences"}),
    (an_occurrence_is_skipped_in_silence, {"occurrences"}),
    (an_occurrence_is_swallowed_by_a_change, {"occurrences"}),
    (an_occurrence_is_decided_again_after_a_change, {"occurrences"}),
    (an_occurrence_is_decided_out_of_order, {"order"}),
    (a_paused_job_fires, {"firings"}),
    (_edited("RunRequested", where={"trigger": "schedule"}, fires_at=_later(seconds=0.5)), {"jitter"}),
    (a_run_fires_after_the_time_of_the_next, {"jitter"}),
    (_edited("OccurrencesSkipped", where={"reason": "excluded"}, reason="misfire"), {"excluded"}),
    (_edited("OccurrenceExcluded", scheduled_for=_later(seconds=60)), {"excluded"}),
    (a_deleted_job_skips, {"firings"}),
    (a_run_starts_beside_another, {"overlaps"}),
    (a_run_that_waits_is_forgotten, {"overlaps", "standing"}),
    (a_run_waits_for_nothing, {"overlaps"}),
    (a_run_ends_twice, {"ends"}),
    (a_run_goes_on_after_its_end, {"ends"}),
    (a_run_expires_after_its_start, {"ends"}),
    (an_attempt_is_left_out, {"attempts"}),
    (a_result_answers_an_older_start, {"results"}),
    (a_cancel_answers_an_older_start, {"results"}),
    (an_output_answers_an_older_start, {"results"}),
    (_edited("RunFailed", attempt=2), {"results"}),
    (_edited("RunFailed", nth=1, attempt=2), {"results"}),
    (_edited("RunLost", attempt=7), {"results"}),
    (a_run_starts_again_without_a_reason, {"restarts"}),
    (a_run_starts_again_without_being_queued, {"restarts"}),
    (_edited("RunRetryPlanned", wake_at=_later(days=1)), {"retries"}),
    (a_job_is_erased_that_is_not_deleted, {"erasures"}),
    # The projector records what it can't read, and is still right to.
    (a_key_is_revoked_that_nobody_issued, {"readable"}),
    (a_newer_event_stands_there, {"readable", "refused"}),
    (a_newer_event_of_a_job_stands_there, {"readable", "refused"}),
]  # fmt: skip
"""How each is planted in a copy, and the lines that see it."""
