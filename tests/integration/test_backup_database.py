"""Backups of databases, by pg_dump and by COPY: row by row what was there, in one moment, into an empty database."""

import asyncio
import io
import json
import threading

import asyncpg
import pytest

from shared.backup import dumping
from shared.backup.container import Writer
from shared.backup.dumping import DumpFailed, dump
from shared.backup.payload import Payload
from shared.backup.postgres_tools import address
from shared.backup.restoring import to_database
from shared.backup.restoring_database import RestoreFailed, TargetNotEmpty
from shared.backup.sealing import BadBackup, Damaged
from shared.handlers import GiveUp
from shared.job_types.catalog import Source

from .backup_kit import METHODS, SECRET, Desk, a_bucket, sealed
from .databases import a_database

KEY = SECRET.encode()
SHOP = """
create extension if not exists pg_trgm;
create schema "Odd name";
create type "Odd name".mood as enum ('so so', 'it''s fine');
create domain "Odd name".positive as integer default 1 not null check (value > 0);
create type "Odd name".pair as (a integer, b text);
create sequence loose start with 7 increment by 3;
create function double(x integer) returns integer language sql immutable as 'select x * 2';
create table customers (
    id bigint generated always as identity (start with 10) primary key,
    name text not null collate "C",
    mood "Odd name".mood,
    doubled integer generated always as (double(score)) stored,
    score integer not null default 3,
    code bigint default nextval('loose'),
    parts "Odd name".pair,
    unique (name, score),
    check (score < 1000)
);
create function named(c customers) returns text language sql stable as 'select $1.name';
create table "Odd name"."select" (
    serial serial primary key,
    customer bigint references customers (id) on delete cascade,
    body bytea, at timestamptz, ratio double precision, list text[], document jsonb,
    amount "Odd name".positive
);
create table nothing ();
create table measured (at date not null, value numeric) partition by range (at);
create table measured_2026 partition of measured
    for values from ('2026-01-01') to ('2027-01-01') partition by list (value);
create table measured_2026_rest partition of measured_2026 default;
create table measured_rest partition of measured default;
create index on measured (value);
create index customers_like on customers using gin (name public.gin_trgm_ops);
create unique index on customers (lower(name)) where score > 2;
create view happy as select id, named(customers) as name from customers where mood = 'it''s fine';
create materialized view sums as select sum(value) from measured;
create function touched() returns trigger language plpgsql as $$ begin new.score := 99; return new; end $$;
create trigger touch before update on customers for each row execute function touched();
insert into customers (name, mood, score, parts)
    select E'n\\n\\t\\\\' || i || 'ł€', case when i % 2 = 0 then 'it''s fine' end::"Odd name".mood,
    i % 900, row(i, 'x'::text)::"Odd name".pair
    from generate_series(1, 3000) i;
insert into "Odd name"."select" (customer, body, at, ratio, list, document)
    select id, '\\x00ff0a5c', '2026-11-27T02:00:00.123456+00', 0.1 + id, array['a,b', null, '"'], '{"k": [1, null]}'
    from customers limit 100;
insert into measured select '2025-12-30'::date + i, i / 7.0 from generate_series(1, 50) i;
refresh materialized view sums;
"""
WRITE = "insert into measured values ('2026-05-05', 5); delete from customers"
WHAT = """
select c.oid::regclass::text as name, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    a.attidentity::text, a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1, a.attnum
"""
THEIRS = """
select k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid) from pg_constraint k
where k.conrelid <> 0 and k.connamespace::regnamespace::text !~ '^pg_|information_schema' and k.contype <> 'n'
order by 1, 2
"""
INDEXES = "select indexdef from pg_indexes where schemaname !~ '^pg_|information_schema' order by 1"
# Without parentheses: Postgres writes those of a long condition differently after it has read them again.
TRIGGERS = (
    "select translate(pg_get_triggerdef(oid), '()', '') from pg_trigger where not tgisinternal order by 1"
)
FUNCTIONS = """
select pg_get_functiondef(p.oid) from pg_proc p where pronamespace::regnamespace::text !~ '^pg_|information_schema'
and prokind = 'f' and not exists (select from pg_depend d where d.objid = p.oid and deptype = 'e') order by 1
"""
SEQUENCES = "select schemaname, sequencename, last_value from pg_sequences order by 1, 2"
TABLES = """
select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'm', 'v')
and c.relnamespace::regnamespace::text !~ '^pg_|information_schema' order by 1
"""


async def everything(url):
    """All that two databases must share: what there is, and every row of it."""
    connection = await asyncpg.connect(url)
    try:
        asked = (WHAT, THEIRS, INDEXES, TRIGGERS, FUNCTIONS, SEQUENCES)
        found = {question: [tuple(row) for row in await connection.fetch(question)] for question in asked}
        for (table,) in await connection.fetch(TABLES):
            rows = await connection.fetch(f"select t::text from {table} t order by 1")  # noqa: S608
            found[table] = [tuple(row) for row in rows]
        return found
    finally:
        await connection.close()


async def execute(url, statements):
    connection = await asyncpg.connect(url)
    try:
        return await connection.execute(statements)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def bucket():
    with a_bucket() as made:
        yield made


@pytest.fixture
async def shop(postgres):
    async with a_database(postgres, migrated=False) as url:
        await execute(url, SHOP)
        yield url


@pytest.fixture
async def empty(postgres):
    async with a_database(postgres, migrated=False) as url:
        yield url


@pytest.fixture(params=["pg_dump", "copy"])
def way(request, monkeypatch):
    if request.param == "copy":
        monkeypatch.setattr(dumping, "newest", lambda _: None)
    return request.param


def desk_of(tmp_path, url, kind="file", options=None):
    return Desk(tmp_path, kind, options, sources={"shop": Source(name="shop", kind="postgres", url=url)})


async def made(desk, **data):
    return await asyncio.to_thread(desk.run, backup_type="database", **({"source": "shop"} | data))


async def restored(desk, name, url, secret=KEY, **options):
    stored = await asyncio.to_thread(desk.bytes, name)
    return await to_database(io.BytesIO(stored), len(stored), secret, url, **options)


@pytest.mark.parametrize("kind", ["file", "s3"])
@pytest.mark.parametrize(("compression", "encryption"), METHODS)
async def test_a_database_comes_back_row_by_row(
    shop, empty, way, kind, bucket, tmp_path, compression, encryption
):
    desk = desk_of(tmp_path, shop, kind, bucket.options if kind == "s3" else None)
    told = await made(desk, compression=compression, encryption=encryption)
    assert (told["backup_type"], told["tables"], told["verified"]) == ("database", 5, True)
    manifest = await restored(desk, told["name"], empty)
    assert manifest["method"] == way
    assert await everything(empty) == await everything(shop)
    assert await execute(empty, "insert into customers (name) values ('next')") == "INSERT 0 1"


async def test_daybooks_own_database_is_what_is_backed_up_unless_a_source_is_named(
    postgres, empty, way, tmp_path
):
    async with a_database(postgres) as url:
        await execute(
            url,
            "insert into book.deployment (partitions, prefix) values (2, 'p');"
            "insert into book.events values"
            "(0, 1, 1, 'i', 'T', 1, 'job/a', '', '', now(), 'a', '', '', '', '{}', '\\x00')",
        )
        desk = Desk(tmp_path, "alias", database_url=url)
        told = await made(desk, source=None, compression=True, encryption=True)
        await restored(desk, told["name"], empty)
        assert await everything(empty) == await everything(url)


async def test_a_copy_shows_one_moment_whatever_is_written_meanwhile(postgres, shop, empty, monkeypatch):
    monkeypatch.setattr(dumping, "newest", lambda _: None)
    before = await everything(shop)
    buffer = io.BytesIO()
    writer = Writer(buffer.write, compression="none", secret=None)
    payload = Payload(writer, {"backup_type": "database"})
    writes = []

    def told(_):
        if not writes:  # the first table is under way; the others come later
            writes.append(threading.Thread(target=lambda: asyncio.run(execute(shop, WRITE))))
            writes[0].start()
            writes[0].join()

    manifest = await dump(shop, payload, told)
    payload.finish(manifest)
    writer.finish()
    stored = buffer.getvalue()
    await to_database(io.BytesIO(stored), len(stored), None, empty)
    assert await everything(empty) == before
    assert await everything(shop) != before


async def test_what_only_pg_dump_can_carry_is_given_up_without_it(shop, tmp_path, monkeypatch):
    await execute(shop, "create table child (extra text) inherits (customers)")
    desk = desk_of(tmp_path, shop)
    assert (await made(desk))["tables"] == 6
    monkeypatch.setattr(dumping, "newest", lambda _: None)
    with pytest.raises(GiveUp, match=r"NeedsPgDump: Only pg_dump can carry inheritance of public\.child"):
        await made(desk, compression="gzip", encryption=True)


async def test_an_older_pg_dump_than_the_server_is_not_asked(shop, tmp_path, monkeypatch):
    old = dumping.Tool(path="/nowhere/pg_dump", version=9)
    monkeypatch.setattr(dumping, "newest", lambda _: old)
    assert (await made(desk_of(tmp_path, shop)))["tables"] == 5


async def test_a_pg_dump_that_fails_fails_the_attempt_and_leaves_nothing(shop, tmp_path, monkeypatch):
    script = tmp_path / "pg_dump"
    script.write_text("#!/bin/sh\necho half a dump\necho 'it went wrong' >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(dumping, "newest", lambda _: dumping.Tool(path=str(script), version=99))
    desk = desk_of(tmp_path, shop)
    with pytest.raises(DumpFailed, match="ended with 3: it went wrong"):
        await made(desk)
    assert desk.names() == []


def test_the_password_is_not_on_the_command_line():
    bare, environ = address("postgresql://ann:p%40ss@host:5432/db?sslmode=require")
    assert bare == "postgresql://ann@host:5432/db?sslmode=require"
    assert environ["PGPASSWORD"] == "p@ss"


async def test_a_database_that_holds_something_stays_unless_it_is_said_that_it_may_go(
    shop, empty, way, tmp_path
):
    desk = desk_of(tmp_path, shop)
    told = await made(desk)
    await execute(empty, "create table customers (precious text); insert into customers values ('mine')")
    before = await everything(empty)
    with pytest.raises(TargetNotEmpty):
        await restored(desk, told["name"], empty)
    assert await everything(empty) == before
    await restored(desk, told["name"], empty, force=True)
    assert await everything(empty) == await everything(shop)


@pytest.mark.parametrize("encryption", [False, True])
async def test_a_damaged_backup_changes_nothing(shop, empty, way, tmp_path, encryption):
    desk = desk_of(tmp_path, shop)
    told = await made(desk, encryption=encryption, compression=False)
    whole = desk.bytes(told["name"])
    await execute(empty, "create table mine ()")
    before = await everything(empty)
    for at in (70, len(whole) // 2, len(whole) - 300_000, len(whole) - 5):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with pytest.raises(BadBackup):
            await to_database(io.BytesIO(changed), len(changed), SECRET.encode(), empty, force=True)
        assert await everything(empty) == before
    with pytest.raises(BadBackup):
        await to_database(io.BytesIO(whole[:-9000]), len(whole) - 9000, SECRET.encode(), empty, force=True)
    assert await everything(empty) == before


def forged(*members, rows):
    def fill(payload):
        for name, document in members:
            payload.add(name, document if isinstance(document, bytes) else json.dumps(document).encode())
        return {"tables": [{"schema": "public", "name": "t", "rows": rows}]}

    return sealed(fill, about={"backup_type": "database"})


BEFORE = ("schema/before.sql.json", ["create table public.t (a integer)"])
TABLE = ("tables/00001/table.json", {"schema": "public", "name": "t", "columns": ["a"]})
ROWS = ("tables/00001/000001", b"1\n2\n")
AFTER = ("schema/after.sql.json", [])


@pytest.mark.parametrize(
    ("members", "rows", "error"),
    [
        ((BEFORE, TABLE, ROWS, AFTER), 3, Damaged),
        ((BEFORE, TABLE, ROWS), 2, Damaged),
        ((BEFORE, TABLE, ROWS, AFTER, ("more", b"")), 2, Damaged),
        ((BEFORE, ("tables/00001/table.json", {"schema": "public"}), ROWS, AFTER), 2, Damaged),
        ((BEFORE, TABLE, ("tables/00001/000001", b"no number\n"), AFTER), 1, RestoreFailed),
        ((("schema/before.sql.json", ["drop table nowhere"]), TABLE, ROWS, AFTER), 2, RestoreFailed),
        ((("schema/before.sql.json", {"no": "list"}), TABLE, ROWS, AFTER), 2, Damaged),
        ((("strange", b"x"),), 2, Damaged),
    ],
)
async def test_a_backup_that_contradicts_itself_changes_nothing(empty, members, rows, error):
    stored = forged(*members, rows=rows)
    with pytest.raises(error):
        await to_database(io.BytesIO(stored), len(stored), None, empty)
    assert await execute(empty, "create table public.t ()") == "CREATE TABLE"


async def test_what_is_whole_is_taken(empty):
    stored = forged(BEFORE, TABLE, ROWS, AFTER, rows=2)
    await to_database(io.BytesIO(stored), len(stored), None, empty)
    assert len((await everything(empty))["t"]) == 2
