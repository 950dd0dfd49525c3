"""`data_migration` between two real databases: what is copied, where it goes on, and what it refuses."""

import asyncio
import contextlib
import itertools
import json
import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from services.executor.handlers import custom
from services.executor.handlers.data_migration import MigrationDiffers, copying
from services.executor.handlers.data_migration.sessions import SourceUnreachable
from services.executor.handlers.data_migration.sql import quoted
from services.executor.outcome import Returned, returned
from services.executor.secrets import Secrets
from shared.handlers import GiveUp
from shared.job_types.catalog import Source
from shared.job_types.secrets import SecretRef
from shared.testing import a_told_run, resources

ROOT = Path(__file__).parents[2]
PARAMETERS = {"source": "legacy_db", "destination": "new_db", "batch_size": 1000}


class Told:
    """What a run says, and a stop at a moment of the test's choice."""

    def __init__(self):
        self.lines, self.progress_told, self.on_progress = [], [], lambda: None

    def log(self, text):
        self.lines.append(text)

    def progress(self, ratio, message):
        self.progress_told.append((ratio, message))
        self.on_progress()


@dataclass
class Pair:
    """Two databases, each with a connection of the test's."""

    urls: dict[str, str]
    here: asyncpg.Connection
    there: asyncpg.Connection
    told: Told

    async def run(self, *, run_id="r1", fence="1-1", job_id="j", urls=None, **parameters):
        data = {"operation": "data_migration", "parameters": PARAMETERS | parameters}
        run = replace(a_told_run(**data), run_id=run_id, fence=fence, job_id=job_id, reporter=self.told)
        sources = {
            name: Source(name=name, kind="postgres", url=url) for name, url in (urls or self.urls).items()
        }
        return await custom.handle(run, resources(sources=sources))

    async def both(self, statement):
        for connection in (self.here, self.there):
            await connection.execute(statement)

    async def count(self, table):
        return await self.there.fetchval(f"select count(*) from {table}")  # noqa: S608


def at(url, database):
    return f"{url.rpartition('/')[0]}/{database}"


@pytest.fixture
async def pair(postgres):
    suffix = secrets.token_hex(4)
    names = {"legacy_db": f"legacy_{suffix}", "new_db": f"new_{suffix}"}
    owner = await asyncpg.connect(postgres.endpoint.url)
    for name in names.values():
        await owner.execute(f'create database "{name}"')
    urls = {source: at(postgres.endpoint.url, name) for source, name in names.items()}
    here, there = [await asyncpg.connect(url) for url in urls.values()]
    yield Pair(urls, here, there, Told())
    for connection in (here, there):
        await connection.close()
    for name in names.values():
        await owner.execute(f'drop database "{name}" with (force)')
    await owner.close()


CUSTOMERS = "create table customers (id int primary key, name text not null, at timestamptz default now())"


async def customers(pair, count=10_000):
    await pair.here.execute(CUSTOMERS)
    await pair.here.execute(
        "insert into customers (id, name) select i, 'customer ' || i from generate_series(1, $1::int) i",
        count,
    )


# What is copied.


async def test_ten_thousand_rows_are_copied_and_compared_and_the_table_is_made(pair):
    await customers(pair)
    assert await pair.run() == {
        "source": "legacy_db",
        "destination": "new_db",
        "tables": [
            {
                "table": "public.customers",
                "rows_copied": 10_000,
                "rows_source": 10_000,
                "rows_destination": 10_000,
                "equal": True,
            }
        ],
        "tables_count": 1,
        "rows_copied": 10_000,
        "equal": True,
    }
    sample = "select * from customers where id in (1, 1000, 1001, 10000) order by id"
    assert await pair.there.fetch(sample) == await pair.here.fetch(sample)
    with pytest.raises(asyncpg.UniqueViolationError):
        await pair.there.execute("insert into customers (id, name) values (1, '')")
    with pytest.raises(asyncpg.NotNullViolationError):
        await pair.there.execute("insert into customers (id) values (0)")
    assert len(pair.told.progress_told) == 11
    assert pair.told.progress_told[5] == (0.5, "public.customers: 5,000 of 10,000 rows")
    assert "made in new_db" in pair.told.lines[0]


ODD = """
create type mood as enum ('sad', 'ok', 'happy');
create domain posint as int check (value > 0);
create type point3 as (x int, y numeric, z text);
"""
ODD_TABLE = """
create table odd (
    a numeric(30, 10), b timestamptz, m mood, primary key (m, b, a),
    id bigint generated always as identity,
    small smallserial,
    j jsonb, js json, texts text[], grid int[][], d posint, moods mood[], p point3, ps point3[],
    bin bytea, t time, tz timetz, iv interval, dt date, ts timestamp,
    r4 real, r8 double precision, u uuid, ip inet, net cidr, mac macaddr, bits bit(5), vb varbit,
    rng int4range, mr nummultirange, ch char(10), vc varchar(20), tsv tsvector, mon money,
    twice bigint generated always as (length(vc) * 2) stored,
    thrice bigint generated always as (length(vc) * 3) virtual
);
insert into odd (a, b, m, j, js, texts, grid, d, moods, p, ps, bin, t, tz, iv, dt, ts, r4, r8, u, ip, net, mac, bits,
                 vb, rng, mr, ch, vc, tsv, mon)
select i / 7.0, timestamptz '2026-03-29 00:30+01' + i * interval '1 hour 1 microsecond',
       (enum_range(null::mood))[1 + i % 3],
       jsonb_build_object('n', i, 'deep', jsonb_build_array(null, 'Łódź €', 1.50)),
       ('{"b": 1,   "a": "' || repeat('\\u00e9', i % 3) || '"}')::json,
       array['', null, E'tab\\t nl\\n back\\\\ quote" comma,{}', 'NULL'], '{{1,2},{3,null}}', i + 1,
       array['sad', null]::mood[], row(i, 1.10, E'a"b\\\\c(,')::point3, array[row(1, null, '')::point3, null],
       decode(lpad(to_hex(i), 8, '0'), 'hex') || '\\x00ff5c0a'::bytea, '23:59:59.999999', '12:00+05:30',
       interval '1 mon -2 days 03:04:05.678', 'infinity', '-infinity', 1.1 + i, 1e-300 * i, gen_random_uuid(),
       '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', B'10101', B'1', int4range(i, i + 5),
       nummultirange(numrange(1.1, 2.2), numrange(3, null)), 'pad ', repeat('x', i % 20),
       to_tsvector('simple', 'the quick fox'), 12.34
from generate_series(0, 249) i;
insert into odd (a, b, m) values ('NaN', 'infinity', 'ok'), (-1, '-infinity', 'sad');
"""


async def test_odd_types_arrive_as_they_were_and_sequences_go_on(pair):
    await pair.both(ODD)
    await pair.here.execute(ODD_TABLE)
    result = await pair.run(batch_size=13)
    assert result["equal"]
    assert result["rows_copied"] == 252
    rows = "select odd::text from odd order by id"
    assert await pair.there.fetch(rows) == await pair.here.fetch(rows)
    shape = """
    select attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated
    from pg_attribute where attrelid = 'odd'::regclass and attnum > 0 and attname <> 'small' order by attnum
    """
    assert await pair.there.fetch(shape) == await pair.here.fetch(shape)
    fresh = (
        "insert into odd (a, b, m, vc) values (1, now(), 'happy', 'abc') returning id, small, twice, thrice"
    )
    assert dict(await pair.there.fetchrow(fresh)) == {"id": 253, "small": 253, "twice": 6, "thrice": 9}


async def test_a_sequence_that_is_the_destinations_alone_goes_on_too_and_never_back(pair):
    await pair.both("create table a (id int primary key); create table b (id int primary key)")
    await pair.here.execute("insert into a values (7), (-3); insert into b values (7)")
    await pair.there.execute("drop table a, b; create table a (id serial primary key, more int)")
    await pair.there.execute("create table b (id int generated always as identity primary key)")
    await pair.there.execute("select setval('b_id_seq', 100)")
    assert (await pair.run())["equal"]
    assert await pair.there.fetchval("insert into a default values returning id") == 8
    assert await pair.there.fetchval("insert into b default values returning id") == 101


async def test_names_that_need_quotes_are_names_and_nothing_else(pair):
    schema, table = 'we"ird; schema', 'x"); drop table victim; --\n{names} $1 %s'
    key, other = "a'b\"c $1", "select\n-- \\ {table}"
    full = f"{quoted(schema)}.{quoted(table)}"
    await pair.both("create table victim (id int primary key)")
    await pair.here.execute(f"create schema {quoted(schema)}")
    await pair.here.execute(f"create type {quoted(schema)}.{quoted(key)} as enum ('x''y\"', 'z')")
    await pair.both("select 1")
    await pair.here.execute(
        f"create table {full} ({quoted(key)} text, {quoted(other)} int, primary key ({quoted(key)}, {quoted(other)}))"
    )
    await pair.here.executemany(
        f"insert into {full} values ($1, $2)",  # noqa: S608
        [(f"'; drop table victim; -- \\ \" {{}} $1 {n}", n) for n in range(25)],
    )
    result = await pair.run(batch_size=4, table=f"{schema}.{table}")
    assert (result["rows_copied"], result["equal"]) == (25, True)
    assert result["tables"][0]["table"] == f"{schema}.{table}"
    assert await pair.count(full) == 25
    assert await pair.count("victim") == 0


@pytest.mark.parametrize(
    "table", ["customers; drop table customers", 'customers" --', "public.customers'--", "%"]
)
async def test_a_table_name_that_is_none_is_refused_and_does_nothing(pair, table):
    await customers(pair, 3)
    with pytest.raises(GiveUp, match=r"has no table .*; there are public\.customers"):
        await pair.run(table=table)
    assert await pair.here.fetchval("select count(*) from customers") == 3


async def test_one_table_by_its_bare_name_or_with_its_schema_and_several_are_told_apart(pair):
    await pair.here.execute("create schema sales")
    await pair.here.execute("create table sales.a (id int primary key); create table a (id int primary key)")
    await pair.here.execute("create table sales.b (id int primary key)")
    with pytest.raises(GiveUp, match=r"several tables .* public\.a or sales\.a"):
        await pair.run(table="a")
    assert [each["table"] for each in (await pair.run(table="sales.a"))["tables"]] == ["sales.a"]
    assert [each["table"] for each in (await pair.run(table="b"))["tables"]] == ["sales.b"]


async def test_tables_that_others_refer_to_come_first(pair):
    tables = """
    create table z (id int primary key);
    create table a (id int primary key references z);
    """
    await pair.both(tables)
    await pair.here.execute("insert into z select generate_series(1, 50); insert into a select id from z")
    assert (await pair.run(batch_size=10))["equal"]


async def test_tables_that_refer_to_each_other_in_a_circle_are_copied_too(pair):
    await pair.here.execute("""
    create table b (id int primary key, other int);
    create table a (id int primary key references b);
    alter table b add foreign key (other) references a;
    insert into b values (1, null); insert into a values (1); update b set other = 1;
    """)
    result = await pair.run()
    assert (result["tables_count"], result["equal"]) == (2, True)


async def test_a_partitioned_table_is_copied_as_one_and_inheritance_does_not_double_rows(pair):
    await pair.here.execute("""
    create table parts (id int primary key) partition by range (id);
    create table parts_1 partition of parts for values from (0) to (50);
    create table parts_2 partition of parts for values from (50) to (100);
    insert into parts select generate_series(0, 99);
    create table parent (id int primary key);
    create table child (primary key (id)) inherits (parent);
    insert into parent values (1); insert into child values (2);
    """)
    result = await pair.run(batch_size=30)
    assert {each["table"]: each["rows_copied"] for each in result["tables"]} == {
        "public.child": 1,
        "public.parent": 1,
        "public.parts": 100,
    }


async def test_keys_are_followed_in_the_order_of_the_source_whatever_its_operators_are(pair):
    """Of the types in the key, one has its operators in a schema of its own."""
    await pair.both("create schema ext; create extension citext schema ext")
    await pair.here.execute("""
    create table nocase (k ext.citext primary key);
    insert into nocase select (case when i % 2 = 0 then upper('k' || i) else 'k' || i end)::ext.citext
    from generate_series(1, 300) i;
    create table said (t regtype); insert into said values ('ext.citext'), ('int'), ('ext.citext[]');
    """)
    result = await pair.run(batch_size=7)
    assert {each["table"]: each["rows_copied"] for each in result["tables"]} == {
        "public.nocase": 300,
        "public.said": 3,
    }
    assert result["equal"]
    read = [int(message.split()[1]) for _, message in pair.told.progress_told if "nocase" in message]
    assert max(after - before for before, after in itertools.pairwise(read)) == 7


# Stopping and going on.


async def stopped_at(pair, batches, **options):
    """A run that is cancelled once so many batches have been copied."""
    task = asyncio.create_task(pair.run(**options))
    before = len(pair.told.progress_told)

    def stop():
        if len(pair.told.progress_told) - before > batches:
            task.cancel()

    pair.told.on_progress = stop
    with pytest.raises(asyncio.CancelledError):
        await task
    pair.told.on_progress = lambda: None


async def test_an_attempt_goes_on_where_a_cancelled_one_stopped(pair):
    await customers(pair)
    await stopped_at(pair, 4)
    assert await pair.count("customers") == 4_000
    # Were it to begin anew, this row would come back.
    await pair.there.execute("delete from customers where id = 7")
    result = await pair.run(fence="1-2", on_difference="report")
    assert (result["rows_copied"], result["tables"][0]["rows_destination"]) == (10_000, 9_999)
    await pair.there.execute("insert into customers select 7, 'customer 7'")
    assert await pair.count("customers") == 10_000


async def test_after_many_kills_in_any_place_no_row_is_missing_and_none_is_there_twice(pair):
    await customers(pair, 3_000)
    await pair.here.execute(
        "create table log (n int, line text); insert into log select id, name from customers"
    )
    for attempt in range(1, 9):
        task = asyncio.create_task(pair.run(fence=f"1-{attempt}", batch_size=100))
        for _ in range(attempt * 37):  # wherever in the way of a batch that is
            await asyncio.sleep(0)
            if task.done():
                break
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    result = await pair.run(fence="1-9", batch_size=100)
    assert result["equal"]
    assert {each["table"]: each["rows_destination"] for each in result["tables"]} == {
        "public.customers": 3_000,
        "public.log": 3_000,
    }


KILLED = """
import asyncio, json, sys
from dataclasses import replace
from services.executor.handlers import custom
from shared.job_types.catalog import Source
from shared.testing import a_told_run, resources

class Loud:
    def log(self, text): pass
    def progress(self, ratio, message): print(message, flush=True)

urls, parameters = json.loads(sys.argv[1])
run = a_told_run(operation="data_migration", parameters=parameters)
sources = {name: Source(name=name, kind="postgres", url=url) for name, url in urls.items()}
asyncio.run(custom.handle(replace(run, run_id="r1", reporter=Loud()), resources(sources=sources)))
"""


async def test_after_a_kill_9_the_next_start_goes_on(pair):
    await customers(pair)
    told = json.dumps([pair.urls, PARAMETERS | {"batch_size": 100}])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, told, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    async with asyncio.timeout(60):
        async for line in process.stdout:
            if b": 1,700 of" in line:
                process.kill()
                break
        await process.wait()
    result = await pair.run(fence="1-2")
    assert (result["rows_copied"], result["equal"]) == (10_000, True)
    first = int(pair.told.progress_told[0][1].split()[1].replace(",", ""))
    assert 1_700 <= first < 10_000
    assert await pair.count("customers") == 10_000


async def test_another_run_goes_on_too_and_counts_its_own_rows(pair):
    await customers(pair)
    await stopped_at(pair, 4)
    result = await pair.run(run_id="r2", fence="1-5")
    assert (result["rows_copied"], result["equal"]) == (6_000, True)


async def test_a_run_that_is_done_again_copies_nothing_twice_and_tells_the_same(pair):
    await customers(pair)
    await pair.here.execute("create table log (line text); insert into log values ('a'), ('a')")
    first = await pair.run()
    assert await pair.run(fence="1-2") == first
    assert await pair.count("log") == 2


async def test_the_next_run_fetches_what_has_come_since_wherever_its_key_lies(pair):
    await customers(pair)
    await pair.here.execute("delete from customers where id in (5, 6000)")
    await pair.run()
    await pair.here.execute(
        "insert into customers (id, name) values (5, 'late'), (6000, 'late'), (10001, 'new')"
    )
    result = await pair.run(run_id="r2", fence="1-9")
    assert (result["rows_copied"], result["equal"]) == (3, True)


async def test_an_older_start_that_is_still_alive_copies_nothing_more(pair):
    await customers(pair)
    task = asyncio.create_task(
        pair.run(fence="1-1", batch_size=20)
    )  # it is long under way when the other comes
    later = []

    async def newer():
        later.append(await pair.run(fence="1-2"))

    pair.told.on_progress = lambda: None if later or tasks else tasks.append(asyncio.create_task(newer()))
    tasks = []
    with pytest.raises(GiveUp, match="a later start of job j has taken over"):
        await task
    await tasks[0]
    assert later[0]["equal"]
    assert await pair.count("customers") == 10_000


async def test_rows_that_come_and_go_at_the_source_meanwhile_are_not_seen(pair):
    await customers(pair, 3_000)
    done = []

    def disturb():
        if len(pair.told.progress_told) == 2:
            done.append(asyncio.create_task(pair.here.execute("delete from customers where id > 1500")))

    pair.told.on_progress = disturb
    result = await pair.run()
    await done[0]
    assert (result["rows_copied"], result["equal"]) == (3_000, True)


async def test_the_loop_turns_while_much_is_copied(pair):
    await pair.here.execute("create table wide (id int primary key, t text)")
    await pair.here.execute(
        "insert into wide select i, repeat(md5(i::text), 300) from generate_series(1, 3000) i"
    )
    loop, longest, at = asyncio.get_running_loop(), 0.0, None
    task = asyncio.create_task(pair.run(batch_size=3000))
    at = loop.time()
    while not task.done():
        await asyncio.sleep(0)
        longest, at = max(longest, loop.time() - at), loop.time()
    assert (await task)["equal"]
    assert longest < 0.25


# Differences.


async def test_a_row_that_differs_fails_the_run_and_the_table_is_looked_through_again(pair):
    await customers(pair, 100)
    await pair.there.execute(CUSTOMERS)
    await pair.there.execute("insert into customers (id, name) values (50, 'somebody else')")
    with pytest.raises(
        MigrationDiffers, match=r"public\.customers: 99 rows copied; 100 .* 100 .* not the same"
    ):
        await pair.run()
    assert await pair.there.fetchval("select name from customers where id = 50") == "somebody else"
    await pair.there.execute("delete from customers where id = 50")
    result = await pair.run(fence="1-2")
    assert (result["rows_copied"], result["equal"]) == (100, True)


async def test_a_difference_may_be_reported_instead(pair):
    await customers(pair, 100)
    await pair.there.execute(CUSTOMERS)
    await pair.there.execute("insert into customers (id, name) values (1000, 'more')")
    result = await pair.run(on_difference="report")
    assert (result["equal"], result["tables"][0]["rows_destination"]) == (False, 101)


# Tables without a primary key.


async def test_a_table_without_a_primary_key_is_copied_once_as_a_whole(pair):
    await pair.here.execute("create table log (line text); insert into log values ('a'), ('a'), (null)")
    result = await pair.run()
    assert (result["rows_copied"], result["equal"]) == (3, True)
    again = await pair.run(run_id="r2", fence="1-2")
    assert (again["rows_copied"], again["equal"]) == (0, True)
    assert await pair.count("log") == 3


async def test_if_it_differs_later_the_run_is_given_up_as_no_other_could_mend_it(pair):
    await pair.here.execute("create table log (line text); insert into log values ('a')")
    await pair.run()
    await pair.here.execute("insert into log values ('b')")
    with pytest.raises(GiveUp, match=r"public\.log: 0 rows copied; 2 at the source, 1 at the destination"):
        await pair.run(run_id="r2", fence="1-2")


async def test_it_is_refused_where_rows_are_already(pair):
    await pair.both("create table log (line text); insert into log values ('a')")
    with pytest.raises(GiveUp, match=r"public\.log has no primary key, and new_db has rows in it already"):
        await pair.run()
    assert await pair.count("log") == 1


async def test_of_a_whole_table_nothing_stays_if_it_is_not_copied_to_its_end(pair, monkeypatch):
    await pair.here.execute("create table log (line text)")
    await pair.here.execute("insert into log select repeat('x', 1000) from generate_series(1, 5000)")
    chunks = []
    pass_on = copying._Pipe._pass_on

    async def break_off(pipe):
        chunks.append(1)
        if len(chunks) == 20:
            raise ConnectionResetError("gone")
        await pass_on(pipe)

    monkeypatch.setattr(copying._Pipe, "_pass_on", break_off)
    with pytest.raises(ConnectionResetError):
        await pair.run()
    assert await pair.count("log") == 0
    monkeypatch.undo()
    assert (await pair.run(fence="1-2"))["equal"]


@pytest.mark.parametrize("key", ["", " primary key"])
async def test_what_the_destination_refuses_in_the_middle_fails_at_once_and_leaves_nothing_half(pair, key):
    await pair.here.execute(f"create table log (n int{key}, line text)")
    await pair.here.execute("insert into log select i, repeat('x', 1000) from generate_series(1, 20000) i")
    await pair.there.execute(f"create table log (n int{key}, line text, check (n <> 2500))")
    with pytest.raises(asyncpg.CheckViolationError):
        await pair.run()
    assert await pair.count("log") == (2000 if key else 0)


# What is refused.


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ("create table customers (id int, name text, at timestamptz)", "rows could come in twice"),
        ("create table customers (id int primary key, name text)", "no column 'at'"),
        ("create view customers as select 1 as id, '' as name, now() as at", "it is no table there"),
        (
            "create table customers (id int primary key, name text, at timestamptz generated always as (null) stored)",
            "no column 'at' that takes values",
        ),
    ],
)
async def test_a_table_of_the_destination_that_cant_take_the_rows_is_refused(pair, there, why):
    await customers(pair, 3)
    await pair.there.execute(there)
    with pytest.raises(GiveUp, match=why):
        await pair.run()


async def test_a_table_with_other_types_and_more_columns_takes_them_if_they_fit(pair):
    await customers(pair, 30)
    await pair.there.execute(
        "create table customers (more int default 7, at timestamptz, name varchar(100), id bigint unique)"
    )
    result = await pair.run(batch_size=7)
    assert (result["rows_copied"], result["equal"]) == (30, True)


async def test_a_type_that_the_destination_lacks_is_named(pair):
    await pair.here.execute("create type mood as enum ('ok'); create table m (m mood primary key)")
    with pytest.raises(
        GiveUp, match=r'public\.m can\'t be made in new_db: type "public\.mood" does not exist'
    ):
        await pair.run()


async def test_one_database_under_two_names_is_refused(pair):
    url = pair.urls["legacy_db"]
    with pytest.raises(GiveUp, match="legacy_db and new_db are the same database"):
        await pair.run(urls={"legacy_db": url, "new_db": url.replace("127.0.0.1", "localhost")})


async def test_sources_that_an_executor_does_not_have_are_given_up(pair):
    with pytest.raises(GiveUp, match="'new_db' is no data source here"):
        await pair.run(urls={"legacy_db": pair.urls["legacy_db"]})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:hunter22@127.0.0.1:1/db",
        "postgresql://ann:hunter22@no-such-host.invalid/db",
        "postgresql://ann:hunter22@host:hunter22/db",
        "postgresql://ann:hunter22@[::1/db?sslmode=hunter22",
        "postgresql://ann:hunter22@h/db?sslmode=hunter22",
    ],
)
async def test_a_database_that_is_not_reached_is_named_without_its_password(pair, url):
    with pytest.raises(SourceUnreachable) as caught:
        await pair.run(urls=pair.urls | {"new_db": url})
    assert str(caught.value).startswith("new_db: ")
    assert "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "hunter22" not in "".join(pair.told.lines)


async def test_the_url_of_a_source_may_be_a_secret(pair, tmp_path):
    (tmp_path / "new_db_url").write_text(pair.urls["new_db"] + "\n")
    await customers(pair, 3)
    sources = {
        "legacy_db": Source(name="legacy_db", kind="postgres", url=pair.urls["legacy_db"]),
        "new_db": Source(
            name="new_db", kind="postgres", url=SecretRef.model_validate({"$secret": "new_db_url"})
        ),
    }
    run = a_told_run(operation="data_migration", parameters=PARAMETERS)
    result = await custom.handle(run, resources(sources=sources, secrets=Secrets(directory=tmp_path)))
    assert result["equal"]


async def test_a_result_of_many_tables_stays_small(pair):
    names = [f"{'ü' * 28}{n:03}" for n in range(60)]
    await pair.here.execute("".join(f'create table "{name}" (id int primary key);' for name in names))
    result = await pair.run()
    assert (result["tables_count"], len(result["tables"])) == (60, 40)
    assert isinstance(returned(result), Returned)


# In an executor.


async def test_in_an_executor_a_cancelled_run_is_gone_on_with_by_the_next(pair, hall, tmp_path, monkeypatch):
    (tmp_path / "sources.yaml").write_text(
        "sources:\n"
        + "".join(f"  {name}: {{kind: postgres, url: '{url}'}}\n" for name, url in pair.urls.items())
    )
    await customers(pair, 2_000)
    batches, enough = [], asyncio.Event()
    batch = copying.Copying._batch

    async def until_enough(self, table):
        if len(batches) == 5:
            enough.set()
            await asyncio.Event().wait()
        batches.append(1)
        return await batch(self, table)

    monkeypatch.setattr(copying.Copying, "_batch", until_enough)
    data = {"operation": "data_migration", "parameters": PARAMETERS | {"batch_size": 100}}
    run = await hall.a_run(job_data=data)
    first = hall.start(sources=str(tmp_path / "sources.yaml"), drain_seconds=0.1)
    async with asyncio.timeout(20):
        await enough.wait()
    await hall.stop(first)
    assert await pair.count("customers") == 500
    monkeypatch.undo()
    hall.start(sources=str(tmp_path / "sources.yaml"))
    assert (await hall.ended(run, timeout_s=30)).status == "succeeded"
    result = (await hall.events(run))[-1].change().event.result
    assert (result["rows_copied"], result["equal"]) == (2_000, True)
    assert await pair.count("customers") == 2_000
