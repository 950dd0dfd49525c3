"""`cleanup_task`: deletes what is old: files below a directory, and Daybook's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, RootModel

from shared.job_types.job_type import Fault, JobType, Strict, outside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.job_types.catalog import Catalog

DAYS_MAX = 36_500
Ended = Literal["succeeded", "failed", "cancelled", "expired"]


def _plain(path: str) -> str:
    if not Path(path).is_absolute():
        raise ValueError("write an absolute path, such as /var/tmp/reports")
    if ".." in Path(path).parts:
        raise ValueError("write the path without '..'")
    return path


def _each_once(statuses: list[Ended]) -> list[Ended]:
    if len(set(statuses)) < len(statuses):
        raise ValueError("name each status once")
    return statuses


class TempFiles(Strict):
    """Regular files; directories stay.

    Attributes:
        retention_days: files last changed longer ago than this are deleted; 0 deletes all.
        path: the directory, inside DAYBOOK_FILES_ROOTS; no part of it below the root is a symbolic link.
        recursive: directories below it are cleaned too.
        dry_run: count, but delete nothing.
    """

    cleanup_type: Literal["temp_files"]
    retention_days: int = Field(ge=0, le=DAYS_MAX)
    path: Annotated[str, Field(min_length=1, max_length=4_096), AfterValidator(_plain)]
    recursive: bool = True
    dry_run: bool = False


class RunHistory(Strict):
    """Executions that have ended, of all tenants. Their events stay in the archive, and hourly statistics stay.

    Attributes:
        retention_days: those that ended longer ago than this are deleted.
        statuses: only those that ended so; left out: all that ended.
        dry_run: count, but delete nothing.
    """

    cleanup_type: Literal["run_history"]
    retention_days: int = Field(ge=1, le=DAYS_MAX)
    statuses: Annotated[list[Ended], Field(min_length=1, max_length=4), AfterValidator(_each_once)] | None = (
        None
    )
    dry_run: bool = False


class Archive(Strict):
    """Months of the archive, whole, from its beginning on; the present month and the one before it stay.

    Attributes:
        retention_days: months that were over longer ago than this are dropped.
        require_cold_copy: only what a cold copy holds: a backup_task of backup_type `log` makes them.
        dry_run: look at everything, but drop nothing.
    """

    cleanup_type: Literal["archive"]
    retention_days: int = Field(ge=1, le=DAYS_MAX)
    require_cold_copy: bool = True
    dry_run: bool = False


Cleanup = Annotated[TempFiles | RunHistory | Archive, Field(discriminator="cleanup_type")]


class CleanupTask(RootModel[Cleanup]):
    """What to delete."""


class Cleaned(BaseModel):
    """What was deleted of files, or would have been.

    Attributes:
        bytes: of the files, together.
        errors: the first 20 of what could not be deleted or read.
    """

    files: int
    bytes: int
    errors: list[str]
    dry_run: bool


class Kept(BaseModel):
    """A month beyond the retention that stays, by the name of its table, and why."""

    partition: str
    why: str


class Retained(BaseModel):
    """What was deleted of Daybook's own data, or would have been.

    Attributes:
        partitions_dropped: months, by the names of their tables.
        rows_deleted: rows that went, with these tables and one by one.
        kept: the first 40 months that stay.
        bytes_freed: of the tables; what single rows took is used again.
    """

    cleanup_type: Literal["run_history", "archive"]
    partitions_dropped: list[str]
    rows_deleted: int
    kept: list[Kept]
    bytes_freed: int
    dry_run: bool


class CleanupResult(RootModel[Cleaned | Retained]):
    """Of `temp_files`, or of the others."""


def _check(task: CleanupTask, catalog: Catalog) -> Iterable[Fault]:
    if isinstance(task.root, TempFiles):
        return outside("#/job_data/path", task.root.path, catalog)
    return ()


def _is_the_deployments(task: CleanupTask) -> bool:
    return not isinstance(task.root, TempFiles)


CLEANUP_TASK = JobType(
    name="cleanup_task",
    description=(
        "Deletes what is old. temp_files: regular files older than retention_days under path, only inside "
        "DAYBOOK_FILES_ROOTS and never through a symbolic link; the result counts files and bytes and lists "
        "what was not deletable. run_history: executions that ended longer ago than that. archive: whole months "
        "of events, as far as a cold copy holds them. The last two are about what all tenants have: only an "
        "admin of the tenant default may make such jobs."
    ),
    model=CleanupTask,
    tag="cleanup_type",
    check=_check,
    is_the_deployments=_is_the_deployments,
    result=CleanupResult,
    retried=(
        "every failure but those given up, by the job's own policy, RetentionBusy (another one is under way) too; "
        "files that can't be deleted are none: the result lists them"
    ),
    given_up="run_history and archive on an executor without DAYBOOK_DATABASE_URL",
)
