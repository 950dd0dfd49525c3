"""What somebody may do: four roles, each of which may all that the ones before it may."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["viewer", "operator", "editor", "admin"]
"""A viewer reads; an operator pauses, resumes, triggers, cancels, retries; an editor makes, changes and deletes jobs;
an admin gives out keys."""

ROLES: tuple[Role, ...] = get_args(Role)


def allows(role: Role, needed: Role) -> bool:
    """Whether somebody of `role` may do what needs `needed`."""
    return ROLES.index(role) >= ROLES.index(needed)
