"""`cleanup_task`: deletes what is old, of files or of Daybook's own data.

Blocking: it runs in a process of the pool, as reading months of events takes the processor. A cancel kills that; what a
transaction under way would have deleted then stays.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from services.executor.handlers.cleanup_task_archive import retain_archive
from services.executor.handlers.cleanup_task_files import clean
from services.executor.handlers.cleanup_task_retention import retain
from services.executor.handlers.cleanup_task_runs import retain_runs
from shared.job_types.cleanup_task import Archive, CleanupTask, RunHistory, TempFiles

if TYPE_CHECKING:
    from services.executor.resources import Resources
    from shared.handlers import Run


def handle(run: Run, resources: Resources) -> dict[str, Any]:
    """Delete what the job names; returns what shared.job_types.cleanup_task.CleanupResult describes.

    Raises:
        OutsideFilesRoots: nothing was touched.
        RetentionBusy: likewise; another execution is at it.
        OSError: a directory isn't there or can't be read, or the database doesn't answer.
        asyncpg.PostgresError: what was deleted before that stays deleted, the rest stays.
    """
    task = CleanupTask.model_validate(run.job_data).root
    if isinstance(task, TempFiles):
        return clean(task, resources.catalog.files_roots)
    return asyncio.run(retained(run, task, resources.database_url))


async def retained(run: Run, task: RunHistory | Archive, url: str | None) -> dict[str, Any]:
    """Delete what is old of Daybook's own data; raises as `handle`."""
    if url is None:
        run.give_up("this executor has no DAYBOOK_DATABASE_URL")
    work = (
        partial(retain_archive, task=task) if isinstance(task, Archive) else partial(retain_runs, task=task)
    )
    return await retain(url, run, cleanup_type=task.cleanup_type, dry_run=task.dry_run, work=work)
