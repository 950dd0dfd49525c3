"""Recovery drills on a whole system, as deploy/runbook.md has them: services are killed, a store is lost or set back.

All tables and keys are hashed before and after; `tests/integration/test_drills.py` is the quick form, which also breaks
the list of what may differ (`tests/pictures.py`).
"""

import pytest

from tests import pictures
from tests.integration.trace_kit import Rewindable

from .drills import KINDS, Drill

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("heavy"), pytest.mark.timeout(300)]


@pytest.fixture
def drill(tmp_path):
    made = Drill(tmp_path)
    try:
        yield made
    finally:
        made.destroy()


def test_redis_emptied(drill):
    drill.system.start()
    drill.every_kind()
    before = drill.picture()
    assert {name.partition(" ")[2].partition(":")[0] for name in before.values} >= KINDS
    drill.empty_redis()
    drill.recovers(r"the log is empty, the archive is at \S+: healed, ")
    assert pictures.differences(before, drill.picture()) == set()
    drill.goes_on()


def test_redis_set_back(drill):
    drill.system.start()
    drill.every_kind()
    drill.system.valkey.remember()
    drill.more_happens()
    before = drill.picture()
    drill.system.valkey.rewind()
    drill.recovers(r"the log ends at \S+, \d+ events before the archive, at \S+: healed, ")
    assert pictures.differences(before, drill.picture()) == set()
    drill.goes_on()


def test_redis_forked(drill, tmp_path):
    """A failover to a replica, and back to the former master, which had taken a write meanwhile."""
    system = drill.system
    system.start_servers()
    with Rewindable(tmp_path / "replica") as replica:
        drill.follow(replica)
        system.start_services()
        drill.every_kind(but_api=True)
        drill.promote(replica)
        forked = drill.write_unarchived()
        master, system.valkey = system.valkey, replica
        drill.more_happens()
        before = drill.picture()
        system.valkey = master
        master.crash()
        drill.recovers(r"(forked after|the log ends at) \S+.*: (1 events quarantined, )?healed, ")
        assert pictures.differences(before, drill.picture()) == {"book.quarantine"}
        aside = drill.quarantined()
        assert [row[:2] for row in aside] == [(forked, "JobCreated")]
        drill.goes_on()


def test_postgres_emptied_with_a_cold_copy_at_hand(drill, tmp_path):
    drill.system.start()
    drill.every_kind()
    drill.said("archive", "export", "--to", tmp_path / "cold")
    drill.more_happens()
    before = drill.picture()
    drill.empty_postgres()
    assert "`daybook archive import`" in drill.said("recover", status=1)
    drill.said("archive", "import", tmp_path / "cold")
    drill.recovers("open already")
    drill.projects_the_rest()
    assert pictures.differences(before, drill.picture()) == set()
    drill.goes_on()


def test_both_set_back_redis_further_than_postgres(drill):
    drill.system.start()
    drill.every_kind()
    drill.system.valkey.remember()
    drill.more_happens()
    drill.remember_postgres()
    before = drill.picture()
    drill.more_happens()
    drill.system.valkey.rewind()
    drill.set_postgres_back()
    drill.recovers(r"the log ends at \S+, \d+ events before the archive, at \S+: healed, ")
    assert pictures.differences(before, drill.picture()) == set()
    drill.goes_on()


def test_both_set_back_postgres_further_than_a_log_that_was_trimmed(drill, tmp_path):
    drill.system.start()
    drill.every_kind()
    drill.remember_postgres()
    drill.more_happens()
    drill.said("archive", "export", "--to", tmp_path / "cold")
    drill.trim(drill.ends_of_logs())
    drill.more_happens()
    drill.system.valkey.remember()
    before = drill.picture()
    drill.more_happens()
    drill.system.valkey.rewind()
    drill.set_postgres_back()
    stuck = drill.picture()
    assert "`daybook archive import`" in drill.said("recover", "--dry-run", status=1)
    assert pictures.differences(stuck, drill.picture(), ()) == set(), "nothing was written"
    drill.said("archive", "import", tmp_path / "cold")
    drill.recovers("level with the archive: opened")
    drill.projects_the_rest()
    after = drill.picture()
    pictures.take_back_openings(before, after)
    assert pictures.differences(before, after) == set()
    drill.goes_on()
