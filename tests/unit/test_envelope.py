"""How events are written, read back, lifted and shown."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import events, job, retry, run, schedule, spec
from shared.domain.events import Event, RunSucceeded
from shared.domain.value import Value
from shared.eventlog import envelope, snapshot
from shared.eventlog.envelope import Recorded, cloudevent, decode, encode, json_text
from shared.eventlog.keys import TAGS, Keys
from shared.eventlog.position import BadPosition, Position, format_places, parse_places
from shared.eventlog.upcast import upcast
from shared.testing import NOON, a_job_id, a_spec, at

JOB = a_job_id()


def a_created():
    return events.JobCreated(
        spec=a_spec(every=10), owner="ann", tenant="t", created_at=NOON, anchor_at=NOON, next_for=at(10)
    )


def recorded(event, **changes):
    fields = {
        "partition": 2, "position": Position(7, 9), "id": "e1", "type": type(event).__name__, "v": 1,
        "subject": f"job/{JOB}", "job": "", "advances": "subject", "at": 1_795_000_000_123, "actor": "ann",
        "cause": "c", "corr": "r", "trace": "", "data": encode(event),
    }  # fmt: skip
    return Recorded(**(fields | changes))


def test_an_event_is_read_back_as_it_was_written():
    event = a_created()
    assert decode("JobCreated", 1, encode(event)) == event


def test_trailing_underscores_stay_inside():
    event = events.OccurrencesSkipped(from_=NOON, to=at(1), count=2, reason="misfire", next_for=None)
    assert json.loads(encode(event))["from"] == "2026-11-23T12:00:00Z"
    assert decode("OccurrencesSkipped", 1, encode(event)) == event


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        max_leaves=8,
    )
)
def test_whatever_a_handler_returns_is_storable_and_folds_to_the_same(result):
    text = encode(RunSucceeded(attempt=1, result=result))
    text.encode()  # no lone surrogate
    assert "\x00" not in json.dumps(json.loads(text), ensure_ascii=False)
    assert encode(decode("RunSucceeded", 1, text)) == text


@pytest.mark.parametrize(
    ("given_text", "stored"), [("a\x00b", "a\ufffdb"), ("\\u0000", "\\u0000"), ("\ud800", "\ufffd")]
)
def test_nul_and_lone_surrogates_are_replaced_and_nothing_else(given_text, stored):
    assert json.loads(encode(RunSucceeded(attempt=1, result=given_text)))["result"] == stored


def test_data_above_the_limit_is_refused():
    with pytest.raises(envelope.DataTooLarge):
        encode(RunSucceeded(attempt=1, result="x" * envelope.DATA_MAX))


def test_an_event_of_a_newer_build_is_not_guessed_at():
    with pytest.raises(envelope.UnknownEvent):
        decode("RunSucceeded", 2, "{}")
    with pytest.raises(envelope.UnknownEvent):
        decode("RunTeleported", 1, "{}")


def test_an_old_version_is_lifted_step_by_step_when_it_is_read(monkeypatch):
    class RunPraised(Event, frozen=True, kw_only=True):
        VERSION = 3
        by: str
        stars: int

    steps = {
        ("RunPraised", 1): lambda data: {"by": data["who"]},
        ("RunPraised", 2): lambda data: data | {"stars": 5},
    }
    monkeypatch.setitem(envelope._TYPES, "RunPraised", RunPraised)
    assert decode("RunPraised", 1, '{"who": "ann"}', steps) == RunPraised(by="ann", stars=5)
    assert decode("RunPraised", 2, '{"by": "ann"}', steps) == RunPraised(by="ann", stars=5)
    with pytest.raises(KeyError):
        upcast("RunPraised", 1, 3, {"who": "ann"}, {})


def test_every_event_leaves_as_a_cloudevent():
    shown = cloudevent(recorded(a_created()), prefix="daybook")
    assert (shown["specversion"], shown["type"], shown["sequence"]) == (
        "1.0",
        "io.daybook.job.created",
        "2:7-9",
    )
    assert (shown["partitionkey"], shown["subject"]) == (JOB, f"job/{JOB}")
    assert shown["time"].endswith(".123Z")
    assert shown["data"]["spec"]["schedule"]["interval_seconds"] == 10


def test_equal_states_give_equal_snapshots_however_they_came_about():
    change = events.Change(subject=f"job:{JOB}", event=a_created())
    told = events.Change(subject=f"job:{JOB}", event=decode("JobCreated", 1, encode(a_created())))
    assert snapshot.dump(job.evolve(None, change)) == snapshot.dump(job.evolve(None, told))
    assert snapshot.load(job.Job, snapshot.dump(job.evolve(None, change)).encode()) == job.evolve(None, told)


SPARING = [
    kind
    for module in (events, job, run, schedule, spec, retry)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Value) and kind.__struct_config__.omit_defaults
]


@pytest.mark.parametrize("kind", SPARING, ids=lambda kind: kind.__name__)
def test_only_what_is_plainly_nothing_is_left_out_of_json(kind):
    """Any other default is compared by identity: two equal states would not always give equal text."""
    for field in msgspec.structs.fields(kind):
        if field.default is not msgspec.NODEFAULT:
            assert any(field.default is nothing for nothing in (None, False, 0, "", ())), field.name


def test_what_is_left_out_is_what_it_was_when_it_is_read_back():
    told = spec.JobSpec(name="j", job_type="custom", schedule=schedule.Schedule(interval_seconds=10))
    text = json_text(told)
    assert json.loads(text).keys() == {
        "name", "job_type", "schedule", "timeout_seconds", "retry", "priority", "queue", "misfire_policy",
        "misfire_grace_seconds", "overlap_policy", "max_lost",
    }  # fmt: skip
    read = envelope.decoder(spec.JobSpec)(text.encode())
    assert read == told
    assert json_text(read) == text
    spelt = json.dumps({**json.loads(text), "description": "", "tags": [], "chain": None, "job_data": {}})
    assert json_text(envelope.decoder(spec.JobSpec)(spelt.encode())) == text


def test_a_newer_shape_is_not_ours_to_read():
    text = snapshot.dump(job.evolve(None, events.Change(subject=f"job:{JOB}", event=a_created())))
    with pytest.raises(snapshot.NewerShape):
        snapshot.load(job.Job, f'{{"shape":99,{text.partition(",")[2]}'.encode())


@pytest.mark.parametrize("masters", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("partitions", [16, 64])
def test_tags_spread_over_the_masters_of_a_cluster(masters, partitions):
    import binascii  # noqa: PLC0415 - the CRC that Redis Cluster uses

    slots = [binascii.crc_hqx(tag.encode(), 0) % 16384 for tag in TAGS[:partitions]]
    loads = [sum(1 for slot in slots if slot * masters // 16384 == master) for master in range(masters)]
    assert min(loads) >= partitions // masters - 1
    assert len(set(TAGS)) == 64


def test_all_keys_of_a_partition_share_one_hash_tag():
    keys = Keys("p", 3)
    for key in (
        keys.meta,
        keys.log,
        keys.due,
        keys.work("q", 5),
        keys.bell("q"),
        keys.once("x"),
        keys.writer("w"),
    ):
        assert key.startswith("p:{13}:")


def test_positions_are_written_and_read_in_one_grammar():
    places = {0: Position(7, 1), 3: Position(8, 22)}
    assert format_places(places) == "0:7-1,3:8-22"
    assert parse_places("0:7-1,3:8-22", partitions=4) == places


@pytest.mark.parametrize(
    "text", ["", "7-1", "0:7", "4:7-1", "0:7-1,0:7-2", "0:-7-1", "0:07-1", "0:7-1;", "a:1-1", "0:9" * 30]
)
def test_what_is_not_a_position_is_refused(text):
    with pytest.raises(BadPosition):
        parse_places(text, partitions=4)
