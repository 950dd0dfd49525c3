"""A replay's swap isn't kept off by autovacuum, which may be at a large table for longer than anybody waits."""

import pytest

from services.projector.replay import swapping
from shared.embedded.postgres import Postgres
from shared.readmodel import database
from shared.testing import wait_until

TABLE = "ledger.crawled"
AT_WORK = """
select count(*) from pg_locks join pg_stat_activity using (pid)
where backend_type = 'autovacuum worker' and mode = 'ShareUpdateExclusiveLock' and relation = $1::regclass
"""


@pytest.fixture
async def crawling(tmp_path):
    """A connection, while autovacuum takes minutes for a table among the ledgers."""
    server = Postgres(tmp_path, settings={"autovacuum_naptime": "1"})
    url = server.start().url
    try:
        await database.migrate(url)
        async with await database.connect_pool(url) as pool, pool.acquire() as connection:
            await connection.execute(f"create table {TABLE} as select generate_series(1, 100000) as n")
            await connection.execute(f"alter table {TABLE} add primary key (n)")
            slow = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
            await connection.execute(f"alter table {TABLE} set ({slow})")
            await connection.execute("update ledger.crawled set n = -n")

            async def at_work():
                return await connection.fetchval(AT_WORK, TABLE)

            await wait_until(at_work, "autovacuum is at the table", timeout_s=60)
            yield connection
    finally:
        server.stop()


async def locks(connection):
    async with connection.transaction():
        await swapping._lock(connection)


@pytest.mark.long
async def test_autovacuum_is_called_off(crawling):
    with pytest.raises(swapping._REFUSED):
        await locks(crawling)
    await swapping.call_off_vacuum(crawling)
    await locks(crawling)
