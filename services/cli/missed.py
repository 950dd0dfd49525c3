"""`daybook missed`: occurrences that nobody has decided, over the REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from services.cli.failures import STATUSES
from services.cli.session import talks
from services.cli.show import Column, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.cli.client import Client
    from services.cli.session import Session

PAGE, PAGES = 200, 50  # the API has no more
COLUMNS = (
    Column("JOB", lambda each: each["job_id"]),
    Column("NAME", lambda each: each["job_name"]),
    Column("SCHEDULED", lambda each: each["scheduled_for"]),
    Column("MISSING SINCE", lambda each: each["missing_since"]),
)


@click.command(epilog=STATUSES)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@talks
def missed(session: Session, *, limit: int) -> None:
    """Show what should have been decided and was not, what has been missing longest first.

    There is nothing, as long as a timer is alive: see the runbook if there is.

    \b
    What the night has cost:
      daybook missed --limit 1000
    """  # noqa: D301 - click's mark
    listed(_items(session.client, limit), session.output, COLUMNS)


def _items(client: Client, limit: int) -> Iterator[dict[str, Any]]:
    size = min(limit, PAGE)
    for page in range(1, min(PAGES, -(-limit // size)) + 1):
        items = client.get("/missed", page=page, per_page=size).json()["items"]
        yield from items[: limit - (page - 1) * size]
        if len(items) < size:
            return
