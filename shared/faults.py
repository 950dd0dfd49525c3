"""Errors by what a process does about them: wait until infrastructure is back, or stop with a sentence.

Refused commands belong to the domain and failed work is a fact in the log; neither is seen here. Any other
exception is a defect: it ends the process with its traceback, and whoever started it starts it again.
"""

from collections.abc import Iterator

import asyncpg
import redis.exceptions


class NotYet(Exception):  # noqa: N818 - it is read aloud: "raise NotYet"
    """Somebody else has to do something first, and may be about to. The message is a sentence that says what."""


BROKEN: tuple[type[BaseException], ...] = (
    OSError,  # refused, reset and unreachable; `TimeoutError` is one too
    redis.exceptions.ConnectionError,  # also: still loading, wrong password, out of connections
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,  # a failover: this node is a replica now
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
    redis.exceptions.OutOfMemoryError,
    NotYet,
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.InterfaceError,  # the connection was closed under the query
    asyncpg.InternalClientError,  # it was closed just before: asyncpg's protocol had not noticed yet
    asyncpg.exceptions.OperatorInterventionError,  # class 57: shutting down, starting up, cancelled
    asyncpg.exceptions.InsufficientResourcesError,  # class 53: disk full, too many connections
    asyncpg.exceptions.TransactionRollbackError,  # class 40: deadlock, serialization
    asyncpg.exceptions.PostgresSystemError,  # class 58: I/O error
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # a failover: this server is a standby now
)
"""What waiting can cure."""

_PASSING = (
    "MISCONF",  # Redis can't persist
    "NOREPLICAS",  # nor replicate
    "UNBLOCKED",  # a failover: whoever was waiting on this node must wait on another
)  # redis-py has no class for them
_MOVING = "non local key"  # a script found that a part of its partition has moved; see `Keys.never`


class Fatal(Exception):  # noqa: N818 - it is read aloud: "raise Fatal"
    """The process can't go on until somebody changes something. The message is a sentence that says what."""


class Stopped(Exception):  # noqa: N818 - it is read aloud: "raise Stopped"
    """The process was asked to stop before this could be done; an end without fault."""


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the plain exceptions in `error`, however deeply task groups have wrapped them."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


def is_broken(error: BaseException) -> bool:
    """Say whether everything in `error` is broken infrastructure, which may heal by itself."""
    return all(_is_curable(leaf) for leaf in leaves(error))


def _is_curable(error: BaseException) -> bool:
    if isinstance(
        error, asyncpg.exceptions.ClientConfigurationError
    ):  # an InterfaceError, yet a wrong address
        return False
    if isinstance(error, redis.exceptions.ResponseError) and (
        str(error).startswith(_PASSING) or _MOVING in str(error)
    ):
        return True
    return isinstance(error, BROKEN)
