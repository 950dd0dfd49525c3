"""`H` in a cron expression: a number that is drawn once for a job, so that jobs alike don't all start at once.

`H` is any value of its field, `H(0-29)` one of a part of it; `H/15` and `H(0-29)/10` begin at such a value and go on
in steps. It is replaced when a job is made or its schedule edited, and what replaces it is kept: a drawn number
depends on the job's id and the field, on nothing else, for ever. Days of the month are drawn from 1 to 28, so
that no month goes without.
"""

from __future__ import annotations

import re
from hashlib import sha256

from shared.domain.cron import FIELDS, BadCron, fields_of

_MONTH_DAYS_MAX = 28
_HASHED = re.compile(r"h(?:\((?P<low>[0-9]{1,2})-(?P<high>[0-9]{1,2})\))?(?:/(?P<step>[0-9]{1,2}))?")


def has_hash(expression: str) -> bool:
    """Whether something in it is to be drawn: no name of a day, month or macro begins with an `H`."""
    return re.search(r"(?<![a-z@])h", expression.lower()) is not None


def expanded(expression: str, seed: str) -> str:
    """The expression with a number in place of each `H`: the same for the same `seed`, for ever.

    Args:
        expression: five fields, or six with the seconds first; one without any `H` is given back as it is.
        seed: the id of the job.

    Raises:
        BadCron: an `H` isn't understood, or what stands around the fields.
    """
    if not has_hash(expression):
        return expression
    seconds, *others = fields_of(expression)
    spelt = [
        ",".join(_drawn(item, number, seed) for item in text.split(","))
        for number, text in enumerate([seconds, *others])
    ]
    five = len(expression.split()) == 5  # noqa: PLR2004 - as it was written
    return " ".join(spelt[1:] if five else spelt)


def _drawn(item: str, number: int, seed: str) -> str:
    """An item of a list of field `number`, without `H`."""
    if not item.startswith("h"):
        return item
    field, read = FIELDS[number], _HASHED.fullmatch(item)
    if read is None:
        raise BadCron(f"{field.name} {item}: H is written H, H(low-high), H/step or H(low-high)/step")
    low, high = field.low, min(field.last, _MONTH_DAYS_MAX if field.name == "day-of-month" else field.last)
    if read["low"]:
        low, high = int(read["low"]), int(read["high"])
        if not field.low <= low <= high <= field.high:
            raise BadCron(f"{field.name} {item}: the range lies within {field.low}-{field.high}, ascending")
    if not read["step"]:
        return str(low + _draw(seed, field.name) % (high - low + 1))
    step = int(read["step"])
    if not 1 <= step <= high - low:
        raise BadCron(f"{field.name} {item}: a step lies between 1 and {high - low}")
    return f"{low + _draw(seed, field.name) % step}-{high}/{step}"


def _draw(seed: str, name: str) -> int:
    return int.from_bytes(sha256(f"{seed}:{name}".encode()).digest()[:8])
