"""What becomes of times of day where clocks change: the oracle misses each rule that is turned round."""

from .guard import Guard, unit

_ORACLE = unit("test_oracle", "test_no_random_expression_fires_otherwise_than_the_oracle_saw_on_the_clock")

GUARDS = (
    Guard(
        name="fold",
        protects="what a clock shows twice is told apart by the pass: `fold` is not swapped",
        file="shared/domain/zones.py",
        text="before, after = offset_at(zone, wall, fold=0), offset_at(zone, wall, fold=1)",
        instead="before, after = offset_at(zone, wall, fold=1), offset_at(zone, wall, fold=0)",
        tests=_ORACLE,
    ),
    Guard(
        name="fold-of-after",
        protects="a search that begins in the second pass of an overlap doesn't go back to the first",
        file="shared/domain/walk.py",
        text="if local.fold == 0:",
        instead="if local.fold == 1:",
        tests=_ORACLE,
    ),
    Guard(
        name="gap-rule",
        protects="in a gap what names times of day is moved, and what repeats is dropped, not the other way round",
        file="shared/domain/walk.py",
        text='moves = fixed_time if policy.gap == "auto"',
        instead='moves = not fixed_time if policy.gap == "auto"',
        tests=_ORACLE,
    ),
    Guard(
        name="overlap-rule",
        protects="in an overlap what names times of day fires in the first pass, and what repeats in both",
        file="shared/domain/walk.py",
        text='passes = ("first" if fixed_time else "both")',
        instead='passes = ("both" if fixed_time else "first")',
        tests=_ORACLE,
    ),
)
