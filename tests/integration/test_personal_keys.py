"""The keys of personal data: where they stand, who may ask for them while what is away, and that none comes back."""

import asyncio
import secrets
from types import SimpleNamespace

import pytest

from shared.domain import ids
from shared.eventlog.connection import connect
from shared.eventlog.keys import Keys
from shared.personal import keys as personal_keys
from shared.personal import levelling
from shared.personal.keys import PersonalKeys
from shared.personal.levelling import PAGE
from shared.personal.sealing import ERASED
from shared.readmodel.database import connect_pool
from tests.integration.databases import a_database

NOW = ids.from_ms(1_790_000_000_000)


def job_in(partition, number):
    return ids.chance_id(NOW, partition, number)


A, B, C = job_in(0, 1), job_in(1, 2), job_in(0, 3)


class NoPool:
    """A Postgres that is away."""

    def __getattr__(self, name):
        raise ConnectionError("Postgres is away")


@pytest.fixture
async def stage(valkey, postgres):
    redis = connect(valkey.endpoint.url)
    async with a_database(postgres) as url:
        pool = await connect_pool(url)
        yield SimpleNamespace(redis=redis, pool=pool, prefix=f"t{secrets.token_hex(6)}")
        await pool.close()
    await redis.aclose()


@pytest.fixture
def keys(stage):
    return PersonalKeys(stage.redis, stage.pool, prefix=stage.prefix)


def copies(stage, partition):
    return stage.redis.hgetall(Keys(stage.prefix, partition).personal)


async def with_states(stage, *jobs):
    """Those jobs are known to Redis."""
    for job in jobs:
        name = Keys(stage.prefix, ids.partition_of(job)).aggregate(f"job:{job}")
        await stage.redis.hset(name, "version", "1-1")


async def test_a_key_is_made_once_and_stands_in_both_stores(stage, keys):
    made = await keys.make([A, B], tenant="acme")
    assert {32} == {len(key) for key in made.values()}
    assert made[A] != made[B]
    assert made == await keys.make([B, A], tenant="acme") == await keys.given([A, B], tenant="acme")
    assert {A.encode(): made[A] + b"acme"} == await copies(stage, 0)
    assert made == {row["job"]: row["key"] for row in await stage.pool.fetch("table book.personal_keys")}


async def test_people_of_a_tenant_get_keys_of_its_jobs_only(stage, keys):
    made = await keys.make([A], tenant="acme") | await keys.make([B], tenant="globex")
    await keys.make([C], tenant="globex")
    await destroyed(stage, keys, C)
    for _ in ("from Redis", "from Postgres"):
        assert {A: made[A], C: ERASED} == await keys.of([A, B, C], tenant="acme")
        assert made | {C: ERASED} == await keys.of([A, B, C])
        for each in (0, 1):
            await stage.redis.delete(Keys(stage.prefix, each).personal)


async def test_two_who_make_the_same_key_at_once_get_the_same(keys):
    made = await asyncio.gather(
        *(keys.make([A, C] if each % 2 else [C, A], tenant="acme") for each in range(8))
    )
    assert all(each == made[0] for each in made)


async def test_processes_that_make_the_same_keys_in_another_order_do_not_lock_each_other_out(stage):
    """Of two transactions that wait for each other's row Postgres ends one: a request would fail for nothing."""
    jobs = [job_in(0, 1_000 + each) for each in range(500)]
    for round_ in range(4):
        some = [job_in(0, 10_000 * round_ + int(each[-4:], 16)) for each in jobs]
        makers = [PersonalKeys(stage.redis, stage.pool, prefix=stage.prefix) for _ in range(4)]
        each = await asyncio.gather(
            *(one.make(some if at % 2 else some[::-1], tenant="acme") for at, one in enumerate(makers))
        )
        assert all(made == each[0] for made in each)


async def test_keys_that_are_wanted_at_once_are_made_together(stage, keys, monkeypatch):
    """A round trip for each of many jobs would be most of what making them takes."""
    calls, made = [], keys._made

    async def counted(wanted):
        calls.append(dict(wanted))
        return await made(wanted)

    monkeypatch.setattr(keys, "_made", counted)
    jobs = [job_in(each % 2, 100 + each) for each in range(50)]
    each = await asyncio.gather(*(keys.make([job], tenant=f"t{at}") for at, job in enumerate(jobs)))
    assert len(calls) <= 2
    rows = await stage.pool.fetch("select job, tenant, key from book.personal_keys")
    assert {row["job"]: row["key"] for row in rows} == {job: key for one in each for job, key in one.items()}
    assert {row["job"]: row["tenant"] for row in rows} == {job: f"t{at}" for at, job in enumerate(jobs)}


async def test_whoever_waits_for_a_key_hears_why_there_is_none_and_may_ask_again(stage, keys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(keys, "_pool", NoPool())
        failed = await asyncio.gather(
            *(keys.make([each], tenant="acme") for each in (A, B)), return_exceptions=True
        )
    assert [type(each) for each in failed] == [ConnectionError, ConnectionError]
    assert (await keys.make([A], tenant="acme")).keys() == {A}


async def test_readers_do_without_postgres_where_redis_has_the_copies(stage, keys):
    made = await keys.make([A, B], tenant="acme")
    alone = PersonalKeys(stage.redis, NoPool(), prefix=stage.prefix)
    assert made == await alone.of([A, B])
    with pytest.raises(ConnectionError):
        await alone.of([A, C])
    assert await alone.given([A, B], tenant="acme") == made
    with pytest.raises(ConnectionError):
        await alone.given([C], tenant="acme")
    assert {A.encode()} == (await copies(stage, 0)).keys()


async def test_readers_ask_postgres_where_redis_has_none_and_write_nothing(stage, keys):
    made = await keys.make([A], tenant="acme")
    await stage.redis.delete(Keys(stage.prefix, 0).personal)
    assert made == await keys.of([A, C])
    assert await copies(stage, 0) == {}


async def test_a_redis_that_says_nothing_is_one_that_is_away(stage, keys, monkeypatch):
    """Frozen, or behind a network that drops all: whoever reads has the key of Postgres before he gives up."""
    made = await keys.make([A], tenant="acme")

    class Silent:
        async def hmget(self, *_):
            await asyncio.Event().wait()

    monkeypatch.setattr(personal_keys, "COPIES_S", 0.05)
    async with asyncio.timeout(5):
        assert made == await PersonalKeys(Silent(), stage.pool, prefix=stage.prefix).of([A])


async def test_a_destroyed_key_is_nowhere_and_none_is_made_again(stage, keys):
    await keys.make([A, C], tenant="acme")
    await destroyed(stage, keys, A, B)
    assert {A: ERASED, B: ERASED} == await keys.of([A, B]) == await keys.given([A, B], tenant="acme")
    assert {C.encode()} == (await copies(stage, 0)).keys()
    rows = await stage.pool.fetch("select key, erased_at from book.personal_keys where job = any($1)", [A, B])
    assert [row["key"] for row in rows] == [None, None]
    at = [row["erased_at"] for row in rows]
    await destroyed(stage, keys, A, B)
    assert at == [row["erased_at"] for row in await stage.pool.fetch(
        "select erased_at from book.personal_keys where job = any($1)", [A, B])]  # fmt: skip


async def test_whoever_makes_a_key_while_it_is_destroyed_leaves_no_copy(stage, keys):
    """An erasure lets go of the row when the copy is gone: who copies waits, and finds no key."""
    await keys.make([A], tenant="acme")
    await with_states(stage, A)
    async with stage.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await keys.destroy(connection, [A])
        late = asyncio.create_task(keys.make([A], tenant="acme"))
        healing = asyncio.create_task(to_redis(stage))
        done, _ = await asyncio.wait({late, healing}, timeout=0.3)
        assert not done
        await transaction.commit()
    assert await late == {A: ERASED}
    assert await healing == 0
    assert await copies(stage, 0) == {}


async def test_an_erasure_waits_for_who_copies(stage, keys, monkeypatch):
    """Else it would take the copy away first, and find it back."""
    await keys.make([A], tenant="acme")
    held, go = asyncio.Event(), asyncio.Event()
    copy = personal_keys.copy

    async def slowly(*told):
        held.set()
        await go.wait()
        await copy(*told)

    monkeypatch.setattr(personal_keys, "copy", slowly)
    copying = asyncio.create_task(keys.make([A], tenant="acme"))
    await held.wait()
    erasing = asyncio.create_task(destroyed(stage, keys, A))
    done, _ = await asyncio.wait({erasing}, timeout=0.3)
    go.set()
    await asyncio.gather(copying, erasing)
    assert not done
    assert await copies(stage, 0) == {}


async def test_redis_gets_its_copies_back_and_keeps_none_of_an_erased_job(stage, keys):
    many = [job_in(0, number) for number in range(PAGE + 5)]
    made = await keys.make(many, tenant="acme")
    await with_states(stage, *many)
    await destroyed(stage, keys, many[0], many[1])
    name = Keys(stage.prefix, 0).personal
    await stage.redis.delete(name)
    await stage.redis.hset(name, many[0], made[many[0]] + b"acme")  # a Redis that was set back
    assert await to_redis(stage) == PAGE + 3
    assert {job.encode(): made[job] + b"acme" for job in many[2:]} == await copies(stage, 0)


async def test_postgres_gets_its_rows_back_but_of_no_job_that_was_erased(stage, keys):
    made = await keys.make([A, B, C], tenant="acme")
    await stage.pool.execute("delete from book.personal_keys where job <> $1", B)
    gone = job_in(0, 9)
    await stage.redis.hset(Keys(stage.prefix, 0).personal, gone, b"g" * 32 + b"acme")
    await erased_in_archive(stage, gone)
    assert await to_postgres(stage) == 2
    assert await to_postgres(stage) == 0
    rows = await stage.pool.fetch("select job, key from book.personal_keys")
    assert made == {row["job"]: row["key"] for row in rows}
    assert {"acme"} == set(await stage.pool.fetchval("select array_agg(tenant) from book.personal_keys"))


async def destroyed(stage, keys, *jobs):
    async with stage.pool.acquire() as connection, connection.transaction():
        await keys.destroy(connection, list(jobs))


async def erased_in_archive(stage, job):
    await stage.pool.execute(
        "insert into book.events (partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr,"
        " trace, data, chain) values (0, 1, 900000, $1, 'PersonalDataErased', 1, $2, '', 'subject', $3, '', '', '',"
        " '', '{}', '')",
        ids.event_id(1_790_000_000_000, 5),
        f"job/{job}",
        NOW,
    )


async def to_redis(stage):
    async with stage.pool.acquire() as connection:
        return await levelling.to_redis(connection, stage.redis, Keys(stage.prefix, 0))


async def to_postgres(stage):
    async with stage.pool.acquire() as connection:
        return await levelling.to_postgres(connection, stage.redis, Keys(stage.prefix, 0))


async def level(stage):
    async with stage.pool.acquire() as connection:
        await levelling.level(connection, stage.redis, Keys(stage.prefix, 0))


async def test_levelling_takes_away_what_a_restarted_server_had_forgotten_to(stage, keys):
    """Its last write may be lost though its log is whole: the copy of a key that was destroyed."""
    made = await keys.make([A, C], tenant="acme")
    await destroyed(stage, keys, A)
    await stage.redis.hset(Keys(stage.prefix, 0).personal, A, made[A] + b"acme")
    await level(stage)
    assert {C.encode(): made[C] + b"acme"} == await copies(stage, 0)


@pytest.mark.parametrize("lost", ["copies", "rows", "some of both"])
async def test_levelling_brings_back_what_either_has_lost(stage, keys, lost):
    made = await keys.make([A, C], tenant="acme")
    await with_states(stage, A, C)
    if lost != "rows":
        await stage.redis.hdel(Keys(stage.prefix, 0).personal, A)
    if lost != "copies":
        await stage.pool.execute("delete from book.personal_keys where job = $1", C)
    await level(stage)
    assert {job.encode(): key + b"acme" for job, key in made.items()} == await copies(stage, 0)
    assert made == {row["job"]: row["key"] for row in await stage.pool.fetch("table book.personal_keys")}


async def test_levelling_brings_back_copies_of_those_jobs_only_that_redis_knows(stage, keys):
    """Also where dead and living share a page, and of many pages most are dead."""
    many = [job_in(0, number) for number in range(2 * PAGE + 5)]
    made = await keys.make(many, tenant="acme")
    living = many[3], many[-1]
    await with_states(stage, *living)
    await stage.redis.delete(Keys(stage.prefix, 0).personal)
    await level(stage)
    assert {job.encode(): made[job] + b"acme" for job in living} == await copies(stage, 0)
    await level(stage)
    assert len(await copies(stage, 0)) == len(living)
    assert made == await keys.of(many)


async def test_levelling_reads_no_keys_where_nothing_is_lost(stage, keys, monkeypatch):
    await keys.make([A, C], tenant="acme")
    await with_states(stage, A)
    asked = []
    monkeypatch.setattr(
        levelling, "statement", lambda name: asked.append(name) or personal_keys.statement(name)
    )
    await level(stage)
    assert asked == ["erased", "lacking", "page"]
    await stage.redis.hdel(Keys(stage.prefix, 0).personal, A, C)
    await level(stage)
    assert asked[3:] == ["erased", "page", "held"]
    assert {A.encode()} == (await copies(stage, 0)).keys()
