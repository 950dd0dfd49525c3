"""Everything is broken while everybody works: nothing acknowledged is lost, nothing is done twice."""

import os
import time

import pytest

from . import plan, run

pytestmark = pytest.mark.xdist_group("faults")


@pytest.mark.timeout(300)  # it takes a minute on two idle cores
async def test_nothing_is_lost_or_done_twice_whatever_breaks(tmp_path):
    await _holds(tmp_path, run.SHORT_S)


@pytest.mark.long
@pytest.mark.timeout(1_800)
async def test_nothing_is_lost_or_done_twice_in_a_quarter_of_an_hour(tmp_path):
    await _holds(tmp_path, plan.LONG_S)


async def _holds(directory, seconds):
    seed = int(os.environ.get("DAYBOOK_TEST_SEED", time.time_ns() % 1_000_000))
    verdict = await run.shown(directory, seed=seed, seconds=seconds)
    bad = [*verdict.losses, *verdict.duplicates, *verdict.wrong]
    assert not bad, f"seed {seed}\n" + "\n".join(bad)
