"""What tests of the replay share: one that reads in this process, and what a schema is made of."""

import asyncio
import os

from services.projector.replay import Replay, service, worker


class Workers:
    """What reads, in this process: starting two others takes a second each."""

    def __init__(self, url, copies, _count):
        self.read, self._task = 0, worker.Task(url, copies, os.getpid())

    def _tell(self, events):
        self.read += events

    async def __aenter__(self):
        self._reading = asyncio.create_task(worker.read_all(self._task, self._tell))
        return self

    async def __aexit__(self, *_):
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    def are_at_it(self):
        if self._reading.done():
            self._reading.result()
        return not self._reading.done()


def read_here(monkeypatch):
    monkeypatch.setattr(service, "Workers", Workers)
    monkeypatch.setattr(service, "LOOK_EVERY_S", 0.01)


def a_replay(office, told=lambda *_: None, **options):
    return Replay(office.database_url, told=told, **options)


async def replayed(office, *, dry_run=False, told=lambda *_: None, copies=(), **options):
    return await a_replay(office, told, copies=copies).run(dry_run=dry_run, **options)


def wrong(outcome):
    """Table → how many rows differ, of those of which some do."""
    return {each.table: each.differ for each in outcome.tables if each.differ}


async def catalogue(pool, schema="ledger"):
    """All that Postgres knows of a schema: relations, columns, indexes, constraints, triggers, functions, rights."""
    questions = {
        "relations": """
            select relname, relkind::text, reloptions, relpersistence::text, relispartition, relacl::text,
                pg_get_expr(relpartbound, c.oid), pg_get_partkeydef(c.oid), pg_get_userbyid(relowner)
            from pg_class c where relnamespace = $1::regnamespace""",
        "parents": """
            select c.relname, p.relname from pg_inherits join pg_class c on c.oid = inhrelid
            join pg_class p on p.oid = inhparent where c.relnamespace = $1::regnamespace""",
        "columns": """
            select relname, attname, format_type(atttypid, atttypmod), attnotnull, attgenerated::text, attcollation,
                attstorage::text, attcompression::text, pg_get_expr(adbin, adrelid),
                (select count(*) from pg_attribute b where b.attrelid = c.oid and b.attnum < a.attnum and b.attnum > 0
                    and not b.attisdropped)
            from pg_class c join pg_attribute a on attrelid = c.oid and attnum > 0 and not attisdropped
            left join pg_attrdef on adrelid = c.oid and adnum = attnum
            where relnamespace = $1::regnamespace and relkind in ('r', 'p')""",
        "indexes": """
            select pg_get_indexdef(indexrelid), indisvalid, indisready, indisprimary, indisunique
            from pg_index join pg_class c on c.oid = indexrelid where relnamespace = $1::regnamespace""",
        "constraints": """
            select conrelid::regclass::text, conname, contype::text, convalidated, pg_get_constraintdef(oid),
                conparentid <> 0
            from pg_constraint where connamespace = $1::regnamespace""",
        # Without what Postgres leaves out where it has read back what it had written.
        "triggers": """
            select translate(pg_get_triggerdef(t.oid), '()', ''), tgenabled::text
            from pg_trigger t join pg_class c on c.oid = tgrelid
            where relnamespace = $1::regnamespace and not tgisinternal""",
        "functions": "select pg_get_functiondef(oid) from pg_proc where pronamespace = $1::regnamespace",
        "schema": """
            select nspname, nspacl::text, pg_get_userbyid(nspowner) from pg_namespace
            where oid = $1::regnamespace""",
    }
    return {
        name: sorted(map(repr, map(tuple, await pool.fetch(text, schema))))
        for name, text in questions.items()
    }
