"""Signatures as of Standard Webhooks 1.0.0, https://www.standardwebhooks.com.

The receiver knows by them who sent a message, that nobody has changed it, and when it was sent. Signed are the bytes
`<id>.<timestamp>.<body>`, the body as it is sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

ENCODED = "whsec_"


class BadKey(ValueError):  # noqa: N818 - a finding about a secret; never says its value
    """The key can't be used."""


def signature(key: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header: `v1,` and HMAC-SHA256 in base64.

    Args:
        key: its bytes in base64 after `whsec_`; without that prefix it is taken as it is, in UTF-8.
        message_id: the same whenever the message is sent again; has no full stop.
        timestamp: seconds since 1970.
        body: as it is sent; empty if there is none.

    Raises:
        BadKey: see there.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(_bytes(key), signed, hashlib.sha256)).decode()


def _bytes(key: str) -> bytes:
    if not key.startswith(ENCODED):
        found = key.encode()
    else:
        try:
            found = base64.b64decode(key.removeprefix(ENCODED), validate=True)
        except binascii.Error:
            raise BadKey(f"the key is not base64 after {ENCODED}") from None
    if not found:
        raise BadKey("the key is empty")
    return found
