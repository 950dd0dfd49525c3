"""The ledger of API keys: who was given one, and who took it back. A batch's rows need nothing that was before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.domain.events import ApiKeyIssued, ApiKeyRevoked
from shared.domain.value import Value
from shared.eventlog.position import Position  # noqa: TC001 - the codec reads these annotations

if TYPE_CHECKING:
    from shared.domain.events import Change
    from shared.eventlog.envelope import Recorded


class KeyRow(Value, frozen=True, kw_only=True):
    """What a batch says of one key; None: nothing.

    Attributes:
        position: of the last event folded in.
    """

    issued: ApiKeyIssued | None = None
    revoked: ApiKeyRevoked | None = None
    position: Position


def fold(row: KeyRow | None, recorded: Recorded, change: Change) -> KeyRow | None:
    """The row after an event; None if it is of no key."""
    match change.event:
        case ApiKeyIssued() as event:
            return KeyRow(issued=event, position=recorded.position)
        case ApiKeyRevoked() as event:
            issued = None if row is None else row.issued
            return KeyRow(issued=issued, revoked=event, position=recorded.position)
        case _:
            return row


def stored(key_hash: str, row: KeyRow, partition: int) -> tuple[Any, ...]:
    """The row of `ledger.api_keys`, in the order of its columns."""
    issued, revoked = row.issued, row.revoked
    told = (
        (None,) * 9
        if issued is None
        else (
            issued.id, issued.prefix, issued.name, issued.role, issued.tenant, issued.owner, issued.by,
            issued.issued_at, issued.expires_at,
        )
    )  # fmt: skip
    ended = (None, None) if revoked is None else (revoked.by, revoked.revoked_at)
    return (key_hash, partition, *told, *ended, *row.position)
