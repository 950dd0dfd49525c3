"""Mail addresses, as people write them and as mail servers take them: one way in for all job types.

Only what every mail server takes is an address here: dots, letters, digits and the signs of RFC 5322's dot-atom before
the @ (ASCII: SMTPUTF8 is for few), a name of the DNS after it. A domain that isn't ASCII is turned into what the DNS
has (IDNA 2008). Control characters are refused everywhere, so that no text becomes a header or a command of its own.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any

import idna
from pydantic import AfterValidator, Field

NAME_MAX = 120
ADDRESS_MAX = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets
LOCAL_MAX = 64
WRITTEN_MAX = 512
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SPECIAL = frozenset('",;:@\\[]<>')  # some readers take what follows one of them for another address


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Somebody's address.

    Attributes:
        name: for people; may be "".
        address: `local@domain`, ASCII, the domain in lower case.
    """

    name: str
    address: str

    @property
    def domain(self) -> str:
        """What stands behind the @."""
        return self.address.rpartition("@")[2]


def mailbox(text: str) -> Mailbox:
    """What `user@example.com` or `Name <user@example.com>` means.

    Raises:
        ValueError: with a sentence that says what is wrong.
    """
    one_line(text)
    named = _NAMED.fullmatch(text.strip())
    if named is None:
        return Mailbox("", _address(text.strip()))
    return Mailbox(_name(named["name"].strip()), _address(named["address"].strip()))


def one_line(text: str) -> str:
    """The text, if it can stand in a header.

    Raises:
        ValueError: it has a line break or another control character, or half a character (a lone surrogate).
    """
    if any(unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"} for each in text):
        raise ValueError("write it without line breaks and control characters")
    return text


def _written(text: str) -> str:
    mailbox(text)
    return text


Address = Annotated[
    str,
    Field(min_length=3, max_length=WRITTEN_MAX, examples=["user@example.com", "Name <user@example.com>"]),
    AfterValidator(_written),
]
"""A field of a model: a mailbox as it was written, checked."""


def addresses(written: Any) -> tuple[Mailbox, ...]:
    """The mailboxes of several texts, each address once, in their order.

    Raises:
        ValueError: one is wrong.
    """
    found: dict[str, Mailbox] = {}
    for text in written:
        each = mailbox(text)
        found.setdefault(each.address, each)
    return tuple(found.values())


def _name(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':  # noqa: PLR2004 - two quotes
        text = text[1:-1]
    if len(text) > NAME_MAX:
        raise ValueError(f"write a name of at most {NAME_MAX} characters")
    if _SPECIAL.intersection(text) or "=?" in text:
        raise ValueError('write a name without " , ; : @ \\ [ ] < > and =?')
    return text


def _address(text: str) -> str:
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        raise ValueError("is no mail address; write one such as user@example.com")
    if not local.isascii():
        raise ValueError("write the part before the @ in ASCII: few mail servers take more")
    if len(local) > LOCAL_MAX or _LOCAL.fullmatch(local) is None:
        raise ValueError("the part before the @ is none that all mail servers take")
    address = f"{local}@{_domain(domain)}"
    if len(address) > ADDRESS_MAX:
        raise ValueError(f"is longer than {ADDRESS_MAX} characters")
    return address


def _domain(text: str) -> str:
    try:
        domain = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        domain = ""
    if not domain or not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        raise ValueError("what stands behind the @ is no domain")
    return domain
