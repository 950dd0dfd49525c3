"""`backup_task`: writes a backup under a name that the run has whatever happens, reads it back, lets it be seen.

```
 what killed attempts left goes ─▶ is it there already, and whole? ─▶ done
                                        │ no
              draft: payload ─▶ compressed ─▶ sealed ─▶ store ─▶ read back ─▶ published ─▶ older ones go
```
A copy of the log is entered in `book.cold_copies` once it was read back, and struck out before it is replaced or goes.
Blocking: it runs in a process of the pool. A draft isn't seen by anybody, so a process that is killed leaves nothing
that looks like a backup.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.executor.files import OutsideFilesRoots, open_directory, open_file
from services.executor.handlers import backup_task_copies as copies
from shared.backup import files, stores
from shared.backup.checking import Checked, check
from shared.backup.container import Writer
from shared.backup.copying import NeedsPgDump
from shared.backup.dumping import dump
from shared.backup.local_store import ThroughALink
from shared.backup.names import Name, outlived
from shared.backup.payload import Payload
from shared.backup.postgres_tools import CONNECT_S, SESSION
from shared.backup.sealing import BadBackup, WeakKey
from shared.job_types.backup_task import BackedUp, BackupTask, DatabaseBackup, FilesBackup, LogBackup
from shared.job_types.catalog import Unknown
from shared.readmodel.cold.exporting import export
from shared.readmodel.cold.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.executor.resources import Resources
    from shared.backup.stores import Store
    from shared.handlers import Run

WRITTEN = 0.7  # of the whole, when all is written; reading back is the rest
TOLD_EVERY = 0.005  # of the whole


class NotAsWritten(BadBackup):
    """What was read back from the store is not what was written to it."""


def handle(run: Run, resources: Resources) -> dict[str, Any]:
    """Make the backup; returns a `BackedUp`.

    Raises:
        GiveUp: another attempt would fail alike (see `BACKUP_TASK.given_up`).
        OSError, Exception: what reading, writing or the servers said.
    """
    task = BackupTask.model_validate(run.job_data).root
    try:
        return _Backup(run, resources, task).made().model_dump(exclude_none=True)
    except (WeakKey, OutsideFilesRoots, ThroughALink, NeedsPgDump, Unknown) as error:
        run.give_up(f"{type(error).__name__}: {error}")


class _Backup:
    """One run's."""

    def __init__(
        self, run: Run, resources: Resources, task: FilesBackup | DatabaseBackup | LogBackup
    ) -> None:
        self._run = run
        self._resources = resources
        self._task = task
        self._name = Name(
            backup_type=task.backup_type, at=run.scheduled_for, job_id=run.job_id, run_id=run.run_id
        )
        self._secret = resources.secrets.value(task.key).encode() if task.encryption else None
        self._told = 0.0

    def made(self) -> BackedUp:
        """See `handle`."""
        with self._store() as store:
            for left in store.sweep(self._name):
                self._run.log(f"deleted what an attempt that was killed had left: {left}")
            checked = self._found(store) or self._written(store)
            self._enter(checked)
            deleted = self._thinned(store)
        return self._result(checked, deleted)

    def _store(self) -> Store:
        place = self._resources.catalog.place(self._task.destination)
        value = self._resources.secrets.value
        options = {key: value(option) for key, option in place.storage.options.items()}
        return stores.opened(place.storage.url, options, place.path, make=True)

    def _found(self, store: Store) -> Checked | None:
        """The backup that an earlier attempt has made, if it is whole."""
        if store.size(str(self._name)) is None:
            return None
        try:
            with store.read(str(self._name)) as (stored, size):
                checked = check(stored, size, self._secret, self._progress(0, 1))
        except BadBackup as error:
            self._run.log(f"{self._name} is there, but can't be used ({error}): it is written anew")
            return None
        if checked.encrypted != (self._secret is not None):
            return None
        self._run.log(f"{self._name} is there already, from an earlier attempt, and whole")
        return checked

    def _written(self, store: Store) -> Checked:
        self._strike(str(self._name))  # what may be there can't be used
        with store.draft(self._name) as draft:
            # A log's segments are compressed each by itself.
            method = "none" if isinstance(self._task, LogBackup) else self._task.method
            writer = Writer(draft.write, compression=method, secret=self._secret)
            self._pack(writer)
            writer.finish()
            with draft.stored() as (stored, size):
                checked = check(stored, size, self._secret, self._progress(WRITTEN, 1))
            if (checked.sha256, size) != (writer.sha256, writer.stored_bytes):
                raise NotAsWritten(
                    f"{size} bytes came back, SHA-256 {checked.sha256}; written were "
                    f"{writer.stored_bytes}, {writer.sha256}"
                )
            draft.publish()
        return checked

    def _pack(self, writer: Writer) -> None:
        about = {
            "backup_type": self._task.backup_type,
            "job_id": self._run.job_id,
            "job_name": self._run.job_name,
            "run_id": self._run.run_id,
            "scheduled_for": self._run.scheduled_for.isoformat(),
        }
        told = self._progress(0, WRITTEN)
        match self._task:
            case FilesBackup(paths=paths):
                payload = Payload(writer, about)
                payload.finish(self._files(payload, paths, told))
            case DatabaseBackup(source=source):
                payload = Payload(writer, about)
                payload.finish(asyncio.run(dump(self._database(source), payload, told)))
            case LogBackup():
                payload = Payload(writer, about | {"segments": self._task.method})
                payload.finish(asyncio.run(self._log(payload, told)))

    def _files(self, payload: Payload, paths: list[str], told: Callable[[float], object]) -> dict[str, Any]:
        with contextlib.ExitStack() as opened:
            roots = [(path, opened.enter_context(_opened(path, self._resources))) for path in paths]
            whole = max(1, sum(files.measured(descriptor) for _, descriptor in roots))
            counted = files.pack(payload, roots, _summed(whole, told))
        return {"paths": paths, **counted.document()}

    def _database(self, source: str | None) -> str:
        if source is None:
            return self._resources.database_url or self._run.give_up(
                "This executor has no database of Daybook."
            )
        url = self._resources.catalog.source(source).url
        if url is None:
            raise Unknown(f"{source!r} is no Postgres database")
        return self._resources.secrets.value(url)

    async def _log(self, payload: Payload, told: Callable[[float], object]) -> dict[str, Any]:
        import asyncpg  # noqa: PLC0415 - other backups need none

        connection = await asyncpg.connect(self._database(None), timeout=CONNECT_S, server_settings=SESSION)
        try:
            manifest = await export(
                connection,
                lambda segment, data: payload.add(segment.name, data),
                compression=self._task.method,
                told=told,
            )
        finally:
            await connection.close()
        return manifest.document()

    def _enter(self, checked: Checked) -> None:
        if not isinstance(self._task, LogBackup):
            return
        place = f"{self._task.destination.rstrip('/')}/{self._name}"
        manifest = Manifest.parse(checked.manifest)
        if left := asyncio.run(copies.enter(self._database(None), place, self._run.run_id, manifest)):
            self._run.log(f"{left} segments have broken links: retention drops no month on their account")

    def _strike(self, name: str) -> None:
        if isinstance(self._task, LogBackup):
            asyncio.run(copies.strike(self._database(None), name))

    def _thinned(self, store: Store) -> list[str]:
        if self._task.keep_last is None:
            return []
        old = outlived(store.names(), self._name, self._task.keep_last)
        return [name for name in old if self._deleted(store, name)]

    def _deleted(self, store: Store, name: str) -> bool:
        is_of_the_log = isinstance(self._task, LogBackup)
        if is_of_the_log and (sole := asyncio.run(copies.strike_spare(self._database(None), name))):
            self._run.log(
                f"{name} stays beyond keep_last: no other copy holds the events "
                f"{sole.partition}:{sole.first} to {sole.last}, which have left the archive"
            )
            return False
        store.delete(name)
        return True

    def _progress(self, begin: float, end: float) -> Callable[[float], None]:
        def tell(ratio: float) -> None:
            done = begin + ratio * (end - begin)
            if done - self._told >= TOLD_EVERY or done < self._told:
                self._told = done
                self._run.progress(done, "writing" if end < 1 else "reading back")

        return tell

    def _result(self, checked: Checked, deleted: list[str]) -> BackedUp:
        manifest, kind = checked.manifest, self._task.backup_type
        tables = manifest.get("tables")
        segments = manifest.get("segments", ())
        return BackedUp(
            backup_type=kind,
            destination=self._task.destination,
            name=str(self._name),
            bytes=checked.payload_bytes,
            stored_bytes=checked.stored_bytes,
            files=manifest.get("files"),
            skipped=manifest.get("skipped"),
            tables=len(tables) if isinstance(tables, list) else tables,
            events=sum(each["count"] for each in segments) if kind == "log" else None,
            broken_links=sum(each["broken"] for each in segments) if kind == "log" else None,
            sha256=checked.sha256,
            encrypted=checked.encrypted,
            compressed=self._task.method != "none",
            verified=True,
            deleted=deleted,
        )


@contextlib.contextmanager
def _opened(path: str, resources: Resources) -> Iterator[int]:
    roots = resources.catalog.files_roots
    try:
        descriptor = open_directory(Path(path), roots)
    except NotADirectoryError:
        descriptor = open_file(Path(path), roots)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _summed(whole: int, told: Callable[[float], object]) -> Callable[[int], None]:
    """Tells the share that has come so far, of what comes in pieces."""
    seen = 0

    def tell(more: int) -> None:
        nonlocal seen
        seen += more
        told(min(1.0, seen / max(1, whole)))

    return tell
