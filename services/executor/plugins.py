"""Who does the work of a job type: our handlers and other people's (`shared.handlers` has the contract)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shared import job_types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.executor.masking import Mask
    from services.executor.resources import Resources
    from shared.handlers import Run
    from shared.job_types.plugins import Plugin


_HANDLERS = "services.executor.handlers"
_OURS = {  # job type → module below _HANDLERS, whether it blocks. A module is imported when it is first called.
    "custom": ("custom", False),
    "cleanup_task": ("cleanup_task", True),
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


def handlers(known: job_types.Known, resources: Resources) -> dict[str, Handler]:
    """All handlers, by job type.

    Args:
        known: what is installed.
        resources: what ours work with.
    """
    ours = {
        name: Handler(call=partial(call_ours, name, resources), blocking=blocking)
        for name, (_, blocking) in _OURS.items()
    }
    return ours | _theirs(known.plugins)


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


def _theirs(plugins: Mapping[str, Plugin]) -> dict[str, Handler]:
    return {
        name: Handler(
            call=partial(call_plugin, name) if plugin.blocking else plugin.handler, blocking=plugin.blocking
        )
        for name, plugin in plugins.items()
    }


def call_plugin(name: str, run: Run) -> Any:
    """Call a plug-in by name, in a process that hasn't imported it yet: functions travel by name only."""
    return _installed().plugins[name].handler(run)


@cache
def _installed() -> job_types.Known:
    return job_types.installed()
