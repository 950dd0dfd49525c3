"""`custom`: the small operations that `shared.job_types.custom` describes."""

from __future__ import annotations

import asyncio
import builtins
from typing import TYPE_CHECKING, Any

from shared.job_types.custom import Custom, Echo, Fail, FailParameters, Sleep

if TYPE_CHECKING:
    from services.executor.resources import Resources
    from shared.handlers import Run


async def handle(run: Run, _resources: Resources) -> dict[str, Any]:
    """Do the operation that the job names."""
    match Custom.model_validate(run.job_data).root:
        case Echo(parameters=parameters):
            return parameters
        case Sleep(parameters=parameters):
            await asyncio.sleep(parameters.seconds)
            return {"slept_seconds": parameters.seconds}
        case Fail(parameters=parameters):
            return _fail(parameters, run.attempt)


def _fail(parameters: FailParameters, attempt: int) -> dict[str, Any]:
    if parameters.times is not None and attempt > parameters.times:
        return {"failed_attempts": parameters.times}
    raise _exception(parameters.error_class)(parameters.message)


def _exception(name: str) -> type[Exception]:
    known = getattr(builtins, name, None)
    if isinstance(known, type) and issubclass(known, Exception):
        return known
    return type(name, (RuntimeError,), {})
