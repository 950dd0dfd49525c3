"""Each guard that `make mutants` takes out stands where it says, and so do the tests that must miss it."""

from pathlib import Path

import pytest

from tests.integration.test_traces import names_in
from tests.mutants.guards import GUARDS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_can_be_taken_out_and_is_missed_by_tests_that_exist(guard):
    assert guard.fault(ROOT) is None
    assert guard.text not in guard.instead
    assert guard.tests
    for test in guard.tests:
        file, _, name = test.partition("::")
        assert name in names_in(ROOT / file), f"{test} is gone: adapt tests/mutants/guards"


def test_there_are_ten_guards_with_names_of_their_own():
    names = [guard.name for guard in GUARDS]
    assert len(set(names)) == len(names) >= 10


def test_a_guard_is_taken_out_of_the_tree_it_is_told_and_only_once(tmp_path):
    guard = GUARDS[0]
    file = tmp_path / guard.file
    file.parent.mkdir(parents=True)
    file.write_text(f"before {guard.text} after")
    guard.take_out(tmp_path)
    assert file.read_text() == f"before {guard.instead} after"
    with pytest.raises(ValueError, match=r"text has changed: adapt tests/mutants/guards"):
        guard.take_out(tmp_path)
    file.write_text(guard.text * 2)
    with pytest.raises(ValueError, match="stands 2 times"):
        guard.take_out(tmp_path)
