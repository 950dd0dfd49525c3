"""Who runs where at this moment, kept in endpoints.json."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from shared.embedded import DataDir, Endpoints, ServiceAddress

from .child import Child

LOOK_EVERY_S = 0.1


class Roster:
    """Writes endpoints.json anew whenever a service has another pid or port.

    Args:
        data_dir: the one that is held.
        fixed: the addresses that don't change.
        children: the services.
    """

    def __init__(self, data_dir: DataDir, fixed: Endpoints, children: Sequence[Child]) -> None:
        self._data_dir = data_dir
        self._fixed = fixed
        self._children = children
        self.complete = asyncio.Event()  # set when each service has told its port once

    async def keep(self) -> None:
        """Keep the file true, until cancelled."""
        written = None
        while True:
            now = self.endpoints()
            if now != written:
                self._data_dir.write_endpoints(now)
                written = now
                self._note_completeness(now)
            await asyncio.sleep(LOOK_EVERY_S)

    def endpoints(self) -> Endpoints:
        """Return the addresses of now; a service that is just being started again is missing."""
        services = {
            child.name: ServiceAddress(pid=pid, ops=self._pages(child.name, pid))
            for child in self._children
            if (pid := child.pid) is not None
        }
        return replace(self._fixed, services=services)

    def _note_completeness(self, now: Endpoints) -> None:
        told = [address for address in now.services.values() if address.ops is not None]
        if len(told) == len(self._children):
            self.complete.set()

    def _pages(self, name: str, pid: int) -> str | None:
        """Return where a process shows its metrics: the API among its own pages, the others on a port."""
        if name.startswith("api"):
            return self._fixed.api
        port = self._data_dir.reported_port(name, pid)
        host = self._fixed.api.rpartition(":")[0]  # the pages stand on the API's interface
        return None if port is None else f"{host}:{port}"
