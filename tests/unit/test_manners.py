"""Who writes much gives way where processors are short, and only there, and not for ever."""

import asyncio
import itertools

import pytest

from services.projector import manners as kinds
from services.projector.manners import BEHIND_MAX, REST_MAX_S, SHORT, Manners, Turns


class Kernel:
    """Counts as the kernel would, if this process ran and waited as told."""

    def __init__(self):
        self.turns = Turns(7.0, 3.0)

    def __call__(self):
        return self.turns

    def pass_by(self, *, ran_s, waited_s):
        self.turns = Turns(self.turns.ran_s + ran_s, self.turns.waited_s + waited_s)


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def rests(monkeypatch):
    """The rests that were taken, in no time; the clock moves a tenth of a second with each look."""
    taken = []
    sleep, ticks = asyncio.sleep, itertools.count()

    async def rest(seconds):
        taken.append(seconds)
        await sleep(0)

    monkeypatch.setattr(kinds.asyncio, "sleep", rest)
    monkeypatch.setattr(kinds.time, "monotonic", lambda: next(ticks) / 10)
    return taken


def _short(kernel):
    manners = Manners(count=kernel)
    kernel.pass_by(ran_s=1.0, waited_s=2 * SHORT)
    assert manners.short()
    return manners


def test_processors_are_short_while_this_process_waits_for_one(kernel):
    manners = Manners(count=kernel)
    assert not manners.short()
    kernel.pass_by(ran_s=1.0, waited_s=SHORT + 0.1)
    assert manners.short()
    kernel.pass_by(ran_s=1.0, waited_s=SHORT - 0.1)
    assert not manners.short(), "what counts is what has happened since"


def test_too_little_to_judge_by_leaves_the_judgement_as_it_was(kernel):
    manners = Manners(count=kernel)
    kernel.pass_by(ran_s=0.015, waited_s=5.0)
    assert not manners.short()
    kernel.pass_by(ran_s=0.015, waited_s=0.0)
    assert manners.short(), "little by little it is enough"
    kernel.pass_by(ran_s=0.015, waited_s=0.0)
    assert manners.short()


def test_an_archive_that_is_far_behind_gives_way_to_nobody(kernel):
    manners = _short(kernel)
    manners.behind = BEHIND_MAX
    assert not manners.short()
    manners.behind = BEHIND_MAX - 1
    assert manners.short()


def test_where_the_kernel_does_not_tell_nobody_gives_way(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "_SCHEDSTAT", tmp_path / "missing")
    assert kinds.turns() == Turns(0.0, 0.0)
    assert not Manners().short()


def test_the_kernel_counts_in_nanoseconds(tmp_path, monkeypatch):
    told = tmp_path / "schedstat"
    told.write_text("5000000000 250000000 17\n")
    monkeypatch.setattr(kinds, "_SCHEDSTAT", told)
    assert kinds.turns() == Turns(5.0, 0.25)


async def _two_floods(manners, kernel, *, waited_s):
    """Return how many there were at most at one time."""
    under_way, most = set(), []

    async def flood(name):
        async with manners.flood():
            under_way.add(name)
            most.append(len(under_way))
            for _ in range(5):
                await asyncio.tasks.sleep(0)
            kernel.pass_by(ran_s=1.0, waited_s=waited_s)
            under_way.remove(name)

    await asyncio.gather(flood("a"), flood("b"))
    return max(most)


async def test_floods_come_one_by_one_where_processors_are_short_and_each_is_followed_by_a_rest(
    kernel, rests
):
    manners = _short(kernel)
    assert await _two_floods(manners, kernel, waited_s=2 * SHORT) == 1
    assert len([each for each in rests if 0 < each <= REST_MAX_S]) == 2


async def test_floods_come_together_and_without_a_rest_where_there_is_room(kernel, rests):
    assert await _two_floods(Manners(count=kernel), kernel, waited_s=0.0) == 2
    assert [each for each in rests if each > 0] == []


async def test_a_rest_is_in_proportion_to_the_flood_up_to_a_limit(kernel, rests):
    manners = _short(kernel)
    async with manners.flood():
        kernel.pass_by(ran_s=1.0, waited_s=2 * SHORT)
    async with manners.flood():
        kernel.pass_by(ran_s=1.0, waited_s=2 * SHORT)
        for _ in range(50):
            kinds.time.monotonic()
    assert rests == [pytest.approx(kinds.REST * 0.1), REST_MAX_S]
