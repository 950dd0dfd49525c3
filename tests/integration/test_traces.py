"""The index of traces (traces.toml): each item is built by tests that exist, and each test of a trace stands in it."""

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TRACES = tomllib.loads(Path(__file__).with_name("traces.toml").read_text())["trace"]
WANTED = [*range(1, 13), *range(14, 20), 21, 26, 28]  # those of log, opening, projector and timer


@cache
def names_in(file):
    """The names of the tests of a file."""
    tree = ast.parse(file.read_text()) if file.exists() else ast.Module([], [])
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions) and node.name.startswith("test_")}


def exists(test):
    file, _, name = test.partition("::")
    return name in names_in(TESTS / f"{file}.py")


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: str(trace["number"]))
def test_a_trace_is_built_by_tests_that_exist(trace):
    assert set(trace) - {"later"} == {"number", "what", "tests"}
    assert trace["tests"]
    assert [test for test in trace["tests"] if not exists(test)] == []


def test_every_trace_of_log_opening_projector_and_timer_stands_in_the_index():
    assert [trace["number"] for trace in TRACES] == WANTED


def test_every_test_of_a_trace_stands_in_the_index():
    indexed = {test.partition("::")[2] for trace in TRACES for test in trace["tests"]}
    files = (TESTS / "integration").glob("test_traces_*.py")
    assert {name for file in files for name in names_in(file)} - indexed == set()
