"""What schemathesis does before each request of the contract's test."""

import itertools

import schemathesis

_NUMBERS = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Come from another address each time: who fails to sign in too often is sent away, which is another test's."""
    high, low = divmod(next(_NUMBERS), 250)
    case.headers["X-Forwarded-For"] = f"10.{high // 250 % 250}.{high % 250}.{low + 1}"
