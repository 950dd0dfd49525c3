"""`daybook keys`: API keys made, shown and revoked straight on the stores, so that there can be a first one."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from services.cli.stores import opened
from shared.domain import apikey, ids
from shared.domain.commands import IssueApiKey, RevokeApiKey
from shared.domain.refusals import Refused
from shared.domain.roles import is_subject, is_tenant
from shared.eventlog.decider import Decider
from shared.eventlog.envelope import Context
from shared.eventlog.log import EventLog
from shared.eventlog.position import Position
from shared.faults import Fatal
from shared.metrics import Metrics
from shared.readmodel import archive
from shared.readmodel.database import sql
from shared.recovery import archived_units

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.cli.stores import Stores
    from shared.domain.commands import ApiKeyCommand
    from shared.domain.roles import Role
    from shared.eventlog.decider import Decided
    from shared.settings import Settings

ACTOR = Context(actor="cli")
ARCHIVED_S = 5.0  # then it is said that the archive lags
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A key to be made; `days` until it expires, None: never."""

    name: str
    role: Role
    owner: str
    tenant: str
    days: int | None


async def create(
    told: Settings, wanted: Wanted, *, chance: Callable[[], int], say: Callable[[str], None]
) -> int:
    """Make a key, and print it: nothing else, so that a script can take it.

    Raises:
        Fatal: owner or tenant is no name, or the stores are not known.
        OSError: one doesn't answer.
    """
    _check(wanted)
    key = apikey.made_of(secrets.token_urlsafe(apikey.SECRET_BYTES))
    key_hash = apikey.digest(key)
    async with opened(told) as stores, log_of(stores, told, chance) as log:
        now = await log.sync()
        command = IssueApiKey(
            id=ids.chance_id(now, apikey.partition_of(key_hash, log.partitions), chance()),
            hash=key_hash,
            prefix=apikey.shown(key),
            name=wanted.name,
            role=wanted.role,
            tenant=wanted.tenant,
            owner=wanted.owner,
            by=ACTOR.actor,
            expires_at=None if wanted.days is None else now + timedelta(days=wanted.days),
        )
        await _carried_out(stores, log, key_hash, command, chance)
    say(key)
    return 0


async def show(told: Settings, *, say: Callable[[str], None]) -> int:
    """A line a key, its fields apart by tabs.

    Raises:
        Fatal: the stores are not known.
        OSError: one doesn't answer.
    """
    async with opened(told) as stores:
        rows = await stores.pool.fetch(_statement("api_keys"))
    say("id\tprefix\trole\ttenant\towner\tname\tissued\texpires\trevoked")
    for row in rows:
        times = (row["issued_at"], row["expires_at"], row["revoked_at"])
        said = [row[name] for name in ("id", "prefix", "role", "tenant", "owner", "name")]
        said += ["-" if at is None else at.isoformat(timespec="seconds") for at in times]
        say("\t".join(said))
    return 0


async def revoke(told: Settings, key: str, *, chance: Callable[[], int], say: Callable[[str], None]) -> int:
    """Revoke the key that `key`, an id or a prefix, means.

    Raises:
        Fatal: it means none, or several.
        OSError: a store doesn't answer.
    """
    async with opened(told) as stores, log_of(stores, told, chance) as log:
        rows = await stores.pool.fetch(_statement("api_key"), key)
        if len(rows) != 1:
            raise Fatal(f"{key} means {len(rows) or 'no'} keys: `daybook keys list` shows their ids.")
        await log.sync()
        await _carried_out(stores, log, rows[0]["hash"], RevokeApiKey(by=ACTOR.actor), chance)
        say(f"{rows[0]['id']} is revoked")
    return 0


def _check(wanted: Wanted) -> None:
    if not is_subject(wanted.owner):
        raise Fatal(
            "An owner has 1 to 200 visible ASCII characters without spaces, and is no part of the system: --owner."
        )
    if not is_tenant(wanted.tenant):
        raise Fatal("A tenant has 1 to 100 letters, digits, dots, dashes or underscores.")
    if not 1 <= len(wanted.name) <= 200 or not wanted.name.isprintable():  # noqa: PLR2004 - API.md
        raise Fatal("A name has 1 to 200 characters that can be printed.")


@contextlib.asynccontextmanager
async def log_of(stores: Stores, told: Settings, chance: Callable[[], int]) -> AsyncIterator[EventLog]:
    """The deployment's log, to be written to by a command."""

    async def reopen(partition: int) -> None:
        await stores.open_log(partition, lease_s=told.lease_seconds, chance=chance)

    log = EventLog(
        stores.redis,
        prefix=stores.fixed.prefix,
        partitions=stores.fixed.partitions,
        process=f"cli-{secrets.token_hex(8)}",
        metrics=Metrics(),
        reopen=reopen,
        settled=lambda partition, units: archived_units(stores.pool, partition, units),
    )
    try:
        yield log
    finally:
        await log.close()


async def _carried_out(
    stores: Stores, log: EventLog, key_hash: str, command: ApiKeyCommand, chance: Callable[[], int]
) -> None:
    decider = Decider(log, lease=timedelta(seconds=1), chance=chance)  # no run is started here
    try:
        decided = await decider.decide(f"apikey:{key_hash}", command, ACTOR)
    except Refused as refused:
        raise Fatal(f"{refused.detail} (It was revoked before, or its log lags.)") from refused
    await _archived(stores, decided)


async def _archived(stores: Stores, decided: Decided) -> None:
    """Wait until the archive has it.

    Raises:
        Fatal: it hasn't after ARCHIVED_S; what is written stands, as long as Redis does.
    """
    if decided.last is None:
        return
    try:
        async with asyncio.timeout(ARCHIVED_S):
            while True:
                mark = await archive.checkpoint(stores.pool, decided.partition)
                if mark is not None and Position(mark.epoch, mark.pos) >= decided.last:
                    return
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        raise Fatal(
            f"It is written, but not archived within {ARCHIVED_S:.0f} s: is a projector running? Look with "
            "`daybook keys list`, and revoke what you don't use."
        ) from None


def _statement(name: str) -> str:
    return sql("services.cli", f"statements/{name}.sql")
