"""Ids route themselves."""

import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import ids

TIMES = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))


@given(TIMES, st.integers(0, ids.PARTITIONS_MAX - 1), st.integers(0, 2**80))
def test_an_id_is_a_uuid8_that_names_its_partition_and_its_time(at, partition, chance):
    made = ids.chance_id(at, partition, chance)
    assert uuid.UUID(made).version == 8
    assert uuid.UUID(made).variant == uuid.RFC_4122
    assert ids.partition_of(made) == partition
    assert ids.time_of(made) == at
    assert ids.parse(made) == made


def test_the_same_cause_cannot_make_two():
    at = datetime(2026, 11, 23, tzinfo=UTC)
    assert ids.derived_id(at, 3, "job", "1", "schedule") == ids.derived_id(at, 3, "job", "1", "schedule")
    assert ids.derived_id(at, 3, "job", "1", "schedule") != ids.derived_id(at, 3, "job", "1", "backfill")
    assert ids.derived_id(at, 3, "ab", "c") != ids.derived_id(at, 3, "a", "bc")


def test_ids_sort_by_time():
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    assert ids.chance_id(early, 7, 2**62 - 1) < ids.chance_id(late, 0, 0)


def test_event_ids_are_uuid7():
    made = uuid.UUID(ids.event_id(1_795_000_000_000, 2**80 - 1))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == 1_795_000_000_000


@pytest.mark.parametrize(
    "text", ["", "x", "01a20a68-c5ea-8002-91d0-ad0755f059b", "01A20A68-C5EA-8002-91D0-AD0755F059B7",
             "{01a20a68-c5ea-8002-91d0-ad0755f059b7}", str(uuid.UUID(int=5, version=4)), "\x00", "é" * 36],
)  # fmt: skip
def test_what_is_not_an_id_is_refused(text):
    with pytest.raises(ids.BadId):
        ids.parse(text)
