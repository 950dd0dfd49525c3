"""What may stand in a body, and what is said about what may not."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import Field

from services.api.json_body import parsed
from services.api.problems import Problem
from services.api.requests import Body, JobBody, PauseBody, TriggerBody, read
from services.api.specs import merged_data, spec_of
from shared import job_types
from shared.domain.spec import JobSpec
from shared.eventlog.envelope import decoder, json_text
from shared.job_types import Catalog

KNOWN = job_types.Known()
JOB = {"name": "a job", "job_type": "custom", "job_data": {"operation": "echo", "parameters": {}}}


def _spec(**changes):
    return spec_of(
        read(JobBody, JOB | changes), known=KNOWN, catalog=Catalog(files_roots=(Path("/srv/files"),))
    )


def _faults(work):
    with pytest.raises(Problem) as caught:
        work()
    return {fault.pointer: fault.detail for fault in caught.value.errors}


def test_a_specification_says_what_the_body_says():
    spec = _spec(cron_expression="0 9 * * 1", timezone="Europe/Berlin", max_retries=7, tags=["x"])
    assert (spec.schedule.cron_expression, spec.schedule.timezone) == ("0 9 * * 1", "Europe/Berlin")
    assert (spec.retry.max_retries, spec.tags, spec.priority) == (7, ("x",), 5)


@pytest.mark.parametrize("backoff", [{}, {"initial_seconds": 5, "max_seconds": 60}])
def test_a_specification_is_written_as_it_will_be_read(backoff):
    """What Redis holds is the fold of the archive, to the byte: 1 and 1.0 are two texts."""
    spec = _spec(interval_seconds=60, retry_backoff=backoff)
    assert json_text(decoder(JobSpec)(json_text(spec))) == json_text(spec)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2030-03-31T02:30:00+02:00", datetime(2030, 3, 31, 0, 30, tzinfo=UTC)),
        ("2030-01-01t00:00:00z", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01 00:00:00.1239-00:30", datetime(2030, 1, 1, 0, 30, 0, 123_000, tzinfo=UTC)),
    ],
)
def test_a_time_with_an_offset_is_kept_in_utc_and_whole_milliseconds(text, instant):
    assert _spec(run_at=text).schedule.run_at == instant


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [
        ("interval_seconds", 1, 31_536_000),
        ("timeout_seconds", 1, 86_400),
        ("max_retries", 0, 100),
        ("priority", 1, 10),
    ],
)
def test_bounds_are_inclusive(field, least, most):
    _spec(**{field: least})
    _spec(**{field: most})
    for beyond in (least - 1, most + 1):
        assert list(_faults(lambda value=beyond: _spec(**{field: value}))) == [f"#/{field}"]


def test_the_longest_texts_are_taken():
    _spec(name="n" * 200, description="d" * 2_000, tags=["t" * 50] * 20)


def test_schedule_and_data_are_faulted_together():
    faults = _faults(lambda: _spec(cron_expression="* * *", job_data={"operation": "dance"}))
    assert set(faults) == {"#/cron_expression", "#/job_data/operation"}


class Growing(Body):
    """A body of which a part comes later."""

    LATER = frozenset({"flavour"})
    READ_ONLY = frozenset({"revision"})
    priority: int = Field(default=5, ge=1)


def test_what_comes_later_is_told_from_what_is_unknown_and_what_is_read_only():
    faults = _faults(lambda: read(Growing, {"flavour": "x", "revision": 3, "colour": "red"}))
    assert faults == {
        "#/flavour": "is not available yet",
        "#/revision": "is read only; leave it out",
        "#/colour": "is not a field here",
    }


def test_a_problem_is_of_later_only_if_all_of_it_is():
    for changes, slug in (
        ({"flavour": "x"}, "not-available-yet"),
        ({"flavour": "x", "priority": 0}, "invalid"),
    ):
        with pytest.raises(Problem) as caught:
            read(Growing, changes)
        assert caught.value.slug == slug


def test_a_body_without_anything_is_an_empty_wish():
    assert read(PauseBody, {}).reason == ""
    assert read(TriggerBody, {}).job_data is None


def test_data_of_a_trigger_is_laid_over_the_jobs_and_checked_as_a_whole():
    base = {"operation": "echo", "parameters": {"a": 1}}
    checked = {"known": KNOWN, "catalog": Catalog()}
    assert merged_data("custom", base, {"parameters": {"b": 2}}, **checked) == {
        "operation": "echo",
        "parameters": {"b": 2},
    }
    faults = _faults(lambda: merged_data("custom", base, {"operation": "sleep"}, **checked))
    assert set(faults) == {"#/job_data/parameters/seconds", "#/job_data/parameters/a"}


def test_data_that_is_too_large_only_together_is_refused():
    base = {"operation": "echo", "parameters": {}, "note": "x" * 40_000}
    over = {"more": "y" * 40_000}
    anything = job_types.Known(types={"free": job_types.JobType(name="free", description="", model=None)})
    faults = _faults(lambda: merged_data("free", base, over, known=anything, catalog=Catalog()))
    assert list(faults) == ["#/job_data"]


def test_a_pointer_leads_to_the_fault_through_odd_keys():
    faults = _faults(lambda: parsed(b'{"a/b":[1,{"~":"\\u0000"}]}'))
    assert list(faults) == ["#/a~1b/1/~0"]


def test_a_hundred_levels_are_taken_and_one_more_is_not():
    parsed(b"[" * 100 + b"1" + b"]" * 100)
    assert _faults(lambda: parsed(b"[" * 101 + b"1" + b"]" * 101))


def test_a_body_with_many_faults_names_twenty():
    text = b"[" + b",".join([b'"\\u0000"'] * 1_000) + b"]"
    assert len(_faults(lambda: parsed(text))) == 20
