"""The variables of this process that are Daybook's, and what is wrong with the other `DAYBOOK_…` ones.

An empty variable counts as not set, and names match in any case: as pydantic-settings reads them.
"""

import difflib
import os
import re
from collections.abc import Collection, Iterator

PREFIX = "DAYBOOK_"

SECRETS = f"{PREFIX}SECRET__"
"""What the names of secrets that stand in the environment begin with; the rest is the secret's own name."""

OTHERS = frozenset(
    {"DAYBOOK_URL", "DAYBOOK_TOKEN", "DAYBOOK_PARENT_PID", "DAYBOOK_PORT_FILE", "DAYBOOK_API_FD"}
)
"""Not settings: two are the command line client's, the others tell a child of `daybook up` of its parent."""

NOT_YET = frozenset({"DAYBOOK_ALLOW_SHELL"})
"""Settings of what isn't built yet: refused, never accepted and ignored."""

# Kubernetes sets such variables in each pod for a service named `daybook` or `daybook-…`; nobody typed them.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")


def lookup(name: str) -> str | None:
    """Return the variable's value, or None if it isn't set."""
    return next((value for key, value in os.environ.items() if value and key.upper() == name.upper()), None)


def strangers(fields: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each `DAYBOOK_…` variable that is neither one of `fields` nor another's."""
    known = {PREFIX + field.upper() for field in fields}
    for name in sorted(key.upper() for key, value in os.environ.items() if value):
        if not name.startswith(PREFIX) or name in known | OTHERS or _is_told_apart(name):
            continue
        yield _refusal(name, fields)


def _is_told_apart(name: str) -> bool:
    return name.startswith(SECRETS) or _is_service_link(name)


def _is_service_link(name: str) -> bool:
    linked = name.endswith("_PORT") and (lookup(name) or "").startswith(("tcp://", "udp://"))
    return linked or _SERVICE_LINK.search(name) is not None


def _refusal(name: str, fields: Collection[str]) -> str:
    if name in NOT_YET:
        return f"{name} is not available yet: remove it."
    near = difflib.get_close_matches(name.removeprefix(PREFIX).lower(), fields, n=1)
    if near:
        return f"{name} is not a setting: did you mean {PREFIX}{near[0].upper()}?"
    return f"{name} is not a setting: remove it."
