"""Public keys read over HTTP, from a server that is good and one that isn't."""

import asyncio
import contextlib
import json

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from services.api.jwks import SIZE_MAX, Jwks, NoKey
from shared.clock import SystemClock

KEY = ec.generate_private_key(ec.SECP256R1())
SET = json.dumps({"keys": [json.loads(ECAlgorithm.to_jwk(KEY.public_key())) | {"kid": "e"}]}).encode()


@contextlib.asynccontextmanager
async def answering(body, *, status="200 OK", more=""):
    """A server on loopback that gives this answer to everything; yields its address."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
        writer.write(head.encode() + body)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    finally:
        server.close()


async def test_a_key_that_was_served_checks_a_signature():
    async with answering(SET) as url:
        key = await Jwks(url, SystemClock()).key("e", "ES256")
    told = jwt.decode(jwt.encode({"sub": "ann"}, KEY, algorithm="ES256"), key, algorithms=["ES256"])
    assert told == {"sub": "ann"}


async def test_an_unknown_key_is_not_there():
    async with answering(SET) as url:
        with pytest.raises(NoKey):
            await Jwks(url, SystemClock()).key("other", "ES256")


@pytest.mark.parametrize(
    ("body", "status", "more"),
    [
        (b"", "302 Found", "Location: http://127.0.0.1:1/keys\r\n"),
        (SET, "500 No", ""),
        (b" " * (SIZE_MAX + 1) + SET, "200 OK", ""),
        (b"<html>", "200 OK", ""),
        (b"[" * 100_000, "200 OK", ""),
        (b'{"keys": {}}', "200 OK", ""),
    ],
    ids=["sent elsewhere", "failing", "too large", "no JSON", "too deep", "no key set"],
)
async def test_what_is_no_key_set_is_not_taken_for_one(body, status, more):
    async with answering(body, status=status, more=more) as url:
        with pytest.raises((ValueError, httpx.HTTPError)):
            await Jwks(url, SystemClock()).key("e", "ES256")
