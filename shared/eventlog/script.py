"""Lua scripts on the server."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import NoScriptError

from shared.faults import is_broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from shared.eventlog.wire import Command, Wire


class Script:
    """A Lua script called by its hash, loaded where it is missing. Loading is harmless: the fence is in `meta`."""

    def __init__(self, body: str) -> None:
        self.body = body
        self.sha = hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest()

    @property
    def load(self) -> Command:
        """What makes it known to a server."""
        return ("SCRIPT", "LOAD", self.body)

    def call(self, keys: Sequence[str], args: Sequence[str | bytes]) -> Command:
        """What calls it, for a `Wire`; NoScriptError where the server doesn't know it."""
        return ("EVALSHA", self.sha, len(keys), *keys, *args)

    async def __call__(self, redis: Redis, keys: Sequence[str], args: Sequence[str | bytes]) -> Any:
        """EVALSHA; SCRIPT LOAD and once more where the server doesn't know it."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            await redis.script_load(self.body)
            return await redis.evalsha(self.sha, len(keys), *keys, *args)


class Call(NamedTuple):
    """A call of a script, about one partition."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | bytes]


async def called(wire: Wire, calls: Sequence[Call]) -> list[Any]:
    """Call scripts in one go and return the reply to each; an error among them stands in its place.

    A server that doesn't know one is told it and called again, for these calls only: the others have done their work.

    Raises:
        redis.exceptions.ConnectionError: see Wire.call.
    """
    commands = [call.script.call(call.keys, call.args) for call in calls]
    replies = await wire.call(*commands)
    unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        await wire.replies(*dict.fromkeys(calls[at].script.load for at in unknown))
        again = await wire.call(*[commands[at] for at in unknown])
        for at, reply in zip(unknown, again, strict=True):
            replies[at] = reply
    return replies


def raise_unless_some(replies: Sequence[Any]) -> None:
    """Let go what keeps only some of several partitions from answering: the others go on.

    Raises:
        Exception: the first error, if there is nothing else; or one that waiting doesn't cure.
    """
    errors = [reply for reply in replies if isinstance(reply, Exception)]
    for error in errors:
        if len(errors) == len(replies) or not is_broken(error):
            raise error
