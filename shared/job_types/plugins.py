"""Job types of other people's packages: what the entry points in the group `daybook.handlers` name."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from shared.handlers import ENTRY_POINTS
from shared.job_types.job_type import JobType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class BadPlugin(Exception):  # noqa: N818 - a finding about somebody's package
    """An entry point can't serve as a handler; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A handler that somebody has installed.

    Attributes:
        handler: the function itself.
        blocking: it is a plain function and belongs into a process of its own.
    """

    job_type: JobType
    handler: Callable[[Any], Any]
    blocking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugins:
    """Those that can be used, by job type; what is wrong with the others, by the name they ask for."""

    usable: dict[str, Plugin] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def load(*, reserved: Collection[str], found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Import every plug-in; one that is broken is refused alone, with a sentence.

    Args:
        reserved: job types that are ours.
        found: what to look at instead of what is installed.
    """
    plugins = Plugins()
    by_name: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=ENTRY_POINTS) if found is None else found:
        by_name.setdefault(entry.name, []).append(entry)
    for name, entries in sorted(by_name.items()):
        try:
            plugins.usable[name] = _plugin(name, entries, reserved)
        except BadPlugin as why:
            plugins.refused[name] = str(why)
    return plugins


def _plugin(name: str, entries: list[EntryPoint], reserved: Collection[str]) -> Plugin:
    if name in reserved:
        raise BadPlugin(f"{_source(entries[0])} can't serve {name}: this job type is built in")
    if not _NAME.fullmatch(name):
        raise BadPlugin(f"{name[:80]!r} is no job type: write lower-case letters, digits and _, at most 64")
    if len({entry.value for entry in entries}) > 1:
        raise BadPlugin(f"{' and '.join(sorted(map(_source, entries)))} both want to serve {name}")
    return _loaded(name, entries[0])


def _loaded(name: str, entry: EntryPoint) -> Plugin:
    try:
        handler = entry.load()
    except Exception as error:
        raise BadPlugin(f"{entry.value} could not be imported: {type(error).__name__}: {error}") from error
    if not callable(handler):
        raise BadPlugin(f"{entry.value} is not a function")
    model = getattr(handler, "model", None)
    if model is not None and not (inspect.isclass(model) and issubclass(model, BaseModel)):
        raise BadPlugin(f"{entry.value}.model is not a pydantic model")
    description = (inspect.getdoc(handler) or "").partition("\n\n")[0].replace("\n", " ")
    return Plugin(
        job_type=JobType(name=name, description=description, model=model, source=_source(entry)),
        handler=handler,
        blocking=not (inspect.iscoroutinefunction(handler) or _calls_async(handler)),
    )


def _calls_async(handler: object) -> bool:
    return not inspect.isfunction(handler) and inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def _source(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value.partition(":")[0]
