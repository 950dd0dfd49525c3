"""`daybook simulate`: what a job would have run, and would run, if it were changed; over the REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from services.api.json_patch import merged
from services.cli.failures import STATUSES
from services.cli.files import one_object_in
from services.cli.job_fields import assigned
from services.cli.session import path_of, talks
from services.cli.show import Column, document, listed, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.cli.session import Session


@click.command(epilog=STATUSES)
@click.argument("job_id", metavar="JOB")
@click.option(
    "--set", "pairs", multiple=True, metavar="FIELD=VALUE", help="Such as overlap_policy=queue_one; several."
)
@click.option(
    "-f",
    "--file",
    "name_of_file",
    help="What is to change, in YAML or JSON, - for stdin; --set goes over it.",
)
@click.option("--since", metavar="TIME", help="The past begins then; a week ago, or when the job was made.")
@click.option("--until", metavar="TIME", help="The future ends then, or the past if that is over; in a day.")
@click.option("--count", type=click.IntRange(1, 1_000), help="And after so many occurrences; 100.")
@click.option("--all", "shows_all", is_flag=True, help="Show also what stays the same.")
@click.option("--json", "as_json", is_flag=True, help="As -o json.")
@talks
def simulate(
    session: Session,
    *,
    job_id: str,
    pairs: tuple[str, ...],
    name_of_file: str | None,
    shows_all: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Show what JOB would have run, and would run, if it were changed as `jobs edit` does. Nothing is changed.

    The past goes by what really happened: pauses, triggers, how long runs took, a timer that was late. A star marks
    what is estimated from how long the job's runs usually take.

    \b
    Before a job of every hour runs every ten minutes, and its runs wait for each other:
      daybook simulate ID --set 'cron_expression=*/10 * * * *' --set overlap_policy=queue_one
    """  # noqa: D301 - click's mark
    patch = one_object_in(name_of_file) if name_of_file else {}
    patch = _over(patch, assigned(pairs))
    told = session.client.ask(path_of("jobs", job_id, "/simulate"), patch, **asked).json()
    if as_json or session.output != "table":
        document(told, "json" if as_json else session.output)
        return
    listed(_rows(told, shows_all=shows_all), session.output, _COLUMNS)
    for name in ("past", "future"):
        if told[name] is not None:
            say(_summary(name, told[name]))
            for text in _beside(told[name]):
                say(text)
    for text in told["assumptions"]:
        say(text)


def _over(patch: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Two merge patches as one: null stays, as it takes a field back."""
    kept = {name: value for name, value in more.items() if value is None or not isinstance(value, dict)}
    deep = {name: merged(patch.get(name), value) for name, value in more.items() if name not in kept}
    return patch | kept | deep


def _rows(told: Mapping[str, Any], *, shows_all: bool) -> Iterator[dict[str, Any]]:
    for name in ("past", "future"):
        for each in (told[name] or {"items": ()})["items"]:
            if shows_all or each["change"] != "same":
                yield each | {"span": name}


def _at(each: Mapping[str, Any]) -> str:
    times = [side["scheduled_for"] for side in (each["was"], each["would"]) if side is not None]
    return " → ".join(dict.fromkeys(times))


def _side(side: Mapping[str, Any] | None) -> str | None:
    if side is None:
        return None
    star = "*" if side["estimated"] else ""
    if side["decision"] == "skip":
        return f"skip: {side['reason']}{star}"
    waits = ", waits" if side["waits"] else ""
    return f"run{waits}{star}" if side["status"] is None else f"run{waits}: {side['status']}"


def _collides(side: Mapping[str, Any] | None) -> str | None:
    return None if side is None else side["collides_with"]


def _summary(name: str, span: Mapping[str, Any]) -> str:
    was, would, totals = span["was"], span["would"], span["totals"]
    changes = ", ".join(f"{count} {change}" for change, count in totals.items())
    tenses = ("ran", "would have run") if name == "past" else ("will run", "would run")
    cut = " Not all of it is listed." if span["truncated"] else ""
    return (
        f"{name.capitalize()}, {span['from']} to {span['to']}: {was['runs']} {tenses[0]}, {would['runs']} {tenses[1]} "
        f"({changes}); collisions: {was['collisions']}, {would['collisions']}.{cut}"
    )


def _beside(span: Mapping[str, Any]) -> Iterator[str]:
    """What a table of occurrences doesn't show."""
    for each in span["paused_by_failures"]:
        yield f"  {each['at']}: failures would have paused it, {each['reason']}"
    for each in span["refused"]:
        yield f"  {each['at']}: {each['command']} would have been refused: {each['detail']}"


_COLUMNS = (
    Column("", lambda each: each["span"]),
    Column("CHANGE", lambda each: each["change"]),
    Column("SCHEDULED FOR", _at),
    Column("WAS", lambda each: _side(each["was"])),
    Column("WOULD", lambda each: _side(each["would"])),
    Column("COLLIDES WITH", lambda each: _collides(each["would"])),
)
