"""A backup of files or of the log, into a directory: made beside it under another name, and renamed when all is there.

So a target is whole or as it was; a process that is killed leaves `.NAME.restoring-<16 hex digits>` beside it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from typing import TYPE_CHECKING, Any

import msgspec

from shared.backup.checking import read_log
from shared.backup.container import Reader
from shared.backup.files import FOLDER
from shared.backup.payload import Contents
from shared.backup.restoring_database import TargetNotEmpty, restore
from shared.backup.sealing import BadBackup, Damaged
from shared.backup.unpacking import Unpacking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shared.backup.container import Stored

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
ROOM_LEFT = 16 * 1024 * 1024  # bytes that stay free on the disk


class TooLarge(BadBackup):
    """What the backup grows to is more than may be, or than there is room for."""


def check_size(reader: Reader, directory: Path, bytes_max: int | None) -> None:
    """Refuse a backup that grows too large, before anything of it is written.

    Args:
        reader: of it; reading ends at the size that it declares.
        directory: on the disk that it goes to.
        bytes_max: the greatest size that is wanted; None: what there is room for.

    Raises:
        TooLarge: see there.
    """
    free = max(0, shutil.disk_usage(directory).free - ROOM_LEFT)
    allowed = free if bytes_max is None else min(free, bytes_max)
    if reader.payload_bytes > allowed:
        raise TooLarge(
            f"Restored, the backup has {reader.payload_bytes:,} bytes; {allowed:,} are free, or allowed."
        )


def to_directory(
    stored: Stored,
    size: int,
    secret: bytes | None,
    target: Path,
    *,
    force: bool = False,
    outside_links: bool = False,
    bytes_max: int | None = None,
) -> dict[str, Any]:
    """Restore a backup of files or of the log; returns its manifest.

    Args:
        stored: the object.
        size: its length in bytes.
        secret: what it was encrypted with.
        target: a directory that is empty, or isn't there; its parent is.
        force: if it isn't empty, what is in it goes.
        outside_links: symbolic links that lead out of the directory are made, too.
        bytes_max: see `check_size`.

    Raises:
        TargetNotEmpty: see there.
        BadBackup: the backup can't be trusted, is too large, or of a database; the target is as it was.
        OSError: what reading or writing said; likewise.
    """
    if not force and _holds_something(target):
        raise TargetNotEmpty(
            f"{target} isn't empty: restore elsewhere, or say --force, and what is in it goes."
        )
    reader = Reader(stored, size, secret=secret)
    check_size(reader, target.parent, bytes_max)
    contents = Contents(reader)
    with _staged(target) as directory:
        match contents.about.get("backup_type"):
            case "files":
                _unpack(contents, directory, outside_links=outside_links)
            case "log":
                _write_log(contents, directory)
            case "database":
                raise BadBackup("This is a backup of a database: restore it to postgresql://…")
            case other:
                raise BadBackup(f"The backup is of type {str(other)[:50]!r}; this build knows none such.")
    return contents.manifest


async def to_database(
    stored: Stored,
    size: int,
    secret: bytes | None,
    url: str,
    *,
    force: bool = False,
    bytes_max: int | None = None,
) -> dict[str, Any]:
    """Restore a backup of a database; returns its manifest. See `restoring_database.restore`."""
    reader = Reader(stored, size, secret=secret)
    if bytes_max is not None and reader.payload_bytes > bytes_max:
        raise TooLarge(f"Restored, the backup has {reader.payload_bytes:,} bytes; {bytes_max:,} are allowed.")
    contents = Contents(reader)
    if contents.about.get("backup_type") != "database":
        raise BadBackup(
            f"This is a backup of {str(contents.about.get('backup_type'))[:50]}: restore it to a directory."
        )
    return await restore(contents, url, force=force)


def _holds_something(target: Path) -> bool:
    return target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir())))


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[int]:
    """The descriptor of a fresh directory, which takes the target's place when the block ends well."""
    stage = target.with_name(f".{target.name}.restoring-{secrets.token_hex(8)}")
    stage.mkdir(mode=0o700)
    try:
        directory = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield directory
        finally:
            os.close(directory)
        _put(stage, target)
    finally:
        if stage.exists():
            _remove(stage)


def _put(stage: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.replaced-{secrets.token_hex(8)}")
    if _holds_something(target):
        target.rename(old)
    try:
        stage.rename(target)  # onto an empty directory, too
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    parent = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
    if old.is_symlink() or old.is_file():
        old.unlink()
    elif old.exists():
        _remove(old)


def _remove(directory: Path) -> None:
    """Remove a tree in which directories may forbid it."""
    for path, _, _ in os.walk(directory):
        os.chmod(path, 0o700)  # noqa: PTH101 - a text of os.walk
    shutil.rmtree(directory)


def _unpack(contents: Contents, directory: int, *, outside_links: bool) -> None:
    unpacking = Unpacking(directory, outside_links=outside_links)
    for member in contents:
        if not member.info.name.startswith(FOLDER):
            raise Damaged(f"The backup has {member.info.name[:200]!r} beside its files.")
        unpacking.take(member.info.name.removeprefix(FOLDER), member)
    unpacking.finish()


def _write_log(contents: Contents, directory: int) -> None:
    """Write events as JSON lines, a file a partition, and the manifest beside them."""
    with contextlib.ExitStack() as files:
        opened: dict[str, Any] = {}

        def begin(name: str) -> Callable[..., object]:
            partition = name.split("/")[1] if name.count("/") == 2 else ""  # noqa: PLR2004 - events/pNNNN/…
            if not (partition.startswith("p") and partition[1:].isdigit()):
                raise Damaged(f"The backup has {name[:200]!r} beside its segments.")
            if partition not in opened:
                descriptor = os.open(f"{partition}.jsonl", _NEW, 0o600, dir_fd=directory)
                opened[partition] = files.enter_context(os.fdopen(descriptor, "wb"))
            file = opened[partition]
            return lambda line, *_: file.write(line)

        manifest = read_log(contents, contents, begin)

        descriptor = os.open("manifest.json", _NEW, 0o600, dir_fd=directory)
        files.enter_context(os.fdopen(descriptor, "wb")).write(
            msgspec.json.format(msgspec.json.encode(manifest))
        )
