import asyncio
import sys

import asyncpg

from tests.integration.databases import a_database
from tests.integration.nginx_kit import free_ports


async def migrate(url, *options):
    """`daybook migrate` as a process."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", "migrate", *options,
        env={"DAYBOOK_DATABASE_URL": url, "DAYBOOK_LOG_FORMAT": "json"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def ended(process):
    """Its status, and what it said."""
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_a_database_that_is_not_up_when_the_time_is_over_is_an_error():
    (port,) = free_ports(1)
    status, said = await ended(await migrate(f"postgresql://me@127.0.0.1:{port}/d", "--wait", "0.1"))
    assert (status, "Error:" in said, "Traceback" in said) == (1, True, False)


async def test_a_database_that_comes_up_later_is_waited_for(postgres):
    async with a_database(postgres, migrated=False) as url:
        place = url.rpartition("@")[2].partition("/")[0]
        (port,) = free_ports(1)
        process = await migrate(url.replace(place, f"127.0.0.1:{port}"), "--wait", "30")

        line = await process.stdout.readline()  # it has found nobody there
        assert b"postgres" in line
        door = await asyncio.start_server(lambda r, w: passed(r, w, place), "127.0.0.1", port)
        status, said = await ended(process)
        assert status == 0, said
        door.close()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("select count(*) from book.checkpoints") == 0
        await connection.close()


async def passed(reader, writer, place):
    """What one side says, told to the other."""
    host, _, port = place.partition(":")
    other_reader, other_writer = await asyncio.open_connection(host, int(port))

    async def told(source, target):
        while text := await source.read(65536):
            target.write(text)
        target.close()

    await asyncio.gather(told(reader, other_writer), told(other_reader, writer))
