"""Entity tags and what a client makes a request depend on (RFC 9110 §8.8.3, §13.1).

A job's ETag is `"<revision>.<position>"`. If-None-Match compares all of it, as what is shown changes with its runs;
If-Match compares the revision, as that is what an edit was made up from.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from services.api.problems import Fault, Problem, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

ANY = "*"
IF_MATCH = "If-Match"
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_SEPARATOR = re.compile(r"[ \t]*,[ \t,]*")
_REVISION = re.compile(r"([0-9]{1,18})(?:\.|$)")


class Tag(NamedTuple):
    """An entity tag, without its quotes."""

    text: str
    weak: bool = False


class BadTags(ValueError):  # noqa: N818 - named for what is wrong
    """Not a list of entity tags."""


def tags(header: str) -> tuple[Tag, ...] | None:
    """The tags of If-Match or If-None-Match; None for `*`, any.

    Raises:
        BadTags: it is neither.
    """
    text = header.strip(" \t,")
    if text == ANY:
        return None
    found, at = [], 0
    while match := _TAG.match(text, at):
        found.append(Tag(match[2], weak=match[1] is not None))
        separator = _SEPARATOR.match(text, match.end())
        at = separator.end() if separator else match.end()
        if at == len(text):
            return tuple(found)
        if separator is None:
            break
    raise BadTags(f'{header[:80]!r} is no list of ETags, each in double quotes, and not "*"')


def is_known(etag: str, headers: Sequence[str]) -> bool:
    """Whether a client that sends these If-None-Match has what `etag` names: compared weakly, all of it.

    Raises:
        Problem: 422.
    """
    if not headers:
        return False
    known = _read("If-None-Match", headers)
    return known is None or etag.strip('"') in {tag.text for tag in known}


def revisions(headers: Sequence[str], *, required: bool) -> tuple[int, ...] | None:
    """The revisions of which one must be the present one, from If-Match; None for any.

    A weak tag matches nothing (RFC 9110 §13.1.1), nor does one that we never gave.

    Raises:
        Problem: 422; 428 if it is `required` and not there.
    """
    if not headers:
        if required:
            raise Problem("precondition-required", "Send If-Match with the ETag of what you have changed.")
        return None
    wanted = _read(IF_MATCH, headers)
    if wanted is None:
        return None
    found = (_REVISION.match(tag.text) for tag in wanted if not tag.weak)
    return tuple(int(match[1]) for match in found if match)


def _read(name: str, headers: Sequence[str]) -> tuple[Tag, ...] | None:
    try:
        return tags(", ".join(headers))
    except BadTags as error:
        raise invalid(Fault(pointer=name, detail=str(error))) from None
