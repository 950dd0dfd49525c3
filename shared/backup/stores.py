"""Where backups are kept: a directory or a part of a bucket, seen alike.

A backup becomes visible under its name whole or not at all, and replaces what was there at once. What a writer that was
killed has left is found by `sweep`, which touches nothing but leavings of backups.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import unquote, urlsplit

from shared.backup.local_store import LocalStore
from shared.backup.names import parsed
from shared.backup.s3_store import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from shared.backup.container import Stored
    from shared.backup.names import Name


class Draft(Protocol):
    """A backup that is being written; nobody sees it until it is published."""

    def write(self, data: bytes, /) -> object:
        """Take more of it."""

    def stored(self) -> AbstractContextManager[tuple[Stored, int]]:
        """What was written, as it is stored, and its length; nothing more is taken."""

    def publish(self) -> None:
        """Let it be seen, and last."""


class Store(Protocol):
    """Some place for backups."""

    def names(self) -> list[str]:
        """What is there; other things may be, too."""

    def size(self, name: str) -> int | None:
        """Bytes of what is called so; None if nothing is."""

    def read(self, name: str) -> AbstractContextManager[tuple[Stored, int]]:
        """What is called so, and its length.

        Raises:
            FileNotFoundError: nothing is.
        """

    def draft(self, name: Name) -> AbstractContextManager[Draft]:
        """A draft of the backup `name`; one that was not published is gone afterwards."""

    def delete(self, name: str) -> None:
        """Delete what is called so, if it is there."""

    def sweep(self, name: Name) -> list[str]:
        """Delete what killed writers of this job's backups have left; returns what that was called."""

    def close(self) -> None:
        """Let go of it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def opened(url: str, options: Mapping[str, str], path: str, *, make: bool) -> Store:
    """The store at `path` below `url`.

    Args:
        url: `file:///directory` or `s3://bucket/prefix`, the operator's.
        options: of an S3 client: endpoint_url, key, secret, region.
        path: parts separated by `/`; none of them is followed if it is a symbolic link.
        make: directories that are missing are made.

    Raises:
        OSError: it isn't there, or can't be reached.
        ThroughALink: a part of `path` is a symbolic link.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalStore(Path(unquote(parts.path)), path, make=make)
    return S3Store(parts.netloc, "/".join(filter(None, (parts.path.strip("/"), path))), options)


def listed(store: Store) -> Iterator[tuple[Name, int]]:
    """The backups that are there with their sizes, oldest first."""
    for name in sorted(filter(None, map(parsed, store.names()))):
        size = store.size(str(name))
        if size is not None:
            yield name, size
