"""The second start of `daybook up`, over a directory that holds data."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from shared.domain.schedule import Schedule
from shared.embedded import DataDir, processes

from . import plugin
from .cpu import Meter
from .hand import a_hand
from .raw_http import BadAnswerError, Connection, request
from .stand import Measured, run_loop
from .waiting import say, until

if TYPE_CHECKING:
    from .sizes import Sizes

JOBS = 20_000
NEVER = "0 3 1 1 *"  # once a year
PREFIX, PARTITIONS = "daybook", 4  # the defaults
START_S, END_S = 90.0, 60.0
OK = 200


class Up:
    """`daybook up` over a data directory, as a person would start it."""

    def __init__(self, directory: Path) -> None:
        self._data_dir = DataDir(directory / "data")
        self._output = directory / "up.log"
        self._port = processes.free_port()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
        self._environment = ours | plugin.install(directory)
        self._environment |= {"DAYBOOK_DATA_DIR": str(self._data_dir.path), "DAYBOOK_PORT": str(self._port)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(sys.executable).with_name("daybook")), "up"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                process_group=0,
            )

    async def is_healthy(self) -> bool:
        """Whether /health answers 200."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"daybook up ended with {self._process.returncode}")
        try:
            connection = await Connection.to(self._port)
            try:
                return (await connection.send(request("GET", "/health"))).status == OK
            finally:
                connection.close()
        except (OSError, BadAnswerError, TimeoutError):
            return False

    def pids(self) -> dict[str, int]:
        """Processes that are there now, by name."""
        at = self._data_dir.path
        servers = {name: processes.read_pid(at / name / "server.pid") for name in ("valkey", "postgres")}
        found = {name: pid for name, pid in servers.items() if pid is not None}
        endpoints = self._data_dir.read_endpoints()
        services = {} if endpoints is None else endpoints.services
        return found | {name: address.pid for name, address in services.items()}

    def addresses(self) -> tuple[str, str]:
        """URLs of the log and of the archive."""
        endpoints = self._data_dir.read_endpoints()
        assert endpoints is not None, "endpoints.json is missing"
        return endpoints.redis, endpoints.postgres

    async def stop(self) -> None:
        """SIGTERM; it must end by itself, with status 0."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self._process.wait, END_S)
        if status != 0:
            raise RuntimeError(f"daybook up ended with {status}")

    def destroy(self) -> None:
        """End what is left; its children go with it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def tail(self) -> str:
        """What it said last."""
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-20:])


def measure(directory: Path, sizes: Sizes) -> Measured:
    """Start it, make jobs, stop it cleanly; then start it again and wait until it is healthy."""
    up = Up(directory)
    try:
        return run_loop(_measure(up, sizes))
    except Exception as error:
        error.add_note(up.tail())
        raise
    finally:
        up.destroy()


async def _measure(up: Up, sizes: Sizes) -> Measured:
    count = sizes.count(JOBS)
    say("first start")
    up.start()
    await until(up.is_healthy, "the first start is healthy", timeout_s=START_S)
    say(f"making {count:,} jobs")
    redis_url, database_url = up.addresses()
    async with a_hand(redis_url, database_url, prefix=PREFIX, partitions=PARTITIONS) as hand:
        await hand.create([Schedule(cron_expression=NEVER)] * count)
        await hand.settle()
        servers = await hand.versions()
    await up.stop()
    say("second start")
    meter = Meter(up.pids)
    with meter.window():
        began_ns = time.monotonic_ns()
        up.start()
        await until(up.is_healthy, "the second start is healthy", timeout_s=START_S)
        took_us = (time.monotonic_ns() - began_ns) // 1000
    assert meter.spent is not None
    async with a_hand(*up.addresses(), prefix=PREFIX, partitions=PARTITIONS) as hand:
        found = await hand.pool.fetchval("select count(*) from ledger.jobs")
    say("stopping")
    await up.stop()
    raw = {"jobs": count, "found": found, "healthy_us": [took_us]}
    return Measured(raw=raw, cpu=meter.spent.row(), servers=servers)
