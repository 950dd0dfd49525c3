"""Addresses on the web: which URLs may be asked for, and which network addresses they may lead to.

Nothing is looked up here: the API reads a job's URL by it, the executor each hop's, and each address that a
name has led to. A URL that several readers could take differently is refused, not repaired.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Collection

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_MAX = 2_048  # characters, as it is written
TARGET_MAX = 8_192  # bytes of path and query, as they are sent
HOST_MAX = 253
PORTS = {"http": 80, "https": 443}

_URL = re.compile(
    r"(?P<scheme>[^:/?#]+)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
_UNFIT = re.compile(r"[\x00-\x20\x7f-\x9f\\]|\s")  # what readers of URLs drop, or take for a slash
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
# What browsers refuse, too (https://fetch.spec.whatwg.org/#port-blocking): services that would take a request's
# text for words of their own.
_OTHERS = (
    "1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 "
    "123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 "
    "990 993 995 1719 1720 1723 2049 3659 4045 4190 5060 5061 6000 6566 6665 6666 6667 6668 6669 6679 6697 10080"
)
_PORTS_OF_OTHERS = frozenset(map(int, _OTHERS.split()))
# Not public, by IANA's registries of special addresses (RFC 6890 and what has been added since); of IPv6 only
# 2000::/3 has been given out at all.
_SPECIAL = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
    "168.63.129.16/32"  # a public number, but a cloud's own services for its machines
)
_INWARD_V4 = tuple(map(IPv4Network, _SPECIAL.split()))
_GIVEN_OUT_V6 = IPv6Network("2000::/3")
_INWARD_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_NAT64 = IPv6Network("64:ff9b::/96")  # how a network without IPv4 reaches it: the last 32 bits say where
LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


class BadUrl(ValueError):  # noqa: N818 - a finding; the message is a sentence's end for people
    """The text is no URL that is asked for here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAddress:
    """A URL that has been read.

    Attributes:
        scheme: `http` or `https`.
        host: a name in ASCII and lower case, or an address without brackets.
        target: path and query in ASCII, as they stand in the request.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def literal(self) -> Address | None:
        """The address that the host is, if it is no name."""
        is_address = ":" in self.host or _NUMBER.fullmatch(self.host.rpartition(".")[2])
        return ip_address(self.host) if is_address else None

    @property
    def authority(self) -> str:
        """What the header Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL as logs and results have it: without its query, which may hold what is secret."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"

    def same_origin(self, other: WebAddress) -> bool:
        """Whether both are one server's, or the other the same host's, by TLS instead of in clear."""
        mine, theirs = ((each.scheme, each.host, each.port) for each in (self, other))
        return mine == theirs or (
            mine == ("http", other.host, PORTS["http"]) and theirs == ("https", self.host, PORTS["https"])
        )


def parse(url: str) -> WebAddress:
    """Read an absolute URL; a fragment is dropped.

    Raises:
        BadUrl: see there.
    """
    if len(url) > URL_MAX:
        raise BadUrl(f"has {len(url):,} characters; {URL_MAX:,} is the limit")
    if _UNFIT.search(url):
        raise BadUrl("has a space, a control character or a backslash in it")
    parts = _URL.fullmatch(url)
    if parts is None or parts["scheme"].lower() not in PORTS:
        raise BadUrl("is not an absolute URL with http:// or https://")
    scheme = parts["scheme"].lower()
    host, port = _host_and_port(parts["authority"], PORTS[scheme])
    return WebAddress(scheme=scheme, host=host, port=port, target=_target(parts["path"], parts["query"]))


def with_query(address: WebAddress, query: str) -> WebAddress:
    """The address with `query`, encoded already, after what its own query says.

    Raises:
        BadUrl: it would be too long.
    """
    path, _, own = address.target.partition("?")
    target = f"{path}?{own}&{query}" if own else f"{path}?{query}"
    return WebAddress(scheme=address.scheme, host=address.host, port=address.port, target=_short(target))


def reachable(address: Address, networks: Collection[Network] = ()) -> bool:
    """Whether a request may go there: to what is public, and to the operator's `networks`.

    An IPv4 address inside an IPv6 one is judged by itself where a packet would go to it.
    """
    address = _unwrapped(address)
    if any(address in network for network in networks):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _INWARD_V4)
    return address in _GIVEN_OUT_V6 and not any(address in network for network in _INWARD_V6)


def leads_inward(address: WebAddress, networks: Collection[Network] = ()) -> bool:
    """Whether the URL, by its spelling alone, leads to where no request may go."""
    if address.literal is not None:
        return not reachable(address.literal, networks)
    if address.host == "localhost" or address.host.endswith(".localhost"):  # loopback, by RFC 6761
        return not any(reachable(each, networks) for each in LOOPBACK)
    return False


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else address


def _host_and_port(authority: str, default: int) -> tuple[str, int]:
    if "@" in authority:
        raise BadUrl("has a user name or a password in it: use auth, or a header, with a secret")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise BadUrl("has a host or a port that can't be read")
    port = int(parts["port"]) if parts["port"] else default
    if not 1 <= port <= 65_535:  # noqa: PLR2004 - what 16 bits hold
        raise BadUrl(f"has a port {port} that is not between 1 and 65535")
    if port in _PORTS_OF_OTHERS:
        raise BadUrl(f"has a port {port} that belongs to another protocol than HTTP")
    host = parts["host"]
    return (_v6(host) if host.startswith("[") else _name(host)), port


def _v6(host: str) -> str:
    try:
        if "%" in host:
            raise ValueError("no zones")  # noqa: TRY301 - one refusal for all of it
        return str(IPv6Address(host[1:-1]))
    except ValueError:
        raise BadUrl("has an IPv6 address that can't be read") from None


def _name(host: str) -> str:
    name = (host if host.isascii() else _in_ascii(host)).lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > HOST_MAX or not all(map(_LABEL.fullmatch, labels)):
        raise BadUrl("has a host that is no name and no address")
    if _NUMBER.fullmatch(
        labels[-1]
    ):  # whoever resolves it would take it for an address, in one of many spellings
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise BadUrl("has an address that is not written as four decimal numbers (192.0.2.1)") from None
    return name


def _in_ascii(host: str) -> str:
    import idna  # noqa: PLC0415 - its tables take 20 ms and few need them

    try:
        return idna.encode(
            host.lower()
        ).decode()  # IDNA 2008, without the mappings that differ from reader to reader
    except (idna.IDNAError, UnicodeError):
        raise BadUrl("has a host that is no international name") from None


def _target(path: str, query: str | None) -> str:
    target = quote(path or "/", safe=_PATH_SAFE)
    return _short(target if query is None else f"{target}?{quote(query, safe=_PATH_SAFE + '?')}")


def _short(target: str) -> str:
    if len(target) > TARGET_MAX:
        raise BadUrl(f"has a path and query of {len(target):,} bytes; {TARGET_MAX:,} is the limit")
    return target
