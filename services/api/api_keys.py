"""API keys: given out, listed, taken back; and the short-lived tokens that one is exchanged for."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from services.api import answers, door, lists, reads
from services.api.principal import present
from services.api.problems import Fault, Problem, invalid
from services.api.requests import ApiKeyBody, TokenBody
from services.api.responses import ApiKeyMadeView, ApiKeyView, RevocationView, TokenView
from services.api.tokens import LASTS
from services.api.writes import Writes
from shared import logs
from shared.domain import apikey, ids
from shared.domain.commands import IssueApiKey, RevokeApiKey
from shared.domain.roles import is_subject
from shared.eventlog.snapshot import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg
    from quart import Quart, Response

    from services.api.deps import Deps
    from services.api.tokens import Tokens


class ApiKeys:
    """The routes about keys and tokens."""

    def __init__(self, deps: Deps, tokens: Tokens) -> None:
        self._deps = deps
        self._tokens = tokens
        self._write = Writes(decider=deps.decider, archive=deps.archive)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        base = f"{answers.BASE}/api-keys"
        app.add_url_rule(base, "list_api_keys", self.list, methods=["GET"])
        app.add_url_rule(base, "create_api_key", self.create, methods=["POST"])
        app.add_url_rule(f"{base}/<key_id>", "revoke_api_key", self.revoke, methods=["DELETE"])
        app.add_url_rule(f"{answers.BASE}/tokens", "create_token", self.token, methods=["POST"])

    async def list(self) -> Response:
        """GET /api-keys; those that were revoked are told too."""
        given = await reads.query(self._deps, *lists.PARAMETERS)
        page = lists.page_of(given, default_size=self._deps.settings.jobs_per_page)
        found = await self._deps.ledger.api_keys(limit=page.size, offset=page.offset)
        used = await self._used([row["hash"] for row in found.rows])
        items = [_view(row, at) for row, at in zip(found.rows, used, strict=True)]
        return lists.paged(items, page, found.counted)

    async def create(self) -> Response:
        """POST /api-keys: the only answer that has the key."""
        deps, principal = self._deps, present()
        _refuse_key()
        body = door.body(ApiKeyBody)
        owner = principal.id if body.owner is None else body.owner
        if body.owner is not None and not is_subject(body.owner):
            raise invalid(Fault(pointer="#/owner", detail="is the name of a part of the system"))
        if body.expires_at is not None and body.expires_at <= deps.log.now():
            raise invalid(Fault(pointer="#/expires_at", detail="is past"))
        key = apikey.made_of(secrets.token_urlsafe(apikey.SECRET_BYTES))
        key_hash = apikey.digest(key)
        partition = apikey.partition_of(key_hash, deps.log.partitions)
        command = IssueApiKey(
            id=ids.chance_id(deps.log.now(), partition, deps.chance()),
            hash=key_hash,
            prefix=apikey.shown(key),
            name=body.name,
            role=body.role,
            tenant=principal.tenant,
            owner=owner,
            by=principal.id,
            expires_at=body.expires_at,
        )
        wait_s = door.wait_s(deps.settings.wait_seconds)
        ref = f"apikey:{key_hash}"
        done = await self._write(ref, command, door.context(), wait_s=wait_s, held=NOTHING)
        self._log.info("api key issued", key_id=command.id, owner=owner, role=body.role)
        view = ApiKeyMadeView(
            id=command.id,
            name=command.name,
            prefix=command.prefix,
            role=command.role,
            tenant=command.tenant,
            owner=owner,
            issued_by=command.by,
            issued_at=done.decided.after.state.issued_at,  # type: ignore[union-attr]
            expires_at=command.expires_at,
            revoked=None,
            last_used_at=None,
            key=key,
        )
        answer = answers.written(done, answers.reply(view, location=f"{answers.BASE}/api-keys", done=201))
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def revoke(self, key_id: str) -> Response:
        """DELETE /api-keys/{id}: it opens nothing from the next request on; already so is 204 too."""
        door.no_conditions_but()
        door.no_parameters()
        key_id = door.key_id(key_id, partitions=self._deps.log.partitions)
        row = await self._deps.ledger.api_key(key_id)
        if row is None:
            raise door.no_such("API key")
        if row["revoked_at"] is not None:
            return answers.empty(204)
        wait_s = door.wait_s(self._deps.settings.wait_seconds)
        command = RevokeApiKey(by=present().id)
        done = await self._write(f"apikey:{row['hash']}", command, door.context(), wait_s=wait_s)
        self._log.info("api key revoked", key_id=key_id)
        headers = {door.POSITION_HEADER: done.place}
        return answers.empty(204 if done.archived else 202, headers)

    async def token(self) -> Response:
        """POST /tokens."""
        _refuse_key()
        door.body(TokenBody, optional=True)
        principal = present()
        if principal.kind != "key":
            raise Problem("forbidden", "A token is given for an API key: send one.")
        if not self._tokens.can_issue:
            raise Problem("not-available-yet", "There is nothing to sign with: set DAYBOOK_SECRET_KEY.")
        text = self._tokens.issue(principal, self._deps.log.now())
        view = TokenView(access_token=text, expires_in=int(LASTS.total_seconds()))
        return answers.answer(view, 200, {"Cache-Control": "no-store"})

    async def _used(self, hashes: Sequence[str]) -> Sequence[datetime | None]:
        """When each was used last, to the minute."""
        log = self._deps.log
        if not hashes:
            return []
        names = (log.keys(apikey.partition_of(each, log.partitions)).used(each) for each in hashes)
        async with log.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.get(name)
            said = await pipe.execute()
        return [None if ms is None else ids.from_ms(int(ms)) for ms in said]


def _refuse_key() -> None:
    """An Idempotency-Key would need the first answer kept, and that has a secret.

    Raises:
        Problem: 422.
    """
    if door.sent(door.KEY_HEADER):
        detail = "must be left out: what is given out here is told once and kept nowhere, so never again"
        raise invalid(Fault(pointer=door.KEY_HEADER, detail=detail))


def _view(row: asyncpg.Record, used_at: datetime | None) -> ApiKeyView:
    revoked = row["revoked_at"]
    return ApiKeyView(
        id=str(row["id"]),
        name=row["name"],
        prefix=row["prefix"],
        role=row["role"],
        tenant=row["tenant"],
        owner=row["owner"],
        issued_by=row["issued_by"],
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
        revoked=None if revoked is None else RevocationView(by=row["revoked_by"], at=revoked),
        last_used_at=used_at,
    )
