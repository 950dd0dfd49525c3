"""The address of a Redis: one server, or a Cluster by some of its nodes.

    redis://[user:password@]host:6379/0         a server; rediss:// over TLS, unix:///path a socket
    redis+cluster://[user:password@]host:7001,host:7002     a Cluster; rediss+cluster:// over TLS

Which of both it is stands in the address and is never guessed: how many partitions there are depends on it, before
anybody has asked a server. A Cluster's nodes tell of each other, so one that answers is enough.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
_PORT = 6379


class Address(NamedTuple):
    """Where a node listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """As it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_cluster(url: str | None) -> bool:
    """Whether `url` is that of a Cluster."""
    return url is not None and urlsplit(url).scheme in CLUSTER_SCHEMES


def seeds(url: str) -> tuple[Address, ...]:
    """The nodes that a Cluster's `url` names.

    Raises:
        ValueError: it is no address of a Cluster; without its text, which may hold a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in CLUSTER_SCHEMES or parts.path not in {"", "/", "/0"} or parts.fragment:
        raise ValueError("no address of a Cluster, which has only the database 0")
    return tuple(_address(each) for each in parts.netloc.rpartition("@")[2].split(","))


def of_node(url: str, address: Address) -> str:
    """The URL of one node of the Cluster at `url`, for a client of one server."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    scheme = parts.scheme.removesuffix("+cluster")
    return SplitResult(scheme, f"{user}{at}{address}", "/0", parts.query, "").geturl()


def _address(text: str) -> Address:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a node without a name")
    return Address(parts.hostname, parts.port or _PORT)
