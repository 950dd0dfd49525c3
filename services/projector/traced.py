"""The spans of a projector: of each commit that it has archived one, in the commit's own trace.

A batch holds what many requests and runs have written. One span of it with a thousand links would be in nobody's trace;
so each commit gets its own, which lasts as long as the batch did.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind

from shared.tracing.spans import Past, is_wanted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.eventlog.envelope import Recorded
    from shared.tracing.spans import Tracing


def tell(tracing: Tracing, events: Iterable[Recorded], began_ns: int, ended_ns: int) -> None:
    """Make the spans of a batch that was read at `began_ns` and is archived since `ended_ns`."""
    for parent, group in groupby(events, key=attrgetter("trace")):
        if is_wanted(parent):
            committed = list(group)
            tracing.tell(
                Past(
                    name="archive",
                    kind=SpanKind.CONSUMER,
                    parent=parent,
                    began_ns=began_ns,
                    ended_ns=ended_ns,
                    attributes={
                        "daybook.partition": committed[0].partition,
                        "daybook.position": str(committed[-1].position),
                        "daybook.events": [event.type for event in committed],
                    },
                )
            )
