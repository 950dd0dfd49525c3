"""Long calculations in the API take turns with all else that its event loop does."""

import asyncio
from itertools import islice

from services.api.slices import SLICE_S, Slices


class Ticking:
    """A clock by which each look takes a millisecond."""

    def __init__(self):
        self.now_s = 0.0

    def monotonic(self):
        self.now_s += 0.001
        return self.now_s


async def test_a_round_of_the_loop_has_one_slice_whoever_calculates():
    """Two calculations of 1,000 steps each, and somebody who comes by in every round of the loop."""
    clock, rounds, over = Ticking(), [], asyncio.Event()

    async def others():
        while not over.is_set():
            rounds.append(clock.now_s)
            await asyncio.sleep(0)

    slices = Slices(clock)
    beside = asyncio.create_task(others())
    steps = [list(range(1_000)), [None, *range(1_000)]]
    done = await asyncio.gather(*(slices(iter(each)) for each in steps))
    over.set()
    await beside
    assert done == [list(range(1_000)), list(range(1_000))]
    waits = [later - earlier for earlier, later in zip(rounds, islice(rounds, 1, None), strict=False)]
    assert max(waits) <= 1.5 * SLICE_S


async def test_a_short_calculation_does_not_wait_for_the_end_of_a_long_one():
    slices, ended = Slices(Ticking()), []

    async def calculate(name, steps):
        await slices(iter(range(steps)))
        ended.append(name)

    await asyncio.gather(calculate("long", 10_000), calculate("short", 5))
    assert ended == ["short", "long"]


async def test_a_step_that_fails_ends_its_own_calculation_and_no_other():
    slices = Slices(Ticking())

    def failing():
        yield 1
        raise ValueError

    told = await asyncio.gather(slices(failing()), slices(iter(range(100))), return_exceptions=True)
    assert isinstance(told[0], ValueError)
    assert told[1] == list(range(100))
