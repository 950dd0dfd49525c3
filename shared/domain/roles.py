"""What somebody may do: four roles, each of which may all that the ones before it may."""

from __future__ import annotations

import re
from typing import Literal, get_args

Role = Literal["viewer", "operator", "editor", "admin"]
"""A viewer reads; an operator pauses, resumes, triggers, cancels, retries; an editor makes, changes and deletes jobs;
an admin gives out keys."""

RESERVED = frozenset({"anonymous", "timer", "executor", "projector", "api", "cli", "daybook"})
"""Names that events use for parts of the system: nobody else's."""

SUBJECT = r"[\x21-\x7e]{1,200}"
TENANT = r"[A-Za-z0-9_.-]{1,100}"
ROLES: tuple[Role, ...] = get_args(Role)


def is_subject(text: str) -> bool:
    """Whether somebody may be called so."""
    return re.fullmatch(SUBJECT, text) is not None and text not in RESERVED


def is_tenant(text: str) -> bool:
    """Whether a tenant may be called so."""
    return re.fullmatch(TENANT, text) is not None


def allows(role: Role, needed: Role) -> bool:
    """Whether somebody of `role` may do what needs `needed`."""
    return ROLES.index(role) >= ROLES.index(needed)
