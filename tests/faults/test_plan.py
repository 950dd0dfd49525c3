"""The seed draws the faults, and a quarter of an hour has enough of each kind."""

from collections import Counter
from itertools import pairwise

import pytest

from . import kinds, plan


def test_a_seed_draws_the_same_again():
    assert plan.draw(7, 900) == plan.draw(7, 900)
    assert plan.draw(7, 900).lanes != plan.draw(8, 900).lanes


@pytest.mark.parametrize("seed", range(5))
def test_the_long_form_has_ten_faults_of_each_kind_and_room_for_them(seed):
    drawn = plan.draw(seed, plan.LONG_S)
    counts = Counter(each.kind for lane in drawn.lanes.values() for each in lane)
    assert set(counts) == set(plan.KINDS)
    assert min(counts.values()) >= plan.ENOUGH
    for lane in drawn.lanes.values():
        assert all(one.at < other.at for one, other in pairwise(lane))
        assert lane[-1].at < plan.LONG_S


def test_the_short_form_has_one_of_each():
    drawn = plan.draw(1, 20)
    assert Counter(each.kind for lane in drawn.lanes.values() for each in lane) == dict.fromkeys(
        plan.KINDS, 1
    )


def test_every_kind_can_be_done():
    assert set(kinds.DO) == set(plan.KINDS)


def test_what_this_machine_can_not_do_is_named(monkeypatch):
    monkeypatch.setattr(kinds, "faketime", lambda: None)
    assert "libfaketime" in kinds.missing()["clock"]
    assert not [
        each for lane in plan.draw(1, 20, ["cut"]).lanes.values() for each in lane if each.kind != "cut"
    ]
