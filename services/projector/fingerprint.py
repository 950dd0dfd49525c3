"""What is alike in the messages of dead letters: the words, not the numbers, ids and names in them."""

from __future__ import annotations

import hashlib
import re

_LENGTH = 12  # hex digits: 48 bits tell apart what one system fails of
_VARIES = re.compile(
    r"""
    "[^"]*" | '[^']*'                  # what is quoted is somebody's value
    | \b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b  # ids
    | \b(?:0x)?[0-9a-f]*[0-9][0-9a-f]*\b  # numbers, hashes, addresses
    | \d+                              # numbers within words
    | (?:/[\w.@-]+){2,}                # paths
    """,
    re.VERBOSE | re.IGNORECASE,
)


def fingerprint(kind: str, message: str) -> str:
    """12 hex digits, the same for failures of one class whose messages differ only in what varies."""
    alike = " ".join(_VARIES.sub("*", message).split())
    return hashlib.sha256(f"{kind}\0{alike}".encode(errors="surrogatepass")).hexdigest()[:_LENGTH]
