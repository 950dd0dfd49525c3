"""A small TCP proxy, so that a test can do to a connection what networks do: hold it, delay it, reset it.

It runs on a loop and a thread of its own: what the test itself is busy with delays nobody.
"""

import asyncio
import socket
import struct
import threading
from collections import deque

import uvloop

UP, DOWN = "up", "down"  # towards the server, towards the client
BOTH = frozenset({UP, DOWN})
RST = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close(2) resets the connection
STOP_S = 5.0


class Network:
    """All proxies of a test, and the thread that passes their bytes on."""

    def __init__(self):
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._servers = []

    def start(self):
        self._thread.start()

    def proxy(self, port):
        """A proxy before the server at `port` of this machine, listening."""
        made = Proxy(self._loop, port)
        self._servers.append(asyncio.run_coroutine_threadsafe(made.listen(), self._loop).result(STOP_S))
        return made

    def stop(self):
        """End all connections and the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)
        self._loop.close()

    async def _close(self):
        for server in self._servers:
            server.close()


class Proxy:
    """One listening port before one server. Its methods may be called from any thread.

    What is held or delayed keeps its order, the end of a connection included: to the server, a client that was
    killed behind a cut is there until the cut is over.
    """

    def __init__(self, loop, server_port):
        self._loop, self._server_port = loop, server_port
        self._pairs = set()
        self._held, self._delay_s = frozenset(), 0.0
        self.port = None

    async def listen(self):
        server = await self._loop.create_server(lambda: _Client(self), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def hold(self, directions=BOTH):
        """Pass nothing on in `directions`, on connections old and new."""
        self._loop.call_soon_threadsafe(self._change, frozenset(directions), self._delay_s)

    def delay(self, seconds):
        """Pass everything on that much later."""
        self._loop.call_soon_threadsafe(self._change, self._held, seconds)

    def release(self):
        """Pass on at once, what was kept back first."""
        self._loop.call_soon_threadsafe(self._change, frozenset(), 0.0)

    def reset(self):
        """Reset every connection there is."""
        self._loop.call_soon_threadsafe(self._reset)

    def tear(self, direction):
        """Reset each connection in the middle of what it next carries in `direction`."""
        self._loop.call_soon_threadsafe(self._tear, direction)

    def _change(self, held, delay_s):
        self._held, self._delay_s = held, delay_s
        for pair in tuple(self._pairs):
            pair.flush()

    def _reset(self):
        for pair in tuple(self._pairs):
            pair.reset()

    def _tear(self, direction):
        for pair in self._pairs:
            pair.tears = direction


class _Pair:
    """A client's connection and the one that was made for it."""

    def __init__(self, proxy, client):
        self._proxy, self._loop = proxy, proxy._loop
        self._ends = {DOWN: client, UP: None}  # who is written to, by direction
        self._kept = {UP: deque(), DOWN: deque()}  # (not before, bytes; None = the end)
        self.tears = None
        proxy._pairs.add(self)
        self._task = self._loop.create_task(self._reach())

    async def _reach(self):
        try:
            self._ends[UP], _ = await self._loop.create_connection(
                lambda: _Server(self), "127.0.0.1", self._proxy._server_port
            )
        except OSError:  # nobody is there: the client hears it as if it had called the server itself
            self.reset()
            return
        self.flush()

    def carry(self, direction, data):
        """Take what came from one side."""
        if data and self.tears == direction:
            self._write(direction, data[: len(data) // 2])
            self.reset()
            return
        self._kept[direction].append((self._loop.time() + self._proxy._delay_s, data))
        self._flush(direction)

    def flush(self):
        for direction in (UP, DOWN):
            self._flush(direction)

    def _flush(self, direction):
        kept = self._kept[direction]
        while kept and direction not in self._proxy._held and self._ends[direction] is not None:
            wait_s = min(kept[0][0] - self._loop.time(), self._proxy._delay_s)
            if wait_s > 0:
                self._loop.call_later(wait_s + 0.001, self._flush, direction)
                return
            self._write(direction, kept.popleft()[1])

    def _write(self, direction, data):
        end = self._ends[direction]
        if end is None or end.is_closing():
            return
        if data is None:
            end.close()
            self._proxy._pairs.discard(self)
        else:
            end.write(data)

    def reset(self):
        """End both connections without a word."""
        self._proxy._pairs.discard(self)
        for kept in self._kept.values():
            kept.clear()
        for end in self._ends.values():
            if end is not None and not end.is_closing():
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                end.abort()


class _Client(asyncio.Protocol):
    """The side of the service."""

    def __init__(self, proxy):
        self._proxy, self._pair = proxy, None

    def connection_made(self, transport):
        self._pair = _Pair(self._proxy, transport)

    def data_received(self, data):
        self._pair.carry(UP, data)

    def connection_lost(self, _):
        self._pair.carry(UP, None)


class _Server(asyncio.Protocol):
    """The side of the server."""

    def __init__(self, pair):
        self._pair = pair

    def data_received(self, data):
        self._pair.carry(DOWN, data)

    def connection_lost(self, _):
        self._pair.carry(DOWN, None)
