"""How a value is sealed by its job's key: `{"$personal": "<base64url>"}` stands in its place.

```
 version 1 · id of the job 16 · length of the field's name 2 · the field's name · AES-SIV (RFC 5297) of the JSON
```
Where only a text can stand (an error's message, a line of output), it is the JSON of that: `seal_text`.

What stands before the ciphertext is authenticated with it: a sealed value that was moved to another field or job opens
no more. AES-SIV needs no nonce: the same value in the same field of a job is always sealed alike, so that sealed values
can be compared, and an edit that changes nothing is none. What a sealed value does tell is how long it is, and whether
it is the same as another one of the same field and job.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY = "$personal"
ERASED_KEY = "$erased"
ERASED = b""
"""In the place of a key: the job was erased."""
KEY_BYTES = 32
JOB_DATA, RESULT, ERROR, OUTPUT = "job_data", "result", "error", "output"

_TEXT = '{"$personal":"', '"}'
_TEXTS = re.compile(r'\{"\$personal":"[A-Za-z0-9_-]*"\}')
_ERASED_TEXT = '{"$erased":true}'
_VERSION = 1
_HEAD = struct.Struct(">B16sH")
_TAG_BYTES = 16


class NotOpened(ValueError):  # noqa: N818 - named for what is wrong
    """A sealed value can't be opened: the job was erased, the key is another, or the value stood elsewhere."""


class Place(NamedTuple):
    """Where a sealed value stands: its job, and a field, such as `job_data/recipients` or `result`."""

    job: str
    field: str

    def inner(self, part: str | int) -> Place:
        """A member of what stands here; parts of the name are written as in a JSON pointer (RFC 6901)."""
        return Place(self.job, f"{self.field}/{str(part).replace('~', '~0').replace('/', '~1')}")


def seal(value: Any, key: bytes, where: Place) -> dict[str, str]:
    """What stands in the place of a JSON value.

    Args:
        value: numbers, strings and so on; half a character (a lone surrogate) is replaced.
        key: of the job, KEY_BYTES.
        where: it is to stand.
    """
    head = _head(where)
    ciphertext = AESSIV(key).encrypt(_written(value), [head])
    return {KEY: base64.urlsafe_b64encode(head + ciphertext).decode().rstrip("=")}


def seal_text(text: str, key: bytes, where: Place) -> str:
    """What stands in the place of a text, where only a text can stand; only views open it (`opened`)."""
    first, last = _TEXT
    return f"{first}{seal(text, key, where)[KEY]}{last}"


def open_value(sealed: Any, key: bytes, where: Place) -> Any:
    """The value that was sealed.

    Args:
        sealed: see `is_sealed`.
        key: of the job; ERASED opens nothing.
        where: it stands.

    Raises:
        NotOpened: see there.
    """
    place, value = _opened(sealed, key)
    if place != where:
        raise NotOpened(
            f"what is sealed in {where.field} of job {where.job} belongs to {place.field} of {place.job}"
        )
    return value


def is_sealed(value: Any) -> bool:
    """Whether it stands in the place of a value."""
    return isinstance(value, dict) and value.keys() == {KEY} and isinstance(value[KEY], str)


def is_sealed_text(value: Any) -> bool:
    """Whether it stands in the place of a text."""
    return isinstance(value, str) and value.startswith(_TEXT[0]) and value.endswith(_TEXT[1])


def has_sealed(value: Any) -> bool:
    """Whether anything in a JSON value is sealed; texts don't count, as anybody may write such a one."""
    return any(is_sealed(each) for each in _sealed_in(value))


def jobs_of(value: Any) -> set[str]:
    """The jobs whose keys open what is sealed in a JSON value."""
    return {place.job for each in _sealed_in(value) if (place := place_of(each)) is not None}


def place_of(sealed: Mapping[str, str] | str) -> Place | None:
    """Where a sealed value says that it belongs; None if it is none of ours."""
    try:
        return _taken_apart(_of_text(sealed) if isinstance(sealed, str) else sealed)[0]
    except NotOpened:
        return None


def opened(value: Any, keys: Mapping[str, bytes]) -> Any:
    """A JSON value for whoever may read it: its sealed parts opened, each by the key of its job.

    What a job's key doesn't open stays sealed; `{"$erased": true}` stands for what was sealed by a job that was erased.

    Args:
        value: is left as it is.
        keys: by job; ERASED for one that was erased.
    """
    match value:
        case dict() if is_sealed(value):
            return _shown(value, keys)
        case str() if _TEXT[0] in value:  # an error's message may stand within a sentence
            return _TEXTS.sub(lambda found: _text_shown(found[0], keys), value)
        case dict():
            return {name: opened(inner, keys) for name, inner in value.items()}
        case list():
            return [opened(inner, keys) for inner in value]
        case _:
            return value


def opened_at(value: Any, key: bytes, where: Place) -> Any:
    """A JSON value for whoever works with it: as `opened`, but all of it, or nothing.

    Args:
        value: is left as it is.
        key: of the job.
        where: the value stands; a sealed part of it must belong where it is.

    Raises:
        NotOpened: a part can't be opened.
    """
    match value:
        case dict() if is_sealed(value):
            return open_value(value, key, where)
        case dict():
            return {name: opened_at(inner, key, where.inner(name)) for name, inner in value.items()}
        case list():
            return [opened_at(inner, key, where.inner(at)) for at, inner in enumerate(value)]
        case _:
            return value


def _sealed_in(value: Any) -> Iterator[dict[str, str] | str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if is_sealed(each):
            yield each
        elif isinstance(each, str):
            yield from _TEXTS.findall(each)
        elif isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _shown(sealed: dict[str, str], keys: Mapping[str, bytes]) -> Any:
    try:
        taken = _taken_apart(sealed)
        key = keys.get(taken[0].job)
        if key is None:
            return sealed
        return {ERASED_KEY: True} if key == ERASED else _decrypted(key, *taken)
    except NotOpened:
        return sealed


def _text_shown(text: str, keys: Mapping[str, bytes]) -> str:
    match _shown(_of_text(text), keys):
        case str() as said:
            return said
        case {"$erased": True}:
            return _ERASED_TEXT
        case _:
            return text


def _of_text(text: str) -> dict[str, str]:
    first, last = _TEXT
    return {KEY: text[len(first) : -len(last)]}


def _opened(sealed: Mapping[str, str], key: bytes) -> tuple[Place, Any]:
    place, head, ciphertext = _taken_apart(sealed)
    if key == ERASED:
        raise NotOpened(f"the personal data of job {place.job} was erased")
    return place, _decrypted(key, place, head, ciphertext)


def _decrypted(key: bytes, place: Place, head: bytes, ciphertext: bytes) -> Any:
    try:
        return json.loads(AESSIV(key).decrypt(ciphertext, [head]))
    except InvalidTag:
        raise NotOpened(f"{place.field} of job {place.job} was sealed by another key, or changed") from None


def _taken_apart(sealed: Mapping[str, str]) -> tuple[Place, bytes, bytes]:
    """Where it belongs, what is authenticated, and the ciphertext.

    Raises:
        NotOpened: it is nothing that was sealed.
    """
    try:
        stored = base64.b64decode(sealed[KEY] + "=" * (-len(sealed[KEY]) % 4), altchars=b"-_", validate=True)
        version, job, length = _HEAD.unpack_from(stored)
        head, ciphertext = stored[: _HEAD.size + length], stored[_HEAD.size + length :]
        field = head[_HEAD.size :].decode()
    except (ValueError, struct.error):  # no base64, too short, no UTF-8
        raise NotOpened("this is nothing that was sealed") from None
    if version != _VERSION or len(ciphertext) <= _TAG_BYTES:
        raise NotOpened("this is nothing that was sealed, or a newer Daybook has sealed it")
    return Place(str(uuid.UUID(bytes=job)), field), head, ciphertext


def _head(where: Place) -> bytes:
    field = where.field.encode(errors="replace")
    return _HEAD.pack(_VERSION, uuid.UUID(where.job).bytes, len(field)) + field


def _written(value: Any) -> bytes:
    """The JSON of it, in one spelling."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.encode(errors="replace")
