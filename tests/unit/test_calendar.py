"""Calendars by themselves: what a command leads to, what events come to, where they stand."""

import re
from datetime import UTC, date, datetime, timedelta

import pytest

from shared.domain import calendar
from shared.domain.calendar import Calendar
from shared.domain.commands import CalendarContent, ChangeCalendar, DeleteCalendar
from shared.domain.events import CalendarChanged, CalendarDeleted
from shared.domain.exclude import Span
from shared.domain.refusals import NoSuchCalendar, StaleRevision
from shared.eventlog import snapshot
from shared.eventlog.snapshot import Snapshot

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
CHRISTMAS = Span(from_=date(2026, 12, 25), to=date(2026, 12, 26))
CONTENT = CalendarContent(description="x", dates=(CHRISTMAS,), weekdays=("sun",), timezone="Europe/Berlin")
EMPTY = CalendarContent(description="", dates=(), weekdays=(), timezone=None)
REF = "calendar:acme:holidays"


def change(content=CONTENT, **conditions):
    return ChangeCalendar(name="holidays", tenant="acme", by="ann", content=content, **conditions)


def after(state, *commands, now=NOW):
    for command in commands:
        for each in calendar.decide(state, command, now).changes:
            assert each.subject == REF
            state = calendar.evolve(state, each)
    return state


MADE = after(None, change())


def test_a_calendar_is_made_changed_and_deleted_and_its_revision_counts_on():
    assert (
        Calendar(
            name="holidays",
            tenant="acme",
            revision=1,
            description="x",
            dates=(CHRISTMAS,),
            weekdays=("sun",),
            timezone="Europe/Berlin",
            created_at=NOW,
            updated_at=NOW,
            by="ann",
        )
        == MADE
    )
    changed = after(MADE, change(EMPTY), now=LATER)
    assert (changed.revision, changed.created_at, changed.updated_at) == (2, NOW, LATER)
    gone = after(changed, DeleteCalendar(by="bob"), now=LATER)
    assert (gone.revision, gone.deleted, gone.over, gone.dates, gone.by) == (3, True, False, (), "bob")
    again = after(gone, change(), now=LATER)
    assert (again.revision, again.deleted, again.created_at) == (4, False, LATER)


def test_each_event_tells_all_of_it():
    gone = after(MADE, DeleteCalendar(by="bob"), now=LATER)
    for state, command in ((MADE, change(EMPTY)), (MADE, DeleteCalendar(by="bob")), (gone, change())):
        (told,) = calendar.decide(state, command, LATER).changes
        assert type(told.event) in {CalendarChanged, CalendarDeleted}
        assert calendar.evolve(None, told) == calendar.evolve(state, told)


def test_what_is_so_already_is_no_change():
    assert not calendar.decide(MADE, change(), LATER).changes
    gone = after(MADE, DeleteCalendar(by="bob"))
    assert calendar.decide(gone, change(EMPTY), LATER).changes


def test_what_is_not_there_is_not_deleted():
    for state in (None, after(MADE, DeleteCalendar(by="bob"))):
        with pytest.raises(NoSuchCalendar):
            calendar.decide(state, DeleteCalendar(by="ann"), NOW)


@pytest.mark.parametrize(
    ("state", "conditions", "fits"),
    [
        (MADE, {"if_revision": (1, 5)}, True),
        (MADE, {"if_revision": (2,)}, False),
        (MADE, {"if_revision": ()}, False),
        (None, {"if_revision": (1,)}, False),
        (MADE, {"if_there": True}, True),
        (MADE, {"if_there": False}, False),
        (None, {"if_there": True}, False),
        (None, {"if_there": False}, True),
        (after(MADE, DeleteCalendar(by="bob")), {"if_there": False}, True),
        (after(MADE, DeleteCalendar(by="bob")), {"if_revision": (2,)}, False),
    ],
)
def test_an_edit_is_for_what_it_was_made_up_from(state, conditions, fits):
    for command in (change(EMPTY, **conditions), DeleteCalendar(by="ann", **conditions)):
        if fits and ((state is not None and not state.deleted) or isinstance(command, ChangeCalendar)):
            assert calendar.decide(state, command, NOW).changes
        elif not fits:
            with pytest.raises(StaleRevision):
                calendar.decide(state, command, NOW)


def test_a_snapshot_gives_back_what_was_put_in():
    text = snapshot.dump_apart(MADE).encode()
    assert snapshot.read(REF, b"1-2", text, b"", b"") == Snapshot(state=MADE, version="1-2")


def test_calendars_spread_over_the_partitions_and_tenants_share_none():
    stand = {calendar.partition_of(f"acme:c{number}", 4) for number in range(100)}
    assert stand == {0, 1, 2, 3}
    assert calendar.ref_of("acme", "holidays") == REF != calendar.ref_of("bits", "holidays")


@pytest.mark.parametrize("name", ["holidays", "a", "de.by_2026-27", "7", "x" * 100])
def test_names(name):
    assert re.fullmatch(calendar.NAME, name)


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a:b", "a/b", "ü", "a b", "x" * 101, "a\n"])
def test_what_is_no_name(name):
    assert not re.fullmatch(calendar.NAME, name)
