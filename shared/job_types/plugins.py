"""Job types of other people: what entry points in the group `daybook.handlers` name, and DAYBOOK_HANDLERS.

A module of DAYBOOK_HANDLERS says by itself what it serves: `HANDLERS = {"thumbnail": thumbnail}`. The operator has
named it, so whatever is wrong with it stops the start; a package that happens to be installed is refused alone.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from shared.handlers import ENTRY_POINTS
from shared.job_types.job_type import JobType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class BadPlugin(Exception):  # noqa: N818 - a finding about somebody's package
    """An entry point can't serve as a handler; the message is a sentence that says why."""


class BadModule(BadPlugin):
    """A module that DAYBOOK_HANDLERS names can't serve; likewise."""


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


def load(
    *,
    reserved: Collection[str],
    found: Iterable[EntryPoint] | None = None,
    modules: Sequence[str] = (),
) -> Plugins:
    """Import every plug-in; a package's that is broken is refused alone, with a sentence.

    Args:
        reserved: job types that are ours.
        found: what to look at instead of what is installed.
        modules: whose `HANDLERS` are served as well.

    Raises:
        BadModule: one of the modules can't serve.
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
    for module in dict.fromkeys(modules):
        for plugin in _served(module, reserved):
            _join(plugins, plugin)
    return plugins


def of(name: str, handler: object, source: str) -> Plugin:
    """A function as the handler of a job type.

    Args:
        name: of the type.
        handler: what is said to be its handler.
        source: where it comes from.

    Raises:
        BadPlugin: it can't be one.
    """
    if not callable(handler):
        raise BadPlugin(f"what {source} has for {name} is not a function")
    model = getattr(handler, "model", None)
    if model is not None and not (inspect.isclass(model) and issubclass(model, BaseModel)):
        raise BadPlugin(f"the model of {name} of {source} is not a pydantic model")
    description = (inspect.getdoc(handler) or "").partition("\n\n")[0].replace("\n", " ")
    return Plugin(
        job_type=JobType(name=name, description=description, model=model, source=source),
        handler=handler,
        blocking=not (inspect.iscoroutinefunction(handler) or _calls_async(handler)),
    )


# Modules.


def _served(module: str, reserved: Collection[str]) -> Iterator[Plugin]:
    try:
        served = getattr(import_module(module), "HANDLERS", None)
    except (Exception, SystemExit) as error:
        raise BadModule(
            f"DAYBOOK_HANDLERS: {module} can't be imported: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(served, Mapping) or not served:
        raise BadModule(f'DAYBOOK_HANDLERS: {module} has no HANDLERS = {{"job_type": function, …}}')
    for name, handler in served.items():
        try:
            _check_name(str(name), module, reserved)
            yield of(str(name), handler, module)
        except BadPlugin as why:
            raise BadModule(f"DAYBOOK_HANDLERS: {why}") from why


def _join(plugins: Plugins, plugin: Plugin) -> None:
    name, source = plugin.job_type.name, plugin.job_type.source
    there = plugins.usable.get(name)
    if there is not None and there.handler is not plugin.handler:
        raise BadModule(f"DAYBOOK_HANDLERS: {source} and {there.job_type.source} both want to serve {name}")
    plugins.usable[name] = plugin
    plugins.refused.pop(name, None)


# Packages.


def _check_name(name: str, source: str, reserved: Collection[str]) -> None:
    if name in reserved:
        raise BadPlugin(f"{source} can't serve {name}: this job type is built in")
    if not _NAME.fullmatch(name):
        raise BadPlugin(f"{name[:80]!r} is no job type: write lower-case letters, digits and _, at most 64")


def _plugin(name: str, entries: list[EntryPoint], reserved: Collection[str]) -> Plugin:
    _check_name(name, _source(entries[0]), reserved)
    if len({entry.value for entry in entries}) > 1:
        raise BadPlugin(f"{' and '.join(sorted(map(_source, entries)))} both want to serve {name}")
    return _loaded(name, entries[0])


def _loaded(name: str, entry: EntryPoint) -> Plugin:
    try:
        handler = entry.load()
    except Exception as error:
        raise BadPlugin(f"{entry.value} could not be imported: {type(error).__name__}: {error}") from error
    return of(name, handler, _source(entry))


def _calls_async(handler: object) -> bool:
    return not inspect.isfunction(handler) and inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


def _source(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value.partition(":")[0]
