"""Jobs with somebody's personal data, and a search through all that is kept: Redis, Postgres, files."""

import base64
import contextlib
import json
import zlib

SCHEMAS = ("book", "ledger")
MARKER = "zqpersonalzq"
MAIL = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "daybook@example.com"}


def person(way, at="example.com"):
    """An address that tells by which way it came."""
    return f"{MARKER}-{way}@{at}"


def a_mail(way, **changes):
    data = {
        "recipient": person(way), "cc": [person(f"{way}-cc")], "subject": f"To {person(way)}",
        "body": f"Dear {MARKER}-ü",
    }  # fmt: skip
    return {"name": f"mail {way}", "job_type": "email_notification", "job_data": data} | changes


def key(text):
    return {"Idempotency-Key": text}


async def the_spec(stage, job_id):
    """What stands in the log."""
    held = (await stage.log.load(f"job:{job_id}"))[f"job:{job_id}"]
    return held.state.spec


async def applied(stage, jobs, *, headers=None, **options):
    body = {"jobs": jobs} | options
    return (await stage.ask("POST", "apply", json=body, headers=headers, status=200)).json


async def kept(stage, *directories):
    """Where, and what stands there, of all that a system has kept."""
    async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*", count=500):
        yield f"redis {name.decode()}", name + b" " + await _content(stage.redis, name)
    tables = await stage.pool.fetch(
        "select schemaname, tablename from pg_tables where schemaname = any($1)", list(SCHEMAS)
    )
    for table in tables:
        where = f"{table['schemaname']}.{table['tablename']}"
        rows = await stage.pool.fetch(f"select t::text as text from {where} as t")  # noqa: S608
        yield where, "\n".join(row["text"] for row in rows).encode()
    for directory in directories:
        for file in directory.rglob("*"):
            if file.is_file():
                yield str(file), file.read_bytes()


async def places_of(stage, marker, *directories):
    """Where a marker stands, plainly, or as base64 of anything has it."""
    found = []
    async for where, content in kept(stage, *directories):
        if any(spelling in content.lower() for spelling in _spellings(marker)):
            found.append(where)
    return found


def _spellings(marker):
    raw = marker.encode()
    yield raw.lower()
    for shift in range(3):  # three ways to stand in base64; the ends depend on what is beside
        yield base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4].lower()


async def _content(redis, name):
    match (await redis.type(name)).decode():
        case "string":
            text = await redis.get(name)
            with contextlib.suppress(zlib.error):
                text += zlib.decompress(text)
            return text
        case "hash":
            parts = await redis.hgetall(name)
        case "stream":
            parts = await redis.xrange(name)
        case "zset":
            parts = await redis.zrange(name, 0, -1, withscores=True)
        case "list":
            parts = await redis.lrange(name, 0, -1)
        case "set":
            parts = await redis.smembers(name)
        case other:
            raise AssertionError(f"{name}: {other}")
    return json.dumps(_text(parts), ensure_ascii=False).encode()


def _text(value):
    match value:
        case bytes():
            return value.decode(errors="backslashreplace")
        case dict():
            return {_text(key): _text(inner) for key, inner in value.items()}
        case list() | tuple() | set():
            return [_text(inner) for inner in value]
        case _:
            return value
