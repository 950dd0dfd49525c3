"""What schemathesis does before each request of the contract's test."""

import itertools
import os

import schemathesis

_NUMBERS = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Come from another address each time: who fails to sign in too often is sent away, which is another test's."""
    high, low = divmod(next(_NUMBERS), 250)
    _spare(case)
    case.headers["X-Forwarded-For"] = f"10.{high // 250 % 250}.{high % 250}.{low + 1}"


def _spare(case):
    """Erase another job than those that other operations need: links and what was answered lead to them."""
    needed = {os.environ["DAYBOOK_JOB"], os.environ["DAYBOOK_YEARLY_JOB"]}
    if case.path.endswith("/erase") and case.path_parameters.get("job_id") in needed:
        case.path_parameters["job_id"] = os.environ["DAYBOOK_DOOMED_JOB"]
