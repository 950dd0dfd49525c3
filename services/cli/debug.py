"""`daybook debug replay`, `daybook events diff`: how something became what it is, and what differs between two."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli.database import archived_in
from services.cli.operating import finished, settings_of
from shared.eventlog import snapshot
from shared.eventlog.envelope import rfc3339
from shared.eventlog.position import BadPosition, parse_places
from shared.faults import Fatal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.recovery.stepping import Step
    from shared.settings import Settings

STATEMENT_TIMEOUT_S = 300
PARTITIONS_MAX = 10_000
DIFFERENT = 1


def _of(command: Callable[..., None]) -> Callable[..., None]:
    for option, told in (
        ("--data-dir", "Of a running `up` (DAYBOOK_DATA_DIR)."),
        ("--run", "Of this execution."),
        ("--job", "Of this job."),
    ):
        kind = click.Path(path_type=Path) if option == "--data-dir" else None
        command = click.option(option, type=kind, help=told)(command)
    return command


@click.group()
def debug() -> None:
    """Look into what has happened, straight in the archive; nothing is changed.

    \b
    daybook debug replay --job 01a20846-fe00-8000-8567-89abcdef0123
    """  # noqa: D301 - click's mark


@debug.command()
@_of
@click.option("--until", metavar="POSITION", help="Up to this one, PARTITION:EPOCH-NUMBER, and not beyond.")
@click.option(
    "--json", "as_json", is_flag=True, help="A line an event: the event, and the whole state after it."
)
def replay(*, job: str | None, run: str | None, until: str | None, as_json: bool, **options: Any) -> None:
    """Show each event of a job or an execution, and what it has changed of the state.

    Old versions of events are read as they are anywhere else; so is what retention has brought forward.

    \b
    daybook debug replay --job ID --until 0:1795792000000-5120
    """  # noqa: D301 - click's mark
    told, ref = settings_of(options, "debug"), _ref(job, run)

    async def show() -> int:
        before: Any = {}
        for step in await _steps(told, ref, None if until is None else _pos(until)):
            state = _document(step)
            click.echo(_line(step, state) if as_json else "\n".join(_told(step, before, state)))
            before = state
        return 0

    sys.exit(finished(show))


@click.command()
@click.argument("a")
@click.argument("b")
@_of
def diff(*, a: str, b: str, job: str | None, run: str | None, **options: Any) -> None:
    """What differs between A and B: the states of a job or an execution at two positions, or two files of events.

    Files have events as `daybook -o json events list` or a cold copy has them. The status is 1 if something differs.

    \b
    daybook events diff 0:1795792000000-5120 0:1795792000000-6000 --job ID
    daybook events diff before.json after.json
    """  # noqa: D301 - click's mark
    told = settings_of(options, "debug")

    async def look() -> int:
        if job is None and run is None:
            lines = list(_files_differ(_events(Path(a)), _events(Path(b))))
        else:
            ref = _ref(job, run)
            one, another = [_document((await _steps(told, ref, _pos(each)))[-1]) for each in (a, b)]
            lines = list(_differences(one, another))
        click.echo("\n".join(lines) or "no difference")
        return DIFFERENT if lines else 0

    sys.exit(finished(look))


def _ref(job: str | None, run: str | None) -> str:
    if (job is None) == (run is None):
        raise click.UsageError("Say --job or --run, one of them.")
    return f"job:{job}" if job is not None else f"run:{run}"


def _pos(text: str) -> int:
    try:
        ((_, position),) = parse_places(text, partitions=PARTITIONS_MAX).items()
    except (BadPosition, ValueError) as error:
        raise Fatal(f"{text} is no position: write PARTITION:EPOCH-NUMBER.") from error
    return position.pos


async def _steps(told: Settings, ref: str, until: int | None) -> list[Step]:
    from shared.eventlog.envelope import UnknownEvent  # noqa: PLC0415
    from shared.recovery.stepping import steps  # noqa: PLC0415

    async with (
        archived_in(told, statement_timeout_s=STATEMENT_TIMEOUT_S) as pool,
        pool.acquire() as connection,
    ):
        try:
            found = [step async for step in steps(connection, ref, until=until)]
        except UnknownEvent as error:
            raise Fatal(f"{error}: a newer Daybook can read it.") from error
    if not found:
        raise Fatal(f"The archive has no event of {ref.replace(':', ' ')} up to there.")
    if until is not None and found[0].event is None and found[0].at.pos > until:
        raise Fatal(f"What was before {found[0].at} has been dropped; the cold copies have it.")
    return found


def _document(step: Step) -> Any:
    return json.loads(snapshot.dump(step.state))


def _line(step: Step, state: Any) -> str:
    event = step.event and {
        "position": step.event.place,
        "id": step.event.id,
        "type": step.event.type,
        "v": step.event.v,
        "time": _time(step.event.at),
        "actor": step.event.actor,
        "data": json.loads(step.event.data),
    }
    return json.dumps({"event": event, "state": state}, ensure_ascii=False)


def _told(step: Step, before: Any, state: Any) -> Iterator[str]:
    from services.cli.show import printable  # noqa: PLC0415

    if (event := step.event) is None:
        yield f"{step.at}  brought forward: what was before has been dropped"
    else:
        yield printable(
            f"{event.place}  {_time(event.at)}  {event.type} v{event.v}  by {event.actor}  {event.id}"
        )
    for line in _differences(before, state):
        yield f"    {printable(line)}"


def _time(at_ms: int) -> str:
    from shared.domain import ids  # noqa: PLC0415

    return rfc3339(ids.from_ms(at_ms))


def _differences(one: Any, another: Any) -> Iterator[str]:
    from services.api.json_patch import differences  # noqa: PLC0415

    for each in differences(one, another):
        sides = [
            json.dumps(each[side], ensure_ascii=False) if side in each else "-" for side in ("from", "to")
        ]
        yield f"{each['pointer']}: {' → '.join(sides)}"


# Files of events.


def _events(path: Path) -> dict[str, Any]:
    """The events of a file by their ids, in its order."""
    try:
        text = path.read_text()
        told = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(line) for line in text.splitlines()]
        )
        return {each["id"]: each for each in told}
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise Fatal(f"{path} has no events: a JSON list, or a line each, with their ids.") from error


def _files_differ(one: dict[str, Any], another: dict[str, Any]) -> Iterator[str]:
    for event_id, event in one.items():
        if event_id not in another:
            yield f"- {event_id} {event.get('type')}"
        else:
            for line in _differences(event, another[event_id]):
                yield f"~ {event_id} {event.get('type')} {line}"
    for event_id, event in another.items():
        if event_id not in one:
            yield f"+ {event_id} {event.get('type')}"
