"""`custom`: the small operations that `shared.job_types.custom` describes."""

from __future__ import annotations

import asyncio
import builtins
from typing import TYPE_CHECKING, Any

from shared.job_types.catalog import Unknown
from shared.job_types.custom import Custom, Echo, Fail, FailParameters, Migrate, Sleep
from shared.job_types.data_migration import DataMigration, postgres

if TYPE_CHECKING:
    from services.executor.resources import Resources
    from shared.handlers import Run


async def handle(run: Run, resources: Resources) -> dict[str, Any]:
    """Do the operation that the job names."""
    match Custom.model_validate(run.job_data).root:
        case Echo(parameters=parameters):
            return parameters
        case Sleep(parameters=parameters):
            await asyncio.sleep(parameters.seconds)
            return {"slept_seconds": parameters.seconds}
        case Fail(parameters=parameters):
            return _fail(parameters, run.attempt)
        case Migrate(parameters=parameters):
            return await _migrate(run, parameters, resources)


async def _migrate(run: Run, told: DataMigration, resources: Resources) -> dict[str, Any]:
    from services.executor.handlers import data_migration  # noqa: PLC0415 - the others need no Postgres

    urls = [await _url(run, name, resources) for name in (told.source, told.destination)]
    migrated = await data_migration.migrate(run, told, source=urls[0], destination=urls[1])
    return migrated.model_dump()


async def _url(run: Run, name: str, resources: Resources) -> str:
    """The address of a source; its secret may lie on a slow disk."""
    try:
        source = postgres(name, resources.catalog)
    except Unknown as why:
        run.give_up(str(why))
    assert source.url is not None  # noqa: S101 - of kind postgres
    return await asyncio.to_thread(resources.secrets.value, source.url)


def _fail(parameters: FailParameters, attempt: int) -> dict[str, Any]:
    if parameters.times is not None and attempt > parameters.times:
        return {"failed_attempts": parameters.times}
    raise _exception(parameters.error_class)(parameters.message)


def _exception(name: str) -> type[Exception]:
    known = getattr(builtins, name, None)
    if isinstance(known, type) and issubclass(known, Exception):
        return known
    return type(name, (RuntimeError,), {})
