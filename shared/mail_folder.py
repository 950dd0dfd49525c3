"""The mail that `daybook up` catches: one file a message, the newest MESSAGES_MAX of them.

The catcher stores, API processes list and read. A name is made of the time, so names sort by age.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES_MAX = 200
MESSAGE_BYTES_MAX = 10 * 1024 * 1024
NAME = r"[0-9]{8}T[0-9]{12}Z-[0-9a-f]{8}\.eml"
_NAME = re.compile(NAME)
_TIME = "%Y%m%dT%H%M%S%fZ"
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ROOM = 64 * 1024  # for what the catcher puts before a message


class MailFolder:
    """A directory of messages.

    Args:
        path: of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the directory, and clear what a killed catcher has left half written."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.path.glob(".*.part"):
            left.unlink(missing_ok=True)

    def store(self, content: bytes, now: datetime) -> str:
        """Keep a message, and drop the oldest beyond MESSAGES_MAX.

        Args:
            content: the message.
            now: when it came, aware.

        Returns:
            Its name.

        Raises:
            OSError: it can't be written.
        """
        name = f"{now.astimezone(UTC).strftime(_TIME)}-{secrets.token_hex(4)}.eml"
        part = self.path / f".{name}.part"
        try:
            part.write_bytes(content)
            part.rename(self.path / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        for old in self.names()[MESSAGES_MAX:]:
            (self.path / old).unlink(missing_ok=True)
        return name

    def names(self) -> list[str]:
        """Of the messages there are, the newest first; none if the directory isn't there."""
        with contextlib.suppress(OSError):
            return sorted(
                (each.name for each in self.path.iterdir() if _NAME.fullmatch(each.name)), reverse=True
            )
        return []

    def read(self, name: str, most: int = MESSAGE_BYTES_MAX + _ROOM) -> bytes | None:
        """The first `most` bytes of a message; None if there is none of this name."""
        if _NAME.fullmatch(name) is None:
            return None
        try:
            descriptor = os.open(self.path / name, _FILE)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            return file.read(most) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None

    def size(self, name: str) -> int:
        """Of a message, in bytes; 0 if there is none of this name."""
        try:
            return (self.path / name).lstat().st_size if _NAME.fullmatch(name) else 0
        except OSError:
            return 0


def received_at(name: str) -> datetime:
    """When the message of this name came, aware UTC."""
    return datetime.strptime(name.partition("-")[0], _TIME).replace(tzinfo=UTC)
