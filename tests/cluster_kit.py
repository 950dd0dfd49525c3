"""A Redis Cluster of real servers on loopback: masters, a replica of each, and what may happen to them."""

import time
from contextlib import ExitStack
from typing import NamedTuple

import redis

from shared.embedded import Valkey
from shared.embedded.processes import free_port
from shared.embedded.server import Endpoint
from shared.eventlog.topology import slot_of, told_slots
from shared.redis_url import Address

NODE_TIMEOUT_MS = 1500  # a master that has been silent so long is replaced
FORMED_S = 30.0
PASSWORD = "one-for-all-nodes"  # noqa: S105 - of servers that end with the test
SLOTS = 16384


class Node(Valkey):
    """A server with cluster-enabled yes."""

    def __init__(self, directory):
        self.bus_port = free_port()
        super().__init__(
            directory,
            port=free_port(),
            extra_config={
                "cluster-enabled": "yes",
                "cluster-config-file": "nodes.conf",
                "cluster-require-full-coverage": "no",  # what a dead master doesn't have goes on
                "cluster-node-timeout": str(NODE_TIMEOUT_MS),
                "cluster-port": str(self.bus_port),
                "masterauth": PASSWORD,
                "repl-diskless-sync-delay": "0",
            },
        )

    @property
    def _password(self):
        return PASSWORD

    def ask(self, *words, decode=True):
        with redis.Redis.from_url(self.endpoint.url, socket_timeout=5, decode_responses=decode) as client:
            return client.execute_command(*words)

    @property
    def id(self):
        return self.ask("CLUSTER", "MYID")

    @property
    def is_master(self):
        return self.ask("ROLE")[0] == "master"

    def info(self, section):
        with redis.Redis.from_url(self.endpoint.url, socket_timeout=5) as client:
            return client.info(section)


class Move(NamedTuple):
    """A slot that is being moved, by hand."""

    slot: int
    source: Node
    target: Node

    def keys(self, *names):
        """Move these keys."""
        there = ("127.0.0.1", self.target.endpoint.port)
        self.source.ask("MIGRATE", *there, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *names)

    def end(self):
        """Move the keys that are left, and have both know whose the slot is."""
        while left := self.source.ask("CLUSTER", "GETKEYSINSLOT", self.slot, 100):
            self.keys(*left)
        owner = self.target.id
        for node in (self.target, self.source):
            node.ask("CLUSTER", "SETSLOT", self.slot, "NODE", owner)


class RedisCluster:
    """`masters` servers that have the slots, and `replicas` behind the first of them. It is used as Valkey is."""

    def __init__(self, directory, *, masters=3, replicas=0):
        count = masters + replicas
        self.nodes = [Node(directory / f"node-{number}") for number in range(count)]
        self._masters = masters

    @property
    def endpoint(self):
        """The whole, by all of its nodes."""
        places = ",".join(f"127.0.0.1:{node.endpoint.port}" for node in self.nodes)
        return Endpoint(url=f"redis+cluster://:{PASSWORD}@{places}", pid=0, port=0)

    def start(self):
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._form()
            stack.pop_all()  # started, so they stay
        return self

    def stop(self):
        for node in self.nodes:
            node.stop()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def master_of(self, key):
        """The node that serves `key`, as one that is alive says."""
        asked = next(node for node in self.nodes if node.is_alive())
        masters, _ = told_slots(Address("127.0.0.1", 0), asked.ask("CLUSTER", "SLOTS", decode=False))
        port = masters[slot_of(key)].port
        return next(node for node in self.nodes if node.endpoint.port == port)

    def replica_of(self, master):
        """A node that follows `master`."""
        port = master.endpoint.port
        return next(
            node
            for node in self.nodes
            if node.is_alive() and node.info("replication").get("master_port") == port
        )

    def masters(self):
        return [node for node in self.nodes if node.is_alive() and node.is_master]

    def is_whole(self):
        """Whether all slots are served, as all nodes see it."""
        states = [node.ask("CLUSTER INFO") for node in self.nodes if node.is_alive()]
        return all(
            each["cluster_state"] == "ok" and int(each["cluster_slots_ok"]) == SLOTS for each in states
        )

    def wait_whole(self, what="the cluster is whole"):
        until = time.monotonic() + FORMED_S
        while not self.is_whole():
            assert time.monotonic() < until, f"not within {FORMED_S} s: {what}"
            time.sleep(0.05)

    def begin_to_move(self, key):
        """Have the slot of `key` on its way to another master, without any of its keys; return the move."""
        source = self.master_of(key)
        target = next(node for node in self.masters() if node is not source)
        move = Move(slot_of(key), source, target)
        target.ask("CLUSTER", "SETSLOT", move.slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", move.slot, "MIGRATING", target.id)
        return move

    def _form(self):
        masters, replicas = self.nodes[: self._masters], self.nodes[self._masters :]
        share = SLOTS // len(masters)
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if node in masters:
                last = SLOTS - 1 if node is masters[-1] else (number + 1) * share - 1
                node.ask("CLUSTER", "ADDSLOTSRANGE", number * share, last)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].endpoint.port, self.nodes[0].bus_port)
        self._wait(lambda: all(len(node.ask("CLUSTER NODES")) == len(self.nodes) for node in self.nodes))
        for number, node in enumerate(replicas):
            node.ask("CLUSTER", "REPLICATE", masters[number % len(masters)].id)
        self._wait(lambda: all(n.info("replication").get("master_link_status") == "up" for n in replicas))
        self.wait_whole()

    def _wait(self, condition):
        until = time.monotonic() + FORMED_S
        while not condition():
            assert time.monotonic() < until, f"the cluster was not formed within {FORMED_S} s"
            time.sleep(0.05)
