"""A cold copy in a directory: whatever is changed in it is found, and named."""

import re

import msgspec
import pytest

from shared.readmodel.chain import FIELDS, GENESIS, link
from shared.readmodel.cold.directory import Directory
from shared.readmodel.cold.manifest import BadSegment, Manifest
from shared.readmodel.cold.proving import prove
from shared.readmodel.cold.segments import Chain, SegmentWriter, written

TYPES = ["LogOpened", "JobCreated", "RunRequested", "RunStarted", "RunSucceeded", "JobDeleted"]


def an_event(pos, **changes):
    event = {
        "partition": 0, "epoch": 7, "pos": pos, "id": f"01a2-{pos}", "type": TYPES[pos % 6], "v": 1,
        "subject": "job/a", "job": "a", "advances": "both", "at": 1_795_000_000_000 + pos, "actor": "ann",
        "cause": "c", "corr": "r", "trace": "t", "data": f'{{"n":{pos},"text":"\\u00fc"}}',
    }  # fmt: skip
    return tuple((event | changes)[name] for name in FIELDS)


EVENTS = [an_event(pos) for pos in range(1, 7)]


def linked(events, link_=GENESIS):
    for event in events:
        link_ = link(link_, event)
        yield event, link_


def a_copy(path, compression, segments):
    """Write events with their links as segments."""
    copy = Directory.made(path, Manifest(partitions=1, prefix="d", compression=compression, segments=()))
    chain = Chain()
    for some in segments:
        writer = SegmentWriter(0, chain, compression)
        for event, link_ in some:
            writer.add(event, link_)
        copy.keep(*writer.finish())
    return copy


def halves(events):
    return [events[:3], events[3:]]


def found_in(path):
    """What is wrong with the copy there."""
    try:
        return prove(Directory.read(path)).wrong
    except BadSegment as error:
        return [str(error)]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.thorough
def test_a_flipped_bit_in_any_byte_of_any_file_is_found_and_its_place_named(tmp_path, compression):
    a_copy(tmp_path, compression, [[each] for each in linked(EVENTS[:2])])
    assert found_in(tmp_path) == []
    files = sorted(tmp_path.rglob("*.jsonl*"))
    assert len(files) == 2
    files[0] = tmp_path / "manifest.json" if compression == "none" else files[0]
    for path in files:
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x01]) + whole[at + 1 :])
            wrong = found_in(tmp_path)
            assert wrong, f"byte {at} of {path.name}"
            assert path.name in wrong[0] or re.match(r"\d+:\d+-\d+: ", wrong[0]), wrong
        path.write_bytes(whole)
    assert found_in(tmp_path) == []


@pytest.mark.parametrize("field", [*FIELDS, "chain"])
def test_a_changed_field_is_named_by_its_event(tmp_path, field):
    copy = a_copy(tmp_path, "none", halves(list(linked(EVENTS))))
    path = tmp_path / copy.manifest.segments[1].name
    lines = path.read_bytes().splitlines(keepends=True)
    told = msgspec.json.decode(lines[1])
    value = told[field]
    told[field] = value + 1 if isinstance(value, int) else chr(ord(value[0]) ^ 1) + value[1:]
    lines[1] = msgspec.json.encode(told) + b"\n"
    path.write_bytes(b"".join(lines))
    first = found_in(tmp_path)[0]
    place = f"{told['partition']}:{told['epoch']}-{told['pos']}"
    assert first.startswith(f"{place}: "), first
    assert "its link doesn't follow" in first or (field == "pos" and "positions 5 to 5 are missing" in first)


def test_a_changed_blank_is_named_to_the_byte(tmp_path):
    copy = a_copy(tmp_path, "none", [list(linked(EVENTS))])
    path = tmp_path / copy.manifest.segments[0].name
    whole = path.read_bytes()
    at = len(written(*next(linked(EVENTS)))) + len('{"partition":')
    path.write_bytes(whole[:at] + b" " + whole[at:])
    assert found_in(tmp_path) == [
        f"0:7-2: byte {at} of the lines of {copy.manifest.segments[0].name} is not what was written"
    ]


@pytest.mark.parametrize("gone", [slice(1, 2), slice(3, 5)])
def test_missing_events_are_counted_even_if_the_copy_was_sealed_again(tmp_path, gone):
    events = list(linked(EVENTS))
    del events[gone]
    a_copy(tmp_path, "none", halves(events))
    first, *_ = found_in(tmp_path)
    last = gone.stop + 1
    assert first == f"0:7-{last}: positions {gone.start + 1} to {last - 1} are missing before it"


def test_a_missing_segment_is_named_whether_the_manifest_names_it_or_not(tmp_path):
    copy = a_copy(tmp_path, "none", halves(list(linked(EVENTS))))
    name = copy.manifest.segments[0].name
    (tmp_path / name).unlink()
    assert found_in(tmp_path) == [f"{name} is missing; the rest of partition 0 was not read"]
    another = tmp_path / "another"
    a_copy(another, "none", [list(linked(EVENTS))[3:]])
    assert (
        found_in(another) == []
    )  # a copy may begin anywhere; that it leads through a signed head says `audit check`


def test_a_manifest_names_nothing_outside_of_its_directory(tmp_path):
    copy = a_copy(tmp_path, "none", [list(linked(EVENTS))])
    segment = msgspec.structs.replace(copy.manifest.segments[0], name="../events/p0000/x")
    copy.manifest = msgspec.structs.replace(copy.manifest, segments=(segment,))
    copy._write_manifest()
    assert found_in(tmp_path) == ["manifest.json names '../events/p0000/x', which is no segment"]


def test_only_one_export_writes_at_a_time(tmp_path):
    one = a_copy(tmp_path, "none", [list(linked(EVENTS))])
    another = Directory.read(tmp_path)
    with one.alone(), pytest.raises(BadSegment, match="another export"), another.alone():
        raise AssertionError("both wrote")
