"""What backups are called: `<type>_<time>_<job id>_<run id>.daybook`, the time that the run was scheduled for.

So a run has one name, however often it starts; a job's backups are told from all else; and names sort by time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast

BackupType = Literal["files", "database", "log"]
SUFFIX = ".daybook"

_TIME = "%Y%m%dT%H%M%SZ"
_ID = "[0-9A-Za-z-]{1,64}"
_NAME = re.compile(rf"(files|database|log)_(\d{{8}}T\d{{6}}Z)_({_ID})_({_ID})\.daybook")
_PARTIAL = re.compile(rf"\.({_NAME.pattern})\.[0-9a-f]{{16}}\.partial")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Name:
    """A backup's name, in parts; sorts by time first."""

    at: datetime
    run_id: str
    job_id: str
    backup_type: BackupType

    def __str__(self) -> str:
        at = self.at.astimezone(UTC).strftime(_TIME)
        return f"{self.backup_type}_{at}_{self.job_id}_{self.run_id}{SUFFIX}"

    def partial(self, token: str) -> str:
        """What it is called while it is written; `token` is 16 hex digits."""
        return f".{self}.{token}.partial"


def parsed(text: str) -> Name | None:
    """The name, if it is one."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    try:
        at = datetime.strptime(match[2], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Name(backup_type=cast("BackupType", match[1]), at=at, job_id=match[3], run_id=match[4])


def parsed_partial(text: str) -> Name | None:
    """The name of what is, or was, being written as `text`; None if it is something else."""
    match = _PARTIAL.fullmatch(text)
    return None if match is None else parsed(match[1])


def outlived(names: list[str], newest: Name, keep_last: int) -> list[str]:
    """Which of `names` go, as `newest` is there, the oldest first.

    They are of its job and type, older, and not among the last `keep_last`.
    """
    ours = sorted(name for name in map(parsed, names) if name is not None and _alike(name, newest))
    return [str(name) for name in ours[:-keep_last] if name < newest]


def _alike(one: Name, another: Name) -> bool:
    return (one.job_id, one.backup_type) == (another.job_id, another.backup_type)
