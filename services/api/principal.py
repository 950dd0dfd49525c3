"""On whose behalf a request is: resolved once, by `auth`, before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from quart import g, has_request_context

from shared.domain.roles import allows

if TYPE_CHECKING:
    from shared.domain.roles import Role

DEPLOYMENT = "default"  # the tenant of those who run it
Kind = Literal["anonymous", "key", "token"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody, and what they may.

    Attributes:
        id: who events name; the owner of a key, the subject of a token.
        tenant: whose jobs they see.
        kind: how they said who they are.
        key_hash: of the API key; '' for others.
    """

    id: str
    tenant: str
    role: Role
    kind: Kind
    key_hash: str = ""


ANONYMOUS = Principal(id="anonymous", tenant="default", role="admin", kind="anonymous")


def runs_the_deployment() -> bool:
    """Whether the present request may say what is about the deployment as a whole, and so about all tenants."""
    principal = present()
    return principal.tenant == DEPLOYMENT and allows(principal.role, "admin")


def present() -> Principal:
    """Whoever sent the present request."""
    return cast("Principal", g.principal)


def wall() -> str | None:
    """The tenant beyond which there is nothing for the present request; None: all is there (auth is off).

    None too where there is no request: what the process asks by itself.
    """
    if not has_request_context():
        return None
    principal: Principal = g.get("principal", ANONYMOUS)
    return None if principal.kind == "anonymous" else principal.tenant
