"""Figures follow from raw rows alone, and what is lost or done twice is never just a figure."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from . import figures, recompute, report, yardstick
from .floors import LINES
from .sizes import Sizes

HERE = Path(__file__).parent
RUNS = {
    "base_ms": 0,
    "requested_ms": [0, 0, 1, 1],
    "started_ms": [100, 100, 101, 102],
    "ended_ms": [110, 104, 112, 120],
    "starts": [1, 1, 1, 1],
    "ends": [1, 1, 1, 1],
    "succeeded": [1, 1, 1, 1],
    "handled": [1, 1, 1, 1],
}
LATE = {
    "jobs": 2,
    "period_ms": 10_000,
    "base_ms": 0,
    "window_ms": 20_000,
    "skipped": [0, 0, 0, 0],
    "nominal_ms": [0, 10_000, 5_000, 15_000],
    "late_us": [1500, 2500, 500, 90_500],
    "handled": [1, 1, 1, 1],
}
RAW = {
    "api": {
        "warm_up_us": 1_000_000,
        "window_us": 2_000_000,
        "sent_us": [900_000, 999_000, 1_500_000, 2_000_000, 2_990_000],
        "took_us": [10_000, 5_000, 8_000, 20_000, 30_000],  # warm-up · in · in · in · after the window
        "status": [201, 201, 202, 201, 201],
        "archived": 5,
    },
    "executor": RUNS
    | {"levels": {"at_us": [0, 115_000, 130_000, 150_000], "logged": [0, 7, 8, 8], "archived": [0, 7, 6, 8]}},
    "schedules": LATE,
    "oneoff": RUNS,
    "latency": RUNS
    | {
        "began_us": [101_000, 102_000, 103_000, 110_000],
        "planned_us": [98_000, 98_500, 99_000, 99_500],
        "sent_us": [98_000, 98_500, 99_100, 99_600],
        "took_us": [30_000, 31_000, 32_000, 33_000],
        "status": [201, 201, 201, 202],
    },
    "projector": {
        "runs": 200,
        "archived_runs": 200,
        "events": 600,
        "spawned_us": 500_000,
        "levels": {
            "at_us": [0, 1_500_000, 1_600_000, 1_700_000, 2_000_000],
            "logged": [0, 600, 600, 600, 600],
            "archived": [0, 0, 200, 400, 600],
        },
    },
    "memory": {
        "jobs": 10,
        "used_before": [900, 1_000],
        "used_after": [30_000, 21_000],
        "job_hashes": [1_000, 1_200],
        "due": [500, 500],
        "logs": [2_000, 3_000],
        "log_entries": [5, 5],
        "archived_jobs": 10,
    },
    "overload": LATE,
    "beats": {
        "runs": 10,
        "ended": 0,
        "lost": 0,
        "window_us": 2_000_000,
        "executor_ticks": 8,
        "ticks_per_second": 100,
    },
    "restart": {"jobs": 400, "found": 400, "healthy_us": [2_500_000]},
}
FIGURES = {
    "api": {"created": 1.0, "p50": 8.0, "p99": 20.0, "accepted": 1},
    "executor": {"runs": 200.0, "span": 0.02, "level": 0.03},
    "schedules": {
        "expected": 4, "delivered": 100.0, "missing": 0, "skipped": 0, "duplicates": 0, "p50": 1.5, "p99": 90.5,
        "max": 90.5,
    },
    "oneoff": {"last_end": 0.12, "first_start": 0.1, "ran": 4},
    "latency": {
        "p50": 3.5, "p99": 10.4, "commit_p50": 102.0, "commit_p99": 109.0, "started_p50": 100,
        "started_p99": 101, "answer_p50": 31.0, "answer_p99": 33.0, "sender_p99": 0.1,
    },
    "projector": {"events": 1000.0, "from_start": 1.5},
    "memory": {"job": 2000.0, "hash": 1100.0, "due": 100.0, "log": 500.0, "rest": 300.0},
    "overload": {
        "expected": 4, "delivered": 100.0, "missing": 0, "skipped": 0, "duplicates": 0, "p50": 1.5, "p99": 90.5,
        "max": 90.5,
    },
    "beats": {"core": 4.0, "runs": 10},
    "restart": {"healthy": 2.5, "jobs": 400},
}  # fmt: skip
CPU = {
    "ticks_per_second": 100,
    "window_us": 2_000_000,
    "before": {"timer": 50, "bench": 10},
    "after": {"timer": 80, "bench": 30, "executor": 120},
}
YARDSTICK = {
    "before": {"loop_us": [9_000, 11_000, 10_000], "append_us": [*range(1_000, 1_099), 70_000]},
    "after": {"loop_us": [20_000], "append_us": [2_000, 3_000]},
}


def a_document(**changes):
    """What a run with exactly these rows would have written."""
    benches = {
        name: {
            "what": name,
            "raw": copy.deepcopy(raw),
            "cpu": CPU,
            "yardstick": YARDSTICK,
            "figures": figures.of(name, raw).figures,
        }
        for name, raw in RAW.items()
    }
    return {
        "format": report.FORMAT,
        "machine": {"cores": 2},
        "command": "",
        "scale": 1,
        "benches": benches,
    } | changes


def recomputed(document, tmp_path, *options):
    path = tmp_path / "rows.json"
    report.write(document, path)
    return CliRunner().invoke(recompute.main, [str(path), *options])


@pytest.mark.parametrize("name", RAW)
def test_the_figures_of_a_bench_follow_from_its_rows(name):
    assert figures.of(name, RAW[name]).figures == pytest.approx(FIGURES[name])


@pytest.mark.parametrize("name", RAW)
def test_every_figure_has_a_line_in_the_table_and_every_line_a_figure(name):
    assert set(figures.of(name, RAW[name]).figures) == set(LINES[name])


@pytest.mark.parametrize("name", RAW)
def test_sound_rows_have_no_faults(name):
    assert figures.of(name, RAW[name]).faults == ()


@pytest.mark.parametrize(
    ("values", "percent", "rank"),
    [
        ([15, 20, 35, 40, 50], 30, 20),
        ([15, 20, 35, 40, 50], 40, 20),
        ([15, 20, 35, 40, 50], 50, 35),
        ([15, 20, 35, 40, 50], 100, 50),
        (range(1, 101), 99, 99),
        (range(1, 102), 99, 100),
        ([7], 1, 7),
        ([], 50, None),
    ],
)
def test_percentiles_are_nearest_rank(values, percent, rank):
    assert figures.percentile(values, percent) == rank


@pytest.mark.parametrize(
    ("name", "changes", "fault"),
    [
        ("api", {"status": [201, 201, 202, 503, 201]}, "1 requests were refused or not answered"),
        ("api", {"status": [201, 201, 202, 0, 201]}, "1 requests were refused or not answered"),
        ("api", {"archived": 3}, "2 acknowledged jobs are not in the archive"),
        ("executor", {"ends": [1, 0, 1, 1], "ended_ms": [1, None, 1, 1]}, "1 runs have not ended"),
        ("executor", {"ends": [1, 2, 1, 1]}, "1 runs have ended twice"),
        ("executor", {"starts": [2, 1, 1, 1]}, "1 runs have started twice"),
        ("executor", {"handled": [1, 1, 1, 2]}, "1 runs have started twice"),
        ("executor", {"handled": [1, 1, 1, 0]}, "1 runs have ended without a handler"),
        ("executor", {"succeeded": [1, 1, 1, 0]}, "1 runs have not succeeded"),
        ("oneoff", {"ends": [1, 1, 1, 0]}, "1 runs have not ended"),
        ("schedules", {"handled": [1, 0, 1, 1]}, "1 occurrences were neither run nor skipped"),
        (
            "schedules",
            {"handled": [1, 0, 1, 1], "skipped": [0, 0, 9, 0]},
            "1 occurrences were neither run nor skipped",
        ),
        ("schedules", {"skipped": [0, 1, 0, 0]}, "1 occurrences were decided twice"),
        ("schedules", {"handled": [1, 3, 1, 1]}, "2 handlers began once too often"),
        ("latency", {"status": [201, 409, 201, 201]}, "1 triggers were refused or not answered"),
        ("latency", {"ends": [1, 1, 1, 0]}, "1 runs have not ended"),
        ("projector", {"archived_runs": 199}, "1 runs are not in the ledger"),
        ("memory", {"archived_jobs": 9}, "1 jobs are missing from the ledger, or too many"),
        ("beats", {"lost": 1}, "1 runs were lost under their handlers"),
        ("beats", {"ended": 2}, "2 runs have ended before the window was over"),
        ("restart", {"found": 399}, "1 jobs were lost, or made, by the restart"),
    ],
)
def test_what_is_lost_or_doubled_is_a_fault_and_fails_the_run(name, changes, fault):
    document = a_document()
    document["benches"][name]["raw"] |= changes
    assert fault in report.results(document)[name].faults
    assert report.status(document) == 1


def test_the_machine_s_own_pace_is_told_before_and_after_each_bench(tmp_path):
    assert figures.pace(YARDSTICK["before"]) == (10.0, 1.098)
    told = recomputed(a_document(), tmp_path).output
    assert "10.0 → 20.0" in told
    assert "1.1 → 3.0" in told


def test_the_yardstick_leaves_nothing_behind(tmp_path):
    taken = yardstick.taken(tmp_path)
    assert [len(taken[key]) for key in ("loop_us", "append_us")] == [yardstick.LOOPS, yardstick.APPENDS]
    assert min(map(min, taken.values())) > 0
    assert list(tmp_path.iterdir()) == []


def test_an_occurrence_that_was_skipped_by_its_policy_is_not_delivered_but_not_lost():
    result = figures.of(
        "schedules", LATE | {"late_us": [1, None, 1, 1], "handled": [1, 0, 1, 1], "skipped": [0, 1, 0, 0]}
    )
    assert result.figures["delivered"] == 75
    assert result.faults == ()


def test_a_bench_of_which_nothing_ran_has_no_figures_and_does_not_raise():
    nothing = RUNS | {key: [None] * 4 for key in ("started_ms", "ended_ms")} | {"ends": [0] * 4}
    raw = nothing | {"levels": {"at_us": [0], "logged": [8], "archived": [0]}}
    assert figures.of("executor", raw).figures == {"runs": None, "span": 0, "level": None}
    assert not LINES["executor"]["runs"].holds(None)


def test_cpu_seconds_count_from_the_window_s_begin_and_a_new_process_from_its_own():
    assert figures.cpu_seconds(CPU) == {"timer": 0.3, "bench": 0.2, "executor": 1.2}


def test_a_figure_below_its_floor_fails_only_a_strict_run_of_all_the_work():
    document = a_document()
    assert "runs" in report.below(document)["executor"]
    assert report.status(document) == 0
    assert report.status(document, strict=True) == 1
    assert report.status(document | {"scale": 0.5}, strict=True) == 0


def test_a_bench_that_broke_fails_the_run_and_is_shown(tmp_path):
    document = a_document()
    document["benches"]["api"] = {"what": "posting", "broken": "TooLongError: not within 3 s"}
    shown = recomputed(document, tmp_path)
    assert shown.exit_code == 1
    assert "api: TooLongError: not within 3 s" in shown.output


def test_recompute_prints_every_figure_and_cpu_row(tmp_path):
    shown = recomputed(a_document(), tmp_path)
    assert shown.exit_code == 0, shown.output
    for lines in LINES.values():
        assert all(line.label in shown.output for line in lines.values())
    assert "200 runs/s" in shown.output
    assert "below" in shown.output
    assert recomputed(a_document(), tmp_path, "--strict").exit_code == 1


def test_recompute_refuses_rows_from_which_other_figures_follow(tmp_path):
    document = a_document()
    document["benches"]["latency"]["raw"]["began_us"][0] += 5_000
    shown = recomputed(document, tmp_path)
    assert shown.exit_code == 1
    assert "not those that were written" in shown.output


def test_recompute_refuses_a_file_of_another_make(tmp_path):
    path = tmp_path / "other.json"
    path.write_text('{"format": 0}')
    assert CliRunner().invoke(recompute.main, [str(path)]).exit_code == 1


def test_a_scaled_run_does_a_part_of_the_work_but_always_some():
    sizes = Sizes(scale=0.02)
    assert (sizes.count(10_000), sizes.count(100), sizes.seconds(30), sizes.period_s) == (200, 20, 1, 2)
    whole = Sizes()
    assert (whole.count(10_000), whole.seconds(15), whole.period_s, whole.windows(30)) == (10_000, 15, 10, 3)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_small_run_of_all_benches_is_recomputed_to_the_same_figures(tmp_path):
    output = tmp_path / "rows.json"
    command = [sys.executable, str(HERE / "run.py"), "--scale", "0.02", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout
    document = json.loads(output.read_text())
    assert set(document["benches"]) == set(LINES)
    again = subprocess.run(
        [sys.executable, str(HERE / "recompute.py"), str(output)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (again.returncode, again.stdout) == (0, done.stdout), again.stderr
