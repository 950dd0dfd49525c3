"""Backups of files: written to a directory and to an S3 server, and restored to the byte."""

import io
import os
import socket
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from shared.backup import files, restoring
from shared.backup.payload import Payload
from shared.backup.restoring import TooLarge, to_directory
from shared.backup.restoring_database import TargetNotEmpty
from shared.backup.sealing import BadBackup, Damaged, WrongKey
from shared.backup.unpacking import Unsafe
from shared.handlers import GiveUp

from .backup_kit import METHODS, SECRET, Desk, a_bucket, a_tree, facts, sealed

KEY = SECRET.encode()


@pytest.fixture(scope="module")
def bucket():
    with a_bucket() as made:
        yield made


@pytest.fixture(params=["file", "alias", "s3"])
def desk(request, tmp_path, bucket):
    options = bucket.options if request.param == "s3" else None
    return Desk(tmp_path, request.param, options)


def restored(desk, name, target, secret=KEY, **options):
    with desk.store() as store, store.read(name) as (stored, size):
        return to_directory(stored, size, secret, target, **options)


@pytest.mark.parametrize(("compression", "encryption"), METHODS)
def test_files_come_back_as_they_were(desk, tmp_path, compression, encryption):
    tree = a_tree(desk.root / "data")
    told = desk.run(backup_type="files", paths=[str(tree)], compression=compression, encryption=encryption)
    assert desk.names() == [told["name"]]
    stored = desk.bytes(told["name"])
    assert len(stored) == told["stored_bytes"]
    assert (told["encrypted"], told["compressed"]) == (bool(encryption), compression not in {False, "none"})
    assert (told["files"], told["skipped"], told["verified"], told["deleted"]) == (6, 1, True, [])
    assert (b"hello\nhello" in stored) == (not encryption and compression is False)
    restored(desk, told["name"], tmp_path / "back")
    back = tmp_path / "back" / str(tree).lstrip("/")
    assert facts(back) == facts(tree)
    assert (back / "deep").stat().st_mtime_ns == (tree / "deep").stat().st_mtime_ns


def test_a_link_in_the_source_is_kept_as_a_link_and_never_followed(desk, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("not to be copied")
    tree = desk.root / "data"
    tree.mkdir()
    (tree / "folder").symlink_to(tmp_path / "outside")
    (tree / "file").symlink_to(tmp_path / "outside" / "precious")
    told = desk.run(backup_type="files", paths=[str(tree)])
    assert told["files"] == 0
    assert b"not to be copied" not in desk.bytes(told["name"])
    with pytest.raises(Unsafe, match="--outside-links"):
        restored(desk, told["name"], tmp_path / "back")
    assert not (tmp_path / "back").exists()
    restored(desk, told["name"], tmp_path / "back", outside_links=True)
    back = tmp_path / "back" / str(tree).lstrip("/")
    assert (back / "folder").readlink() == tmp_path / "outside"


def test_a_path_through_a_link_is_given_up_and_so_is_one_outside(desk, tmp_path):
    (tmp_path / "outside").mkdir()
    (desk.root / "way").symlink_to(tmp_path / "outside")
    for path in (desk.root / "way", tmp_path / "outside"):
        with pytest.raises(GiveUp, match="OutsideFilesRoots"):
            desk.run(backup_type="files", paths=[str(path)])
    assert not (desk.root / "kept").exists() or desk.names() == []


def test_a_destination_through_a_link_is_given_up(tmp_path):
    desk = Desk(tmp_path, "file")
    (tmp_path / "outside").mkdir()
    (desk.root / "kept").symlink_to(tmp_path / "outside")
    with pytest.raises(GiveUp, match="ThroughALink"):
        desk.run(backup_type="files", paths=[str(a_tree(desk.root / "data"))])
    assert list((tmp_path / "outside").iterdir()) == []


def test_single_files_and_several_paths_are_one_backup(desk, tmp_path):
    a_tree(desk.root / "data")
    (desk.root / "single").write_text("one")
    told = desk.run(backup_type="files", paths=[str(desk.root / "data" / "deep"), str(desk.root / "single")])
    restored(desk, told["name"], tmp_path / "back")
    back = tmp_path / "back" / str(desk.root).lstrip("/")
    assert (back / "single").read_text() == "one"
    assert facts(back / "data" / "deep") == facts(desk.root / "data" / "deep")


def test_a_socket_and_a_pipe_are_left_out_and_counted(tmp_path):
    desk = Desk(tmp_path, "file")
    tree = desk.root / "d"
    tree.mkdir()
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tree / "s"))
        told = desk.run(backup_type="files", paths=[str(tree)])
    assert (told["files"], told["skipped"]) == (0, 2)


def test_a_file_that_becomes_shorter_meanwhile_fails_the_attempt(tmp_path):
    path = tmp_path / "shrinks"
    path.write_bytes(bytes(1 << 20))
    payload = Payload(io.BytesIO(), {})
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(files.FileChanged, match="shrinks became shorter"):
            files.pack(payload, [(str(path), descriptor)], lambda _: os.truncate(path, 100_000))
    finally:
        os.close(descriptor)


def test_a_file_that_grows_meanwhile_is_as_long_as_when_it_was_opened(tmp_path):
    path = tmp_path / "grows"
    path.write_bytes(bytes(1 << 20))

    def grow(_):
        with path.open("ab") as file:
            file.write(b"more")

    descriptor = os.open(path, os.O_RDONLY)
    try:
        counted = files.pack(Payload(io.BytesIO(), {}), [(str(path), descriptor)], grow)
    finally:
        os.close(descriptor)
    assert (counted.files, counted.bytes) == (1, 1 << 20)


def test_memory_stays_small_whatever_the_size(tmp_path):
    desk = Desk(tmp_path, "file")
    with (desk.root / "large").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    desk.run(backup_type="files", paths=[str(desk.root / "large")], encryption=True, run_id="warm")
    tracemalloc.start()
    try:
        told = desk.run(backup_type="files", paths=[str(desk.root / "large")], encryption=True)
        restored(desk, told["name"], tmp_path / "back")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told["bytes"] > 64 << 20
    assert peak < 16 << 20


@pytest.mark.parametrize(("compression", "encryption"), METHODS)
def test_a_backup_can_be_read_without_daybook_as_the_document_says(tmp_path, compression, encryption):
    desk = Desk(tmp_path, "file")
    (desk.root / "large").write_bytes(os.urandom(900_000))
    told = desk.run(
        backup_type="files", paths=[str(desk.root / "large")], compression=compression, encryption=encryption
    )
    document = (Path(__file__).parents[2] / "deploy" / "backup-format.md").read_text()
    (tmp_path / "read.py").write_text(document.partition("```python\n")[2].partition("```")[0])
    payload = subprocess.run(
        [
            sys.executable,
            tmp_path / "read.py",
            desk.root / "kept" / told["name"],
            desk.secrets / "backup_key",
        ],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(payload)) as tar:
        names = tar.getnames()
        content = tar.extractfile(names[1]).read()
    assert names == ["daybook.json", "files" + str(desk.root / "large"), "manifest.json"]
    assert content == (desk.root / "large").read_bytes()


# What was changed.


@pytest.mark.parametrize("encryption", [False, True])
@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_a_flipped_byte_is_refused_and_nothing_is_restored(tmp_path, compression, encryption):
    desk = Desk(tmp_path, "file")
    told = desk.run(
        backup_type="files",
        paths=[str(a_tree(desk.root / "data"))],
        compression=compression,
        encryption=encryption,
    )
    path = desk.root / "kept" / told["name"]
    whole = path.read_bytes()
    for at in (
        0,
        8,
        20,
        60,
        70,
        5_000,
        len(whole) // 2,
        len(whole) - 300_000,
        len(whole) - 20,
        len(whole) - 1,
    ):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(BadBackup):
            restored(desk, told["name"], tmp_path / "back")
        assert [each.name for each in tmp_path.iterdir() if "back" in each.name] == []


def test_a_truncated_backup_and_a_wrong_key_are_refused(tmp_path):
    desk = Desk(tmp_path, "file")
    told = desk.run(backup_type="files", paths=[str(a_tree(desk.root / "data"))], encryption=True)
    with pytest.raises(WrongKey):
        restored(desk, told["name"], tmp_path / "back", secret=b"somebody else's key")
    path = desk.root / "kept" / told["name"]
    whole = path.read_bytes()
    for size in (0, 10, 64, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(BadBackup):
            restored(desk, told["name"], tmp_path / "back")
    assert not (tmp_path / "back").exists()


# What somebody else has made.


def member(name, content=b"x", kind=tarfile.REGTYPE, link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def hostile(tmp_path, *members, target="back", **options):
    def fill(payload):
        for info, content in members:
            payload.add_file(info, io.BytesIO(content))

    stored = sealed(fill)
    return to_directory(io.BytesIO(stored), len(stored), None, tmp_path / target, **options)


@pytest.mark.parametrize(
    "name",
    [
        "files/../../evil",
        "files//etc/evil",
        "files/..",
        "files/a/../../../evil",
        "files/./x",
        "files/",
        "files/a//b",
    ],
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(BadBackup):
        hostile(tmp_path, member(name))
    assert list(tmp_path.iterdir()) == []


def test_what_is_beside_the_files_is_refused(tmp_path):
    with pytest.raises(Damaged):
        hostile(tmp_path, member("/etc/evil"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["/etc", "..", "../outside", "a/../../outside"])
def test_links_that_lead_out_are_refused(tmp_path, target):
    with pytest.raises(Unsafe):
        hostile(tmp_path, member("files/way", kind=tarfile.SYMTYPE, link=target))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("outside_links", [False, True])
def test_nothing_is_written_through_a_link_of_the_backup(tmp_path, outside_links):
    (tmp_path / "outside").mkdir()
    link = member("files/way", kind=tarfile.SYMTYPE, link="../outside" if outside_links else "inner")
    for last in (member("files/way/evil"), member("files/way"), member("files/way", kind=tarfile.DIRTYPE)):
        with pytest.raises(BadBackup):
            hostile(
                tmp_path,
                member("files/inner", kind=tarfile.DIRTYPE),
                link,
                last,
                outside_links=outside_links,
            )
    assert list((tmp_path / "outside").iterdir()) == []
    assert [each.name for each in tmp_path.iterdir()] == ["outside"]


def test_what_stands_twice_is_refused(tmp_path):
    with pytest.raises(Damaged, match="twice"):
        hostile(tmp_path, member("files/a"), member("files/a", b"other"))


def test_bits_that_lend_rights_are_not_restored(tmp_path):
    hostile(tmp_path, member("files/sh", mode=0o6755))
    assert (tmp_path / "back" / "sh").stat().st_mode & 0o7777 == 0o755


def test_a_backup_that_grows_too_large_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    def fill(payload):
        payload.add("files/bomb", bytes(40_000_000))

    stored = sealed(fill, compression="zstd")
    assert len(stored) < 20_000
    with pytest.raises(TooLarge):
        to_directory(io.BytesIO(stored), len(stored), None, tmp_path / "back", bytes_max=30_000_000)
    free = restoring.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(restoring.shutil, "disk_usage", lambda _: free._replace(free=39_000_000))
    with pytest.raises(TooLarge):
        to_directory(io.BytesIO(stored), len(stored), None, tmp_path / "back")
    assert list(tmp_path.iterdir()) == []


# The target.


def test_a_target_that_holds_something_stays_unless_it_is_said_that_it_may_go(tmp_path):
    target = tmp_path / "back"
    target.mkdir()
    hostile(tmp_path, member("files/a"))  # an empty one is as good as none
    (target / "precious").write_text("mine")
    with pytest.raises(TargetNotEmpty):
        hostile(tmp_path, member("files/b"))
    with pytest.raises(BadBackup):
        hostile(tmp_path, member("files/b"), member("files/../c"), force=True)
    assert sorted(each.name for each in target.iterdir()) == ["a", "precious"]
    hostile(tmp_path, member("files/b"), force=True)
    assert [each.name for each in target.iterdir()] == ["b"]
    assert [each.name for each in tmp_path.iterdir()] == ["back"]
