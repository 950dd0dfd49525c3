"""The API key: somebody's leave to use the API, given once and taken back once.

```
 issue ─▶ live ── revoke ─▶ revoked          (expired: live, and `expires_at` is past; nothing happens at that moment)
```
The key itself is nowhere: its id among aggregates is the SHA-256 of it. A key is 256 bits of chance, so nobody can try
all: the slow, salted hashes that passwords need would only slow down every request.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 - the codec reads these annotations
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.domain.commands import ApiKeyCommand, IssueApiKey, RevokeApiKey
from shared.domain.events import ApiKeyIssued, ApiKeyRevoked, Change, Decision
from shared.domain.refusals import IllegalTransition, NoSuchApiKey
from shared.domain.roles import Role  # noqa: TC001 - likewise
from shared.domain.value import Value

if TYPE_CHECKING:
    from shared.domain.events import Event

BEGINS = "dbk_"
SECRET_BYTES = 32
_SHOWN = 12  # characters of a key that lists show: 48 of its 256 bits
_HEX = 16


class Revocation(Value, frozen=True, kw_only=True):
    """Who took a key back, and when."""

    by: str
    at: datetime


class ApiKey(Value, frozen=True, kw_only=True):
    """The fold of a key's events.

    Attributes:
        id: for people and paths; it opens nothing.
        hash: SHA-256 of the key, hex.
        prefix: its first characters, by which its holder knows it again.
        owner: whoever it acts for: events name them, and jobs made with it are theirs.
        expires_at: from then on it opens nothing; None: never.
    """

    id: str
    hash: str
    prefix: str
    name: str
    role: Role
    tenant: str
    owner: str
    issued_at: datetime
    expires_at: datetime | None
    revoked: Revocation | None = None

    @property
    def over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.revoked is not None

    def opens_at(self, now: datetime) -> bool:
        """Whether it may be used at `now`."""
        return self.revoked is None and (self.expires_at is None or now < self.expires_at)


def made_of(secret: str) -> str:
    """The key that is made of a secret, 32 bytes of chance as URL-safe text."""
    return BEGINS + secret


def digest(key: str) -> str:
    """What a key is kept and found under; of any text."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def shown(key: str) -> str:
    """The part of a key that may be shown."""
    return key[:_SHOWN]


def partition_of(key_hash: str, partitions: int) -> int:
    """Where a key stands: nothing but its hash is known when it is used."""
    return int(key_hash[:8], _HEX) % partitions


def decide(key: ApiKey | None, command: ApiKeyCommand, now: datetime) -> Decision:
    """The events that `command` leads to at `now`.

    Raises:
        Refused: the command doesn't fit; nothing is to be written.
    """
    match command:
        case IssueApiKey() if key is not None:
            raise IllegalTransition(f"key {key.id} has been issued already")
        case IssueApiKey():
            return _decided(command.hash, _issued(command, now))
        case RevokeApiKey() if key is None:
            raise NoSuchApiKey
        case RevokeApiKey() if key.revoked is not None:
            return Decision()
        case RevokeApiKey(by=by):
            return _decided(key.hash, ApiKeyRevoked(by=by, revoked_at=now))


def evolve(key: ApiKey | None, change: Change) -> ApiKey:
    """The key after an event of it."""
    match change.event:
        case ApiKeyIssued() as event:
            told = {name: getattr(event, name) for name in event.__struct_fields__ if name != "by"}
            return ApiKey(**told)
        case ApiKeyRevoked(by=by, revoked_at=at) if key is not None:
            return replace(key, revoked=Revocation(by=by, at=at))
        case _ if key is not None:
            return key
        case _:
            raise ValueError(f"{change.subject} has an event before its ApiKeyIssued")


def _issued(command: IssueApiKey, now: datetime) -> ApiKeyIssued:
    return ApiKeyIssued(
        id=command.id,
        hash=command.hash,
        prefix=command.prefix,
        name=command.name,
        role=command.role,
        tenant=command.tenant,
        owner=command.owner,
        by=command.by,
        issued_at=now,
        expires_at=command.expires_at,
    )


def _decided(key_hash: str, event: Event) -> Decision:
    return Decision(changes=(Change(subject=f"apikey:{key_hash}", event=event),))
