"""`backup_task`: copies of files, of a database, or of the log's archive, to a directory or a bucket."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, RootModel, field_validator

from shared.job_types.catalog import Unknown
from shared.job_types.job_type import Fault, JobType, Strict, outside
from shared.job_types.secrets import Secret, SecretRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shared.job_types.catalog import Catalog

KEY = SecretRef.model_validate({"$secret": "backup_key"})
PATHS_MAX = 100
_DESTINATION = re.compile(r"s3://[^/]+(/.*)?|file:///.*", re.DOTALL)


def _plain(path: str) -> str:
    if not Path(path).is_absolute():
        raise ValueError("write an absolute path, such as /srv/data")
    if ".." in Path(path).parts or "\0" in path:
        raise ValueError("write the path without '..'")
    return str(Path(path))


def _known_scheme(destination: str) -> str:
    if not _DESTINATION.fullmatch(destination):
        raise ValueError("write s3://ALIAS/path, or file:///path inside the directories jobs may touch")
    return destination


AbsolutePath = Annotated[str, Field(min_length=1, max_length=4_096), AfterValidator(_plain)]


class _Backup(Strict):
    destination: Annotated[str, Field(max_length=4_096), AfterValidator(_known_scheme)] = Field(
        description="a directory: file:///path inside DAYBOOK_FILES_ROOTS, or s3://ALIAS/path of a storage"
    )
    compression: bool | Literal["zstd", "gzip", "none"] = Field(
        default=True, description="true is zstd, false none"
    )
    encryption: bool | Literal["aes-256-gcm"] = Field(default=False, description="true is aes-256-gcm")
    key: Secret = Field(default=KEY, description="what to encrypt with: 16 bytes or more")
    keep_last: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="after a good backup, older ones of this job beyond so many are deleted; null: none are",
    )

    @property
    def method(self) -> Literal["zstd", "gzip", "none"]:
        """How to compress."""
        if isinstance(self.compression, str):
            return self.compression
        return "zstd" if self.compression else "none"


class FilesBackup(_Backup):
    """Directories, with all that is in them, and files; symbolic links as links."""

    backup_type: Literal["files"]
    paths: list[AbsolutePath] = Field(min_length=1, max_length=PATHS_MAX)

    @field_validator("paths")
    @classmethod
    def _apart(cls, paths: list[str]) -> list[str]:
        for path in paths:
            if others := [each for each in paths if each is not path and Path(path).is_relative_to(each)]:
                raise ValueError(f"{path} lies in {others[0]}, which is backed up as a whole")
        return paths


class DatabaseBackup(_Backup):
    """A Postgres database: a configured source, or Daybook's own."""

    backup_type: Literal["database"]
    source: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="a source of kind postgres; null: Daybook's own",
    )


class LogBackup(_Backup):
    """The archive: all events that ever were, as JSON lines in segments."""

    backup_type: Literal["log"]


class BackupTask(
    RootModel[Annotated[FilesBackup | DatabaseBackup | LogBackup, Field(discriminator="backup_type")]]
):
    """What to copy, and where to."""


class BackedUp(BaseModel):
    """What was written, and read back.

    Attributes:
        destination: where to, as the job says.
        name: of the object there; `daybook backup restore --from DESTINATION/NAME` reads it.
        bytes: of what was copied, before compression.
        stored_bytes: of the object.
        files: regular files, of a backup of files; `skipped` were sockets, devices and what was gone at its turn.
        tables: of a backup of a database.
        events: of a backup of the log; `broken_links` of its chain did not hold in the archive.
        sha256: of the object.
        deleted: older backups of this job that went, by keep_last. A copy of the log stays while it alone holds events
            that have left the archive.
    """

    backup_type: Literal["files", "database", "log"]
    destination: str
    name: str
    bytes: int
    stored_bytes: int
    files: int | None = None
    skipped: int | None = None
    tables: int | None = None
    events: int | None = None
    broken_links: int | None = None
    sha256: str
    encrypted: bool
    compressed: bool
    verified: Literal[True]
    deleted: list[str]


def _check(task: BackupTask, catalog: Catalog) -> Iterable[Fault]:
    yield from _destination(task.root, catalog)
    match task.root:
        case FilesBackup(paths=paths):
            for place, path in enumerate(paths):
                yield from outside(f"#/job_data/paths/{place}", path, catalog)
        case DatabaseBackup(source=str() as name):
            yield from _source(name, catalog)


def _destination(task: FilesBackup | DatabaseBackup | LogBackup, catalog: Catalog) -> Iterator[Fault]:
    pointer = "#/job_data/destination"
    try:
        place = catalog.place(task.destination)
    except Unknown as why:
        yield Fault(pointer=pointer, detail=str(why))
        return
    directory = place.storage.directory
    if isinstance(task, FilesBackup) and directory is not None:
        kept = directory / place.path
        if inside := [path for path in task.paths if kept.is_relative_to(path)]:
            yield Fault(
                pointer=pointer, detail=f"lies in {inside[0]}, which is backed up: it would hold itself"
            )


def _source(name: str, catalog: Catalog) -> Iterator[Fault]:
    pointer = "#/job_data/source"
    try:
        source = catalog.source(name)
    except Unknown as why:
        yield Fault(pointer=pointer, detail=str(why))
        return
    if source.kind != "postgres":
        yield Fault(pointer=pointer, detail=f"{name} is of kind {source.kind}; a backup needs postgres")


def _is_the_deployments(task: BackupTask) -> bool:
    """Daybook's own database, and its log, have what is in them of all tenants."""
    match task.root:
        case DatabaseBackup(source=source):
            return source is None
        case other:
            return isinstance(other, LogBackup)


BACKUP_TASK = JobType(
    name="backup_task",
    description=(
        "Copies files, a Postgres database or the archive of the log to a directory or a bucket, compressed and "
        "encrypted if asked, reads the copy back, and then deletes older ones beyond keep_last. "
        "`daybook backup restore` brings it back. Daybook's own database and its log have what all tenants have in "
        "them: only an admin of the tenant default may make such jobs."
    ),
    model=BackupTask,
    check=_check,
    is_the_deployments=_is_the_deployments,
    result=BackedUp,
    extra="backup",
    needs=("fsspec", "s3fs", "zstandard", "cryptography"),
    tag="backup_type",
    retried="every failure but those given up, by the job's own policy; a run that starts again has the same name",
    given_up=(
        "SecretMissing, WeakKey, OutsideFilesRoots and ThroughALink (a path or destination that is none of ours), "
        "NeedsPgDump, a source or storage that isn't configured any more"
    ),
)
