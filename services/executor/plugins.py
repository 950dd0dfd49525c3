"""Who does the work of a job type: our handlers and other people's (`shared.handlers` has the contract)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shared import job_types
from shared.job_types.custom import CUSTOM, OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.executor.masking import Mask
    from services.executor.resources import Resources
    from shared.handlers import Run


_HANDLERS = "services.executor.handlers"
_OURS = {  # job type → module below _HANDLERS, whether it blocks. A module is imported when it is first called.
    "custom": ("custom", False),
    "cleanup_task": ("cleanup_task", True),
    "http_request": ("http_request", False),
    "report_generation": ("report_generation", True),
    "data_processing": ("data_processing", True),
    "email_notification": ("email_notification", False),
    "backup_task": ("backup_task", True),
}


class NotInstalled(LookupError):  # noqa: N818 - its name is what people read as the failure's class
    """This executor lacks the packages that the job type needs; another one may have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A function of one Run.

    Attributes:
        call: a coroutine function, or a plain one that can be pickled.
        blocking: it is a plain one, to be called in a process of its own.
    """

    call: Callable[[Run], Any]
    blocking: bool


class Handlers:
    """All handlers there are.

    Args:
        ours: by job type.
        theirs: by job type; each is an operation of `custom` as well, unless that has one of this name.
    """

    def __init__(self, ours: Mapping[str, Handler], theirs: Mapping[str, Handler]) -> None:
        self._types = {**ours, **theirs}
        self._operations = {
            name: Handler(call=partial(call_operation, handler.call), blocking=handler.blocking)
            for name, handler in theirs.items()
            if name not in OPERATIONS
        }

    def __getitem__(self, job_type: str) -> Handler:
        return self._types[job_type]

    def __setitem__(self, job_type: str, handler: Handler) -> None:
        self._types[job_type] = handler

    def of(self, job_type: str, job_data: Mapping[str, Any]) -> Handler | None:
        """Who works on this data; None if nobody here does."""
        if job_type == CUSTOM.name and (operation := self._operations.get(str(job_data.get(CUSTOM.tag)))):
            return operation
        return self._types.get(job_type)


def handlers(known: job_types.Known, resources: Resources, *, modules: Sequence[str] = ()) -> Handlers:
    """All handlers.

    Args:
        known: what is installed.
        resources: what ours work with.
        modules: those of DAYBOOK_HANDLERS, for processes that have yet to import them.
    """
    ours = {
        name: Handler(call=partial(call_ours, name, resources), blocking=blocking)
        for name, (_, blocking) in _OURS.items()
    }
    theirs = {
        name: Handler(
            call=partial(call_plugin, name, tuple(modules)) if plugin.blocking else plugin.handler,
            blocking=plugin.blocking,
        )
        for name, plugin in known.plugins.items()
    }
    return Handlers(ours, theirs)


def call_ours(name: str, resources: Resources, run: Run) -> Any:
    """Call a handler of ours: its result, or the coroutine that has it.

    Raises:
        NotInstalled: what it needs isn't there.
    """
    if why := job_types.BUILT_IN[name].why_not():
        raise NotInstalled(f"{name} {why}")
    mask: Mask | None = getattr(run.reporter, "mask", None)
    told = resources if mask is None else resources.for_run(mask)
    return import_module(f"{_HANDLERS}.{_OURS[name][0]}").handle(run, told)


def call_plugin(name: str, modules: tuple[str, ...], run: Run) -> Any:
    """Call a plug-in by name, in a process that hasn't imported it yet: functions travel by name only."""
    return _installed(modules).plugins[name].handler(run)


def call_operation(call: Callable[[Run], Any], run: Run) -> Any:
    """Call a plug-in as an operation of `custom`: it is told the same as for a job of its own type."""
    told = replace(run, job_type=run.job_data[CUSTOM.tag], job_data=run.job_data.get("parameters", {}))
    return call(told)


@cache
def _installed(modules: tuple[str, ...]) -> job_types.Known:
    return job_types.installed(modules)
