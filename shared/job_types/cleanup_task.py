"""`cleanup_task`: deletes old files below a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from shared.job_types.job_type import Fault, JobType, Strict, outside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.job_types.catalog import Catalog


def _plain(path: str) -> str:
    if not Path(path).is_absolute():
        raise ValueError("write an absolute path, such as /var/tmp/reports")
    if ".." in Path(path).parts:
        raise ValueError("write the path without '..'")
    return path


class CleanupTask(Strict):
    """What to delete.

    Attributes:
        cleanup_type: `temp_files` are regular files; directories stay.
        retention_days: files last changed longer ago than this are deleted; 0 deletes all.
        path: the directory, inside DAYBOOK_FILES_ROOTS; no part of it below the root is a symbolic link.
        recursive: directories below it are cleaned too.
        dry_run: count, but delete nothing.
    """

    cleanup_type: Literal["temp_files"]
    retention_days: int = Field(ge=0, le=36_500)
    path: Annotated[str, Field(min_length=1, max_length=4_096), AfterValidator(_plain)]
    recursive: bool = True
    dry_run: bool = False


class Cleaned(BaseModel):
    """What was deleted, or would have been.

    Attributes:
        bytes: of the files, together.
        errors: the first 20 of what could not be deleted or read.
    """

    files: int
    bytes: int
    errors: list[str]
    dry_run: bool


def _check(task: CleanupTask, catalog: Catalog) -> Iterable[Fault]:
    return outside("#/job_data/path", task.path, catalog)


CLEANUP_TASK = JobType(
    name="cleanup_task",
    description=(
        "Deletes regular files older than retention_days under path, only inside DAYBOOK_FILES_ROOTS and "
        "never through a symbolic link. The result counts files and bytes and lists what was not deletable."
    ),
    model=CleanupTask,
    check=_check,
    result=Cleaned,
)
