"""Cursors: where a list is to go on, sealed. A client can neither make nor change one, nor take it to another list.

A cursor is base64url(JSON ‖ the first 16 bytes of its HMAC-SHA256). What it was made for (route, tenant, filters,
order) is in the HMAC, not in the text.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from datetime import datetime
from typing import TYPE_CHECKING

from services.api.list_sql import Key
from services.api.problems import Fault, invalid

if TYPE_CHECKING:
    from pydantic import SecretStr

LENGTH_MAX = 2_000  # of a name of 200 characters of 4 bytes, written as JSON in base64, 1,700
_SEAL = 16  # bytes: nobody tries 2^128
_LABEL = b"daybook list cursor 1"


class Cursors:
    """Makes and reads cursors.

    Args:
        secret: of the deployment; without one, a cursor is good for the life of this process.
    """

    def __init__(self, secret: SecretStr | None) -> None:
        root = secrets.token_bytes(32) if secret is None else secret.get_secret_value().encode()
        self._key = hmac.digest(root, _LABEL, hashlib.sha256)  # not the key that tokens are signed with

    def sealed(self, key: Key, what_for: str) -> str:
        """The cursor that goes on after `key` in the list that `what_for` names."""
        value = key.value.isoformat() if isinstance(key.value, datetime) else key.value
        kind = "t" if isinstance(key.value, datetime) else "s"
        text = json.dumps([kind, value, key.id], separators=(",", ":")).encode()
        return _text(text + self._seal(text, what_for))

    def opened(self, cursor: str, what_for: str) -> Key:
        """Where to go on.

        Raises:
            Problem: 422 if it isn't a cursor of ours for this list.
        """
        text = self._unsealed(cursor, what_for)
        if text is None:
            detail = "is no cursor of this list with these filters and this sort: begin again without it"
            raise invalid(Fault(pointer="?cursor", detail=detail))
        kind, value, identifier = json.loads(text)
        return Key(datetime.fromisoformat(value) if kind == "t" else value, identifier)

    def _unsealed(self, cursor: str, what_for: str) -> bytes | None:
        """What is sealed in it; None if we haven't sealed it so for this list."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        text, seal = raw[:-_SEAL], raw[-_SEAL:]
        is_ours = hmac.compare_digest(seal, self._seal(text, what_for))
        return text if is_ours and _text(raw) == cursor else None

    def _seal(self, text: bytes, what_for: str) -> bytes:
        return hmac.digest(self._key, what_for.encode() + b"\0" + text, hashlib.sha256)[:_SEAL]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
