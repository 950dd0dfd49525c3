"""Golden histories: what any build ever wrote is read, folded and projected for ever; shapes change by versions only.

`tests/histories/record.py` says how to add to them. What is kept is never edited.
"""

import hashlib
import json

import pytest

from shared.domain import events
from shared.eventlog import envelope
from shared.eventlog.envelope import decode, encode
from tests.histories import record, shapes
from tests.histories.outcome import outcome_of, recorded

HISTORIES = sorted(set(record.HERE.glob("*.jsonl")) - {record.SAMPLES})
KEPT = json.loads(record.SHAPES.read_text())
SAMPLES = [json.loads(line) for line in record.SAMPLES.read_text().splitlines()]
VERSIONS = {(event.__name__, v) for event in events.ALL for v in range(1, event.VERSION + 1)}
OUTCOMES = json.loads(record.OUTCOMES.read_text())


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_history_is_read_folded_and_projected_as_when_it_was_kept(path):
    assert outcome_of(path) == OUTCOMES[path.stem]


def test_each_version_that_there_has_been_is_in_a_history_or_among_the_samples():
    in_logs = {(each.type, each.v) for path in HISTORIES for each in recorded(path)}
    assert VERSIONS - in_logs - {(line["type"], line["v"]) for line in SAMPLES} == set()
    told = {name for name, _ in in_logs}
    assert len(told) >= 32  # of the types, too few to have said nothing


@pytest.mark.parametrize("line", SAMPLES, ids=lambda line: f"{line['type']} {line['v']} {line['shape'][:8]}")
def test_a_sample_is_read_and_written_again(line):
    event = decode(line["type"], line["v"], line["data"])
    now = encode(event)
    assert decode(type(event).__name__, event.VERSION, now) == event
    if line["shape"] == shapes.shape_of(type(event)):
        assert json.loads(now) == json.loads(line["data"])


@pytest.mark.parametrize("event", events.ALL, ids=lambda event: event.__name__)
def test_a_class_has_the_shape_that_is_kept_of_its_version(event):
    name = f"{event.__name__} {event.VERSION}"
    kept = KEPT["shapes"].get(name)
    assert kept is not None, f"{name} is new: `python -m tests.histories.record` keeps its shape"
    assert kept == shapes.shape_of(event), (
        f"{name} has changed its shape. If a release has had it, raise its VERSION and write an upcaster; then "
        "`python -m tests.histories.record`"
    )


def test_what_is_kept_is_never_edited():
    sums = dict(reversed(line.split("  ")) for line in record.SUMS.read_text().splitlines())
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in HISTORIES}
    assert set(KEPT["open"]) <= set(KEPT["shapes"])
    assert {f"{line['type']} {line['v']}" for line in SAMPLES} == set(KEPT["shapes"])


# The recorder.


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("SHAPES", "SAMPLES", "SUMS", "OUTCOMES"):
        monkeypatch.setattr(record, name, tmp_path / getattr(record, name).name)
    monkeypatch.setattr(record, "HERE", tmp_path)
    record.keep_shapes()
    return tmp_path


def a_class(**fields):
    """JobDeleted, as somebody might make it."""
    names = {"__annotations__": fields, "__module__": events.__name__, "VERSION": 1} | {
        name: None for name, kind in fields.items() if "None" in str(kind)
    }
    return type(events.Event)("JobDeleted", (events.JobDeleted,), names, frozen=True, kw_only=True)


def changed_to(monkeypatch, event):
    monkeypatch.setattr(
        events, "ALL", (*(each for each in events.ALL if each is not events.JobDeleted), event)
    )
    monkeypatch.setitem(envelope._TYPES, "JobDeleted", event)


def test_a_field_with_a_default_may_come_until_a_release_and_the_old_sample_stays(folder, monkeypatch):
    before = (folder / "samples.jsonl").read_text()
    changed_to(monkeypatch, a_class(reason=str | None))
    record.keep_shapes()
    after = (folder / "samples.jsonl").read_text()
    assert after.startswith(before)
    (line,) = after.removeprefix(before).splitlines()
    assert '"reason\\": \\"text\\"' in line or '\\"reason\\":\\"text\\"' in line


def test_a_field_without_a_default_is_refused(folder, monkeypatch):
    changed_to(monkeypatch, a_class(reason=str))
    with pytest.raises(ValueError, match="reason"):
        record.keep_shapes()


def test_a_version_that_was_released_has_the_shape_it_has(folder, monkeypatch):
    record.main(["--released"])
    changed_to(monkeypatch, a_class(reason=str | None))
    with pytest.raises(SystemExit, match="JobDeleted 1 was released with another shape"):
        record.keep_shapes()


def test_a_history_is_not_recorded_over_another(folder):
    opened = '{"epoch":7,"reason":"first","previous":null,"partitions":1}'
    rows = [[0, 7, 1, "i", "LogOpened", 1, "log", "", "subject", 1, "a", "", "", "", opened]]
    record.keep_history("001-a", rows)
    before = (folder / "001-a.jsonl").read_bytes()
    with pytest.raises(SystemExit, match="is kept"):
        record.keep_history("001-a", rows * 2)
    assert (folder / "001-a.jsonl").read_bytes() == before


def test_a_shape_goes_by_what_is_written_not_by_what_is_said_of_it():
    shape = {event: shapes.shape_of(event) for event in (a_class(), a_class(reason=str), a_class(reason=int))}
    assert len(set(shape.values())) == 3
    documented = a_class()
    documented.__doc__ = "Something else."
    assert shapes.shape_of(documented) == shapes.shape_of(a_class())
