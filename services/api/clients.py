"""From where a request is: the socket's peer or, where that is one of our own proxies, whom it has named.

A header that anybody can send proves nothing. `X-Forwarded-For` is read from its right end, where the nearest proxy
writes, and only as long as whoever wrote is trusted. `Forwarded` (RFC 7239) isn't read at all: a proxy that writes one
of the two hands the other on as the client has sent it.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from quart import g, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.setting_types import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
HOPS_MAX = 20  # named in one request; a chain of proxies is short
_V6_HOST_BITS = 64  # what one subscriber has for himself
_WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::[0-9]{1,5})?")


class Client(NamedTuple):
    """Who is at the other end.

    Attributes:
        address: for logs; `unknown` on a Unix socket.
        network: what limits count by: the address, of IPv6 its /64.
        secure: whether it came over TLS, here or to a trusted proxy.
    """

    address: str
    network: str
    secure: bool


def present(trusted: Sequence[Network]) -> Client:
    """Who sends the present request; found out once."""
    client: Client | None = g.get("client")
    if client is None:
        peer = (request.scope.get("client") or ("",))[0]
        forwarded = request.headers.getlist("X-Forwarded-For")
        proto = request.headers.get("X-Forwarded-Proto", "")
        client = client_of(peer, forwarded, proto, trusted=trusted, tls=request.scheme == "https")
        g.client = client
    return client


def client_of(
    peer: str, forwarded: Iterable[str], proto: str, *, trusted: Sequence[Network], tls: bool = False
) -> Client:
    """The client behind `peer`.

    Args:
        peer: address of the socket's other end.
        forwarded: values of X-Forwarded-For, in the order of the headers.
        proto: value of X-Forwarded-Proto.
        trusted: networks of our own proxies.
        tls: whether the socket is under TLS.
    """
    address = parsed(peer)
    if address is None:
        return Client("unknown", "unknown", tls)
    if trusted and _is_in(address, trusted):
        tls = tls or proto.strip().lower() == "https"
        address = _behind(address, forwarded, trusted)
    return Client(str(address), _network(address), tls)


@lru_cache(maxsize=1024)
def parsed(text: str) -> Address | None:
    """An address in the forms that proxies write, maybe with a port; None if it is none."""
    match = _WITH_PORT.fullmatch(text)
    bare = (match[1] or match[2]) if match else text
    if "%" in bare:  # a zone means something on its own machine only
        return None
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _behind(nearest: Address, forwarded: Iterable[str], trusted: Sequence[Network]) -> Address:
    """The right-most address that isn't trusted; what stands beyond nonsense is nobody's word."""
    named = ",".join(forwarded).split(",")
    for each in named[: -HOPS_MAX - 1 : -1]:
        address = parsed(each.strip())
        if address is None:
            break
        nearest = address
        if not _is_in(address, trusted):
            break
    return nearest


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


@lru_cache(maxsize=1024)
def _network(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, 128 - _V6_HOST_BITS), strict=False))
