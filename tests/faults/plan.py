"""When which fault comes: drawn from a seed, the same for the same seed.

Four lanes go on beside each other, so that killed and stopped services, broken servers and lines, and a projector
that is behind meet in all combinations. In each lane one fault follows the other.
"""

import itertools
import random
from dataclasses import dataclass

ROUND_S = 88.0  # of the long form: ten rounds fit into a quarter of an hour
ENOUGH = 10  # faults of each kind, in the long form
LONG_S = 900.0

# Kind → its share of the lane's time.
LANES = {
    "killed": {"kill api": 1, "kill timer": 1, "kill executor": 1, "clock": 1.5},
    "stopped": {"stop api": 1, "stop timer": 1, "stop executor": 1},
    "servers": {
        "valkey killed": 1,
        "valkey set back": 1.3,
        "valkey wiped": 1.3,
        "postgres killed": 1,
        "both down": 1.3,
        "cut": 1.3,
        "delay": 1,
        "reset": 1,
    },
    "projectors": {"projectors behind": 8, "kill projector": 1, "stop projector": 1.2},
}
KINDS = tuple(itertools.chain.from_iterable(LANES.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A fault that is to come `at` seconds after the start; `seed` decides what it does within its kind."""

    at: float
    kind: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`lanes`: what comes in each; `longest_s`: of a fault that only takes time; `behind_s`: of the projectors."""

    seed: int
    seconds: float
    lanes: dict[str, list[Planned]]
    longest_s: float
    behind_s: float


def draw(seed, seconds, kinds=KINDS):
    """The plan of `seconds`: one round of all `kinds` in the short form, ten in a quarter of an hour.

    Of fewer kinds there are as many more: each keeps its share of the time.
    """
    rng = random.Random(seed)
    lanes = {lane: _drawn(rng, shares, kinds, seconds) for lane, shares in LANES.items()}
    is_short = seconds < ROUND_S
    return Plan(
        seed=seed,
        seconds=seconds,
        lanes=lanes,
        longest_s=2.0 if is_short else 5.0,
        behind_s=6.0 if is_short else 60.0,
    )


def _drawn(rng, shares, kinds, seconds):
    here = [kind for kind in shares if kind in kinds]
    round_s = ROUND_S * sum(shares[kind] for kind in here) / sum(shares.values())
    rounds = max(1, int(seconds // round_s)) if here else 0
    order = [kind for _ in range(rounds) for kind in rng.sample(here, len(here))]
    scale = seconds / sum((shares[kind] for kind in order), start=0.0) if order else 0
    drawn, begins = [], 0.0
    for kind in order:
        slot = shares[kind] * scale
        # Late enough to be anybody's moment, early enough to be over before the next one.
        drawn.append(
            Planned(
                at=begins + rng.uniform(0, 0.3) * slot / shares[kind], kind=kind, seed=rng.getrandbits(32)
            )
        )
        begins += slot
    return drawn
