"""What became of a call: returning and raising, as facts that can be recorded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.domain.events import Failure
from shared.handlers import RESULT_MAX_BYTES, RESULT_MAX_DEPTH, GiveUp, RetryIn

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE_MAX = 2_000
NAME_MAX = 200


class BadResult(Exception):  # noqa: N818 - its name is what people read as the failure's class
    """A handler returned what can't be recorded; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The handler returned `result`, plain JSON by now."""

    result: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The handler raised; `names` are those of the class and its bases, each bare and dotted.

    Attributes:
        retry_in_s: how long after this it asked to be called again.
        give_up: it asked not to be.
    """

    error: Failure
    names: tuple[str, ...]
    retry_in_s: float | None = None
    give_up: bool = False


Outcome = Returned | Raised


def returned(value: Any) -> Outcome:
    """A handler's return value, or the failure that it is none that can be kept."""
    if value is None:
        return Returned(result=None)
    try:
        return Returned(result=_plain(value))
    except BadResult as why:
        return raised(why)


def raised(error: BaseException, hidden: Callable[[str], str] = str) -> Raised:
    """An exception as a fact; whatever its `__str__` does.

    Args:
        error: as it was raised.
        hidden: takes secrets out of a text, before it is cut: half a secret would not be recognized.
    """
    try:
        message = str(error)
    except Exception as worse:  # noqa: BLE001 - somebody else's __str__
        message = f"(its message could not be read: {type(worse).__name__})"
    return Raised(
        error=Failure(class_=hidden(type(error).__name__)[:NAME_MAX], message=hidden(message)[:MESSAGE_MAX]),
        names=_names(type(error)),
        retry_in_s=error.seconds if isinstance(error, RetryIn) else None,
        give_up=isinstance(error, GiveUp),
    )


def timed_out(timeout_s: float) -> Raised:
    """The failure of an attempt that took too long."""
    return raised(TimeoutError(f"timed out after {timeout_s:g} s"))


def _names(kind: type[BaseException]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for base in kind.__mro__[:-1]:
        names[base.__name__] = None
        names[f"{base.__module__}.{base.__qualname__}"] = None
    return tuple(names)


def _plain(value: Any) -> Any:
    """`value` as JSON would give it back, detached from what the handler may still hold."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        size = len(text.encode(errors="surrogatepass"))
        if size > RESULT_MAX_BYTES:
            raise BadResult(
                f"the handler's result has {size:,} bytes as JSON; {RESULT_MAX_BYTES:,} is the limit"
            )
        plain = json.loads(text)
    except RecursionError:
        raise BadResult(f"the handler's result has more than {RESULT_MAX_DEPTH} levels") from None
    except (TypeError, ValueError) as error:
        raise BadResult(f"the handler's result can't be written as JSON: {error}") from error
    _check_depth(plain)
    return plain


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(RESULT_MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return
    raise BadResult(f"the handler's result has more than {RESULT_MAX_DEPTH} levels")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
