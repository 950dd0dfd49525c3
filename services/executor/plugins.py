"""Who does the work of a job type: our handlers and other people's (`shared.handlers` has the contract)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from services.executor.handlers import cleanup_task, custom
from shared import job_types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from shared.handlers import Run
    from shared.job_types.plugins import Plugin


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A function of one Run.

    Attributes:
        call: a coroutine function, or a plain one that can be pickled.
        blocking: it is a plain one, to be called in a process of its own.
    """

    call: Callable[[Run], Any]
    blocking: bool


def handlers(known: job_types.Known, *, files_roots: tuple[Path, ...]) -> dict[str, Handler]:
    """All handlers, by job type.

    Args:
        known: what is installed.
        files_roots: the only directories in which they may touch files.
    """
    ours = {
        "custom": Handler(call=custom.handle, blocking=False),
        "cleanup_task": Handler(call=partial(cleanup_task.handle, files_roots=files_roots), blocking=True),
    }
    return ours | _theirs(known.plugins)


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
