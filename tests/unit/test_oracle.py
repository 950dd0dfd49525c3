"""The oracle's verdict: what is computed is compared with what was seen on the clock, minute by minute."""

from __future__ import annotations

import ast
import os
import re
import sys
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random, SystemRandom

import pytest

from shared.domain.cron_hash import expanded

from . import oracle
from .schedules import YEARS, ZONES, around_a_change, cron, fires, random_cron, random_seconds

COMPARISONS = 300
COMPARISONS_LONG = 20_000
BOUNDS = [(0, 59), (0, 59), (0, 23), (1, 28), (1, 12), (0, 6)]  # of what `H` may be
H = re.compile(r"H(?:\((\d+)-(\d+)\))?(?:/(\d+))?")
SEED = os.environ.get("DAYBOOK_ORACLE_SEED")  # of the run to be repeated


class Comparisons:
    """Windows of time in which both were asked for all occurrences, and what stood in them.

    Zone and year go round, so that every zone meets every year; all else is drawn.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.counts = Counter()
        self.places = set()  # zones and years

    def make(self, number: int) -> None:
        chance = Random(f"{self.seed} {number}")
        zone, year = ZONES[number % len(ZONES)], YEARS[number // len(ZONES) % len(YEARS)]
        by_seconds = chance.random() < 0.1
        written = random_cron(chance, seconds=random_seconds(chance) if by_seconds else "")
        expression = expanded(written, f"job {number}")
        _assert_drawn(written, expression)
        hours = 1 if by_seconds else 14
        after = around_a_change(chance, zone, year, hours)
        until = after + timedelta(hours=hours)
        policy = {
            "gap": chance.choice(["auto", "next_valid", "skip"]),
            "overlap": chance.choice(["auto", "first", "last", "both"]),
        }

        seen = oracle.occurrences(expression, zone, after, until, **policy)
        computed = fires(cron(expression, zone, **policy), after, until)

        case = f"seed {self.seed}, number {number}: {written!r} as {expression!r} in {zone} by {policy}"
        assert computed == seen, f"{case}, after {after.isoformat()}"
        self._count(zone, year, after, until, written, seen)

    def _count(self, zone, year, after, until, written, seen) -> None:
        self.places.add((zone, year))
        start, end = (at.astimezone(oracle.zone(zone)).utcoffset() for at in (after, until))
        self.counts.update(
            windows=1,
            occurrences=len(seen),
            changes=start != end,
            drawn="H" in written,
            seconds=len(written.split()) == 6,
        )

    def __str__(self) -> str:
        zones, years = (sorted({place[of] for place in self.places}) for of in (0, 1))
        told = self.counts
        return (
            f"oracle, seed {self.seed}: {told['windows']:,} comparisons alike ({told['occurrences']:,} occurrences; "
            f"{told['changes']:,} windows over a change of the clocks, {told['seconds']:,} by seconds, "
            f"{told['drawn']:,} with H) in {len(zones)} zones x {years[0]}-{years[-1]}"
        )


def _assert_drawn(written: str, drawn: str) -> None:
    """Each item is what was written, and each `H` one that this may stand for."""
    fields = zip(BOUNDS[-len(written.split()) :], written.split(), drawn.split(), strict=True)
    for bounds, told, made in fields:
        for one, another in zip(told.split(","), made.split(","), strict=True):
            read = H.fullmatch(one)
            if read is None:
                assert one.lower() == another.lower()
                continue
            low, high = (int(read[1]), int(read[2])) if read[1] else bounds
            step = int(read[3] or high - low + 1)
            start, _, rest = another.partition("-")
            assert low <= int(start) < low + step
            assert rest == (f"{high}/{step}" if read[3] else "")


@pytest.mark.thorough
def test_no_random_expression_fires_otherwise_than_the_oracle_saw_on_the_clock():
    seed = int(SEED or SystemRandom().randrange(10**6))
    print(f"DAYBOOK_ORACLE_SEED={seed} repeats it")
    comparisons = Comparisons(seed)
    first = Random(seed).randrange(len(ZONES) * len(YEARS))
    for number in range(COMPARISONS):
        comparisons.make(first + number * (len(ZONES) + 1))  # the next zone, in the next year
    assert comparisons.counts["changes"] > COMPARISONS / 6
    assert comparisons.counts["occurrences"] > COMPARISONS


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_twenty_thousand_random_expressions_fire_as_the_oracle_saw_in_every_zone_and_year(capsys):
    comparisons, started = Comparisons(int(SEED or 1)), time.process_time()
    for number in range(COMPARISONS_LONG):
        comparisons.make(number)
    with capsys.disabled():
        print(f"\n{comparisons}, {time.process_time() - started:.0f} s CPU")
    assert len(comparisons.places) == len(ZONES) * len(YEARS)


@pytest.mark.parametrize("count", [30, pytest.param(2_000, marks=pytest.mark.long)])
@pytest.mark.thorough
def test_no_random_expression_falls_on_other_days_than_the_oracle_found_in_the_calendar(count):
    for seed in range(count):
        chance = Random(seed)
        days_of = expanded(random_cron(chance), f"job {seed}").split()[2:]
        expression = "0 0 " + " ".join(days_of)
        first, days = date(chance.choice(YEARS), 1, 1), 366
        start = datetime(first.year, 1, 1, tzinfo=UTC) - timedelta(seconds=1)

        found = fires(cron(expression), start, start + timedelta(days=days))

        assert [at.date() for at in found] == oracle.dates(expression, first, days), expression


def test_the_oracle_knows_nothing_of_what_it_judges():
    tree = ast.parse(Path(oracle.__file__).read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {
        module
        for node in imported
        for module in (
            [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or "."]
        )
    }

    assert not any(node.level for node in imported if isinstance(node, ast.ImportFrom))
    assert "zoneinfo" in modules
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not named & {"__import__", "import_module", "exec", "eval"}
