"""Jobs from options and files: the body that the API is sent."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from services.cli.files import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_EVERY = re.compile(r"([0-9]{1,9})([smhd]?)")


class Every(click.ParamType[int]):
    """Seconds: 90, 90s, 5m, 2h, 1d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """As click asks for it."""
        if isinstance(value, int):
            return value
        match = _EVERY.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is no time; write 90, 90s, 5m, 2h or 1d", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


class Data(click.ParamType[dict[str, Any]]):
    """A JSON object, or @file with one in JSON or YAML."""

    name = "json|@file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """As click asks for it."""
        if isinstance(value, dict):
            return value
        from services.cli.yaml_text import BadYaml, load  # noqa: PLC0415

        try:
            found = load(read_text(value[1:])) if value.startswith("@") else json.loads(value)
        except (BadYaml, ValueError) as error:
            self.fail(f"{value[:80]} is no JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"{value[:80]} is no object", param, ctx)
        return found


class Dates(click.ParamType[Any]):
    """A date, or a range of two."""

    name = "date|date..date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """As click asks for it; whether they are dates the API says."""
        if not isinstance(value, str) or ".." not in value:
            return value
        begin, _, end = value.partition("..")
        return {"from": begin, "to": end}


_SCHEDULE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "--cron",
        "cron_expression",
        {"multiple": True, "help": "5 fields, or 6 with seconds first; several: union."},
    ),
    ("--every", "interval_seconds", {"type": Every(), "help": "90, 90s, 5m, 2h, 1d."}),
    ("--at", "run_at", {"help": "Once, at a time with its offset: 2027-01-31T09:00:00+01:00."}),
    ("--jitter", "jitter_seconds", {"type": Every(), "help": "Fire up to so much later: 30s, 5m."}),
    (
        "--exclude",
        "exclude",
        {
            "multiple": True,
            "type": Dates(),
            "help": "A date, or two: 2026-12-24..2027-01-01; several times for several.",
        },
    ),
    ("--exclude-calendar", "exclude_calendars", {"multiple": True, "help": "See `daybook calendars`."}),
    ("--timezone", "timezone", {"help": "Of the cron expression, such as Europe/Vienna."}),
    ("--start-at", "start_at", {"help": "No occurrence before it; an interval's first."}),
    ("--end-at", "end_at", {"help": "No occurrence after it."}),
    ("--max-runs", "max_runs", {"type": int, "help": "So many runs, ever."}),
)
_FIELDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--name", "name", {"help": "What people call it."}),
    ("--type", "job_type", {"help": "One of GET /job-types."}),
    ("--data", "job_data", {"type": Data(), "help": "What the type needs."}),
    *_SCHEDULE,
    ("--description", "description", {}),
    ("--tag", "tags", {"multiple": True, "help": "Several times for several."}),
    ("--queue", "queue", {}),
    ("--priority", "priority", {"type": int, "help": "1 to 10, 10 first."}),
    ("--timeout", "timeout_seconds", {"type": Every(), "help": "For one attempt."}),
    ("--retries", "max_retries", {"type": int, "help": "After the first attempt."}),
    ("--pause-after-failures", "pause_after_failures", {"type": int, "help": "So many in a row pause it."}),
    ("--concurrency-key", "concurrency_key", {"help": "Jobs that share it limit each other."}),
    ("--concurrency-limit", "concurrency_limit", {"type": int, "help": "Runs of that key at once; 1."}),
    ("--overlap", "overlap_policy", {"help": "skip, queue_one, queue_all, replace or allow."}),
)


def job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options for the fields of a job."""
    return _with(_FIELDS, command)


def schedule_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options for those of them that are its schedule."""
    return _with(_SCHEDULE, command)


def _with(
    fields: Sequence[tuple[str, str, dict[str, Any]]], command: Callable[..., None]
) -> Callable[..., None]:
    for option, field, told in reversed(fields):
        command = click.option(option, field, **told)(command)
    return command


def fields_of(options: dict[str, Any]) -> dict[str, Any]:
    """Those that were given."""
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    for name in {"tags", "exclude", "exclude_calendars"} & given.keys():
        given[name] = list(given[name])
    if "cron_expression" in given:
        one, *more = given["cron_expression"]
        given["cron_expression"] = [one, *more] if more else one
    return given


def assigned(pairs: Sequence[str]) -> dict[str, Any]:
    """The merge patch of `--set path.to.field=value`, the values in YAML.

    Raises:
        click.UsageError: one isn't of that form.
    """
    from services.cli.yaml_text import BadYaml, load  # noqa: PLC0415

    patch: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals or not all(path.split(".")):
            raise click.UsageError(f"{pair!r} is no field=value; write --set priority=7")
        try:
            value = load(text)
        except BadYaml as error:
            raise click.UsageError(f"--set {pair!r}: {error}") from None
        *parents, last = path.split(".")
        inside = patch
        for parent in parents:
            inside = inside.setdefault(parent, {})
            if not isinstance(inside, dict):
                raise click.UsageError(f"--set {pair!r}: {parent} was set to a value before")
        inside[last] = value
    return patch
