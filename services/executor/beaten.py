"""Whom the heartbeat speaks to, from its thread: one server, or in a Cluster whoever serves a partition by now."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.eventlog.topology import SLOTS_ASKED, slot_of, told_slots
from shared.redis_url import Address, is_cluster, of_node, seeds

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMEOUT_S = 2.0


class Beaten:
    """Clients of its own: the thread goes on when the event loop hangs.

    Args:
        url: of Redis.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_cluster = is_cluster(url)
        self._clients: dict[Address | None, Redis] = {}
        self._masters: dict[int, Address] = {}  # by slot, while they aren't doubted

    def of(self, key: str) -> Redis:
        """The client of whoever has `key`.

        Raises:
            RedisConnectionError: nobody knows.
        """
        if not self._is_cluster:
            return self._client(None)
        if not self._masters:
            self._ask(dict.fromkeys([*(each for each in self._clients if each), *seeds(self._url)]))
        address = self._masters.get(slot_of(key))
        if address is None:
            self.doubt()
            raise RedisConnectionError(f"no master serves {key}")
        return self._client(address)

    def doubt(self) -> None:
        """Have the nodes asked before they are used again."""
        self._masters = {}

    def close(self) -> None:
        """Hang up."""
        for client in self._clients.values():
            client.close()

    def _ask(self, nodes: Iterable[Address]) -> None:
        for node in nodes:
            with suppress(RedisError, OSError):
                told = self._client(node).execute_command(*SLOTS_ASKED)  # type: ignore[no-untyped-call]
                self._masters, _ = told_slots(node, told)
                return
        raise RedisConnectionError("no node of the Cluster answers")

    def _client(self, address: Address | None) -> Redis:
        found = self._clients.get(address)
        if found is None:
            found = self._clients[address] = Redis.from_url(
                self._url if address is None else of_node(self._url, address),
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
                retry=Retry(NoBackoff(), 0 if self._is_cluster else 1),
                protocol=2,
            )
        return found
