"""The format of backups: what was written comes back, and what was changed does not."""

import io
import os
import random
import tarfile
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.backup.container import Reader, Writer
from shared.backup.names import Name, outlived, parsed, parsed_partial
from shared.backup.payload import Contents, Payload
from shared.backup.sealing import HEADER_BYTES, BadBackup, Damaged, WeakKey, WrongKey
from shared.backup.unpacking import leads_out

KEY = b"sixteen bytes or more"
SEALS = {None: 32, KEY: 16}
CHUNK = 1024
DATA = random.Random(7).randbytes(5 * CHUNK + 100) + b"0" * 9_000


def written(data=DATA, *, secret=KEY, compression="none"):
    buffer = io.BytesIO()
    writer = Writer(buffer.write, compression=compression, secret=secret, chunk_bytes=CHUNK)
    for begin in range(0, len(data), 777):
        writer.write(data[begin : begin + 777])
    writer.finish()
    assert (writer.payload_bytes, writer.stored_bytes) == (len(data), len(buffer.getvalue()))
    return buffer.getvalue()


def read(stored, *, secret=KEY, piece=1000):
    reader = Reader(io.BytesIO(stored), len(stored), secret=secret)
    parts = []
    while data := reader.read(piece):
        parts.append(data)
    return b"".join(parts)


@pytest.mark.parametrize("secret", [None, KEY])
@pytest.mark.parametrize("compression", ["none", "zstd", "gzip"])
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, len(DATA)])
def test_what_was_written_is_read(secret, compression, size):
    stored = written(DATA[:size], secret=secret, compression=compression)
    assert read(stored, secret=secret) == DATA[:size]


@pytest.mark.parametrize("secret", [None, KEY])
@pytest.mark.parametrize("compression", ["none", "zstd", "gzip"])
def test_each_flipped_bit_is_refused(secret, compression):
    stored = written(DATA[:3000], secret=secret, compression=compression)
    for at in [*range(HEADER_BYTES + 40), *range(HEADER_BYTES + 40, len(stored), 7), len(stored) - 1]:
        changed = bytearray(stored)
        changed[at] ^= 1 << at % 8
        with pytest.raises(BadBackup):
            read(bytes(changed), secret=secret)


@pytest.mark.parametrize("secret", [None, KEY])
def test_a_backup_that_was_cut_off_is_refused_wherever(secret):
    stored = written(secret=secret)
    for size in [*range(0, len(stored), 37), len(stored) - 1]:
        with pytest.raises(BadBackup):
            read(stored[:size], secret=secret)
    with pytest.raises(BadBackup):
        read(stored + b"x", secret=secret)


@pytest.mark.parametrize("secret", [None, KEY])
def test_chunks_that_are_swapped_doubled_dropped_or_borrowed_are_refused(secret):
    stored, another = written(secret=secret), written(secret=secret)
    full = CHUNK + SEALS[secret]
    head, chunks = (
        stored[:HEADER_BYTES],
        [stored[begin : begin + full] for begin in range(HEADER_BYTES, HEADER_BYTES + 3 * full, full)],
    )
    rest = stored[HEADER_BYTES + 3 * full :]
    theirs = another[HEADER_BYTES : HEADER_BYTES + full]
    one, two, three = chunks
    for changed in (
        [two, one, three],
        [one, one, three],
        [one, three],
        [one, one, two, three],
        [theirs, two, three],
    ):
        with pytest.raises(BadBackup):
            read(head + b"".join(changed) + rest, secret=secret)


def test_a_wrong_key_no_key_and_a_weak_key_are_told_apart():
    stored = written()
    with pytest.raises(WrongKey, match="is not the one"):
        read(stored, secret=b"another key of length")
    with pytest.raises(WrongKey, match="is encrypted"):
        read(stored, secret=None)
    with pytest.raises(WeakKey):
        written(secret=b"short")


def test_two_backups_of_the_same_have_nothing_in_common():
    one, another = written(b"0" * CHUNK), written(b"0" * CHUNK)
    assert one[HEADER_BYTES:] != another[HEADER_BYTES:]


def test_nothing_of_a_damaged_chunk_is_ever_given_out():
    stored = bytearray(written(b"a" * 4 * CHUNK))
    stored[HEADER_BYTES + 2 * (CHUNK + 16) + 5] ^= 1
    reader = Reader(io.BytesIO(bytes(stored)), len(stored), secret=KEY)
    seen = [reader.read(CHUNK) for _ in range(2)]
    with pytest.raises(Damaged):
        reader.read(CHUNK)
    assert seen == [b"a" * CHUNK] * 2


class Lying(Writer):
    """Says that its payload is shorter than it is."""

    def finish(self):
        self.payload_bytes = 10
        super().finish()


@pytest.mark.parametrize("compression", ["none", "zstd", "gzip"])
def test_a_payload_that_grows_beyond_what_it_declares_is_refused(compression):
    buffer = io.BytesIO()
    writer = Lying(buffer.write, compression=compression, secret=None, chunk_bytes=CHUNK)
    writer.write(bytes(5_000_000))
    writer.finish()
    stored = buffer.getvalue()
    reader = Reader(io.BytesIO(stored), len(stored), secret=None)
    assert reader.payload_bytes == 10
    assert reader.read(100_000) == bytes(10)
    with pytest.raises(Damaged, match="longer than was said"):
        reader.read(100_000)


class Miscounting(Writer):
    """Says that there is more of it than there is."""

    def finish(self):
        self._data_bytes += 1
        super().finish()


def test_an_end_that_speaks_of_another_length_is_refused():
    buffer = io.BytesIO()
    writer = Miscounting(buffer.write, compression="none", secret=None, chunk_bytes=CHUNK)
    writer.write(DATA)
    writer.finish()
    with pytest.raises(Damaged, match="another length"):
        read(buffer.getvalue(), secret=None)


# The payload.


def payload(fill):
    buffer = io.BytesIO()
    made = Payload(buffer, {"backup_type": "files"})
    fill(made)
    made.finish({"more": 1})
    return buffer.getvalue()


def test_streams_of_unknown_length_come_in_parts():
    data = os.urandom(9_000_000)

    def fill(made):
        parts = made.parts("dump")
        for begin in range(0, len(data), 1_000_003):
            parts.write(data[begin : begin + 1_000_003])
        parts.finish()

    contents = Contents(io.BytesIO(payload(fill)))
    found = [(member.info.name, member.file.read(-1)) for member in contents]
    assert [name for name, _ in found] == ["dump/000001", "dump/000002", "dump/000003"]
    assert b"".join(part for _, part in found) == data
    assert contents.manifest == {"more": 1, "members": 3, "bytes": len(data)}


def test_a_header_that_claims_to_be_huge_is_refused_before_it_is_read():
    claim = tarfile.TarInfo("././@PaxHeader")
    claim.type, claim.size = tarfile.XHDTYPE, 1 << 34

    class Endless(io.RawIOBase):
        def __init__(self, begin):
            self.begin = begin
            self.given = 0

        def read(self, size=-1):
            data, self.begin = self.begin[:size], self.begin[size:]
            self.given += size
            assert self.given < 20_000_000, "it would be read to its end"
            return data or b"1" * size

    begin = payload(lambda _: None)
    source = Endless(begin[:1024] + claim.tobuf(tarfile.GNU_FORMAT))  # FIRST, then the claim
    with pytest.raises(Damaged, match="headers"):
        list(Contents(source))
    assert source.given < 2_000_000


@pytest.mark.parametrize("kind", [b"1", b"3", b"4", b"6"])  # a hard link, devices, a pipe
def test_what_we_never_write_is_refused(kind):
    def fill(made):
        info = tarfile.TarInfo("files/x")
        info.type, info.linkname = kind, "files/y"
        made.add_file(info)

    with pytest.raises(Damaged, match="neither"):
        list(Contents(io.BytesIO(payload(fill))))


class Careless(Payload):
    """Counts one member more than there is."""

    def finish(self, manifest):
        self.members += 1
        super().finish(manifest)


def test_a_manifest_that_counts_otherwise_is_refused():
    buffer = io.BytesIO()
    made = Careless(buffer, {"backup_type": "files"})
    made.add("files/x", b"1")
    made.finish({})
    with pytest.raises(Damaged, match="other contents"):
        list(Contents(io.BytesIO(buffer.getvalue())))


def test_what_follows_the_manifest_or_comes_without_one_is_refused():
    buffer = io.BytesIO()
    made = Payload(buffer, {})
    made._put(tarfile.TarInfo("manifest.json"), {"members": 0, "bytes": 0})
    made.add("files/late", b"1")
    made._tar.close()
    with pytest.raises(Damaged, match="follows"):
        list(Contents(io.BytesIO(buffer.getvalue())))
    buffer = io.BytesIO()
    Payload(buffer, {})._tar.close()
    with pytest.raises(Damaged, match="without its manifest"):
        list(Contents(io.BytesIO(buffer.getvalue())))


@pytest.mark.parametrize("stored", [b"", b"no tar", bytes(10_240), payload(lambda _: None)[512:]])
def test_what_is_no_payload_is_refused(stored):
    with pytest.raises(BadBackup):
        list(Contents(io.BytesIO(stored)))


# Names.


NAME = Name(backup_type="log", at=datetime(2026, 11, 27, 2, tzinfo=UTC), job_id="0193-j", run_id="0193-r")


def test_names_say_what_they_are_and_sort_by_time():
    assert str(NAME) == "log_20261127T020000Z_0193-j_0193-r.daybook"
    assert parsed(str(NAME)) == NAME
    assert parsed_partial(NAME.partial("0" * 16)) == NAME
    for other in (
        "log.daybook",
        str(NAME) + "x",
        str(NAME).replace("log", "dog"),
        "log_20261399T020000Z_a_b.daybook",
    ):
        assert parsed(other) is None
        assert parsed_partial(other) is None


def test_only_older_backups_of_the_same_job_and_type_are_outlived():
    days = [replace(NAME, at=NAME.at.replace(day=day), run_id=f"r{day}") for day in range(20, 31)]
    others = [replace(NAME, job_id="another", at=NAME.at.replace(day=1)), replace(NAME, backup_type="files")]
    names = ["precious.txt", *map(str, others), *map(str, days)]
    newest = days[7]  # a late attempt: three newer ones are there
    assert outlived(names, newest, 5) == [str(each) for each in days[:6]]
    assert outlived(names, newest, 1) == [str(each) for each in days[:7]]
    assert outlived(names, newest, 100) == []


# Links.


@pytest.mark.parametrize(
    ("target", "depth", "out"),
    [
        ("a/b", 0, False),
        ("..", 1, False),
        ("../a", 1, False),
        ("../../a", 2, False),
        ("..", 0, True),
        ("../../a", 1, True),
        ("/etc/passwd", 3, True),
        ("a/../b", 3, True),  # `a` may be a link
        ("", 1, True),
    ],
)
def test_links_lead_out_or_not(target, depth, out):
    assert leads_out(target, depth=depth) == out
