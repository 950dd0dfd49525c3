"""The variables of this process that are Daybook's, and what is wrong with the other `DAYBOOK_…` ones.

An empty variable counts as not set, and names match in any case: as pydantic-settings reads them. A setting that may
hold a password may stand in a file instead, which `DAYBOOK_<NAME>_FILE` names: a variable is seen by whoever may look
at the process, and is handed down to all its children.
"""

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

PREFIX = "DAYBOOK_"

SECRETS = f"{PREFIX}SECRET__"
"""What the names of secrets that stand in the environment begin with; the rest is the secret's own name."""

IN_FILES = frozenset({"redis_url", "database_url", "database_read_url", "secret_key", "smtp_url"})
"""Settings that may hold a password, and so may stand in a file."""

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


def file_of(setting: str) -> Path | None:
    """The file that holds the setting, if one is named."""
    named = lookup(_file_variable(setting)) if setting in IN_FILES else None
    return None if named is None else Path(named)


def in_file(setting: str) -> str | None:
    """What the setting's file holds, without the end of its last line; None without a file, or anything in it."""
    file = file_of(setting)
    try:
        return None if file is None else file.read_text().rstrip("\r\n") or None
    except (OSError, UnicodeDecodeError):
        return None


def bad_files() -> Iterator[str]:
    """Yield a sentence for each file of a setting that can't be had, or stands beside the setting itself."""
    for setting in sorted(IN_FILES):
        file = file_of(setting)
        if file is None:
            continue
        if lookup(PREFIX + setting) is not None:
            yield f"{PREFIX}{setting.upper()} and {_file_variable(setting)} are both set: remove one."
        elif in_file(setting) is None:
            yield f"{_file_variable(setting)}={file} is refused: it must be a file that can be read and holds a value."


def without_files(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a child: without the file of what is among them itself."""
    told = {_file_variable(each) for each in IN_FILES if PREFIX + each.upper() in variables}
    return {name: value for name, value in variables.items() if name.upper() not in told}


def strangers(fields: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each `DAYBOOK_…` variable that is neither one of `fields` nor another's."""
    known = {PREFIX + field.upper() for field in fields} | {_file_variable(field) for field in IN_FILES}
    for name in sorted(key.upper() for key, value in os.environ.items() if value):
        if not name.startswith(PREFIX) or name in known | OTHERS or _is_told_apart(name):
            continue
        yield _refusal(name, fields)


def _file_variable(setting: str) -> str:
    return f"{PREFIX}{setting.upper()}_FILE"


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
