"""The drill of deploy/runbook.md: both servers are gone for good, and a cold copy and a signed checkpoint are left."""

import json
import shutil

import pytest

from .system import System, eventually
from .test_restore_drill import Client

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("heavy"), pytest.mark.timeout(300)]


@pytest.fixture
def systems(tmp_path):
    """The system that is lost, and the one that takes its place."""
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    both = [System(tmp_path / name) for name in ("before", "after")]
    try:
        yield both
    finally:
        for each in both:
            each.destroy()


def said(system, *words):
    """What a command prints that must end well."""
    done = system.command(*map(str, words))
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def test_from_a_cold_copy_alone_the_system_comes_back_and_goes_on_and_a_third_party_sees_that(
    systems, tmp_path
):
    before, after = systems
    cold, key, signed = tmp_path / "cold", tmp_path / "audit_key", tmp_path / "checkpoint.json"
    client = Client(before.start())
    beating = client.make("beats", interval_seconds=1)
    paused = client.make("paused", interval_seconds=3600)
    client.post(f"/jobs/{paused}/pause")
    eventually(lambda: client.items(f"/jobs/{beating}/executions?status=succeeded"), "it beats")
    said(before, "archive", "export", "--to", cold)  # at work
    said(before, "audit", "key", key)
    said(before, "audit", "sign", "--key-file", key, "--to", signed)
    said(
        before, "archive", "export", "--to", cold
    )  # what has come since, so the copy leads through the checkpoint
    said(before, "audit", "check", signed, "--public-key", f"{key}.pub", "--against", "database")
    before.destroy()
    shutil.rmtree(before.directory)

    after.valkey.start()
    after.postgres.start()  # an empty database, over which nothing works yet
    count = json.loads(said(after, "archive", "verify", "--json", cold))["events"]
    said(after, "audit", "check", signed, "--public-key", f"{key}.pub", "--against", cold)
    said(after, "migrate")
    assert f"{count} events imported, 0 were there" in said(after, "archive", "import", cold)
    looked = said(after, "recover", "--dry-run")
    assert looked.count("heal") == after.partitions, looked
    after.postgres.stop()
    after.valkey.stop()
    client = Client(after.start())

    assert {each["id"]: each["name"] for each in client.items("/jobs")} == {
        beating: "beats",
        paused: "paused",
    }
    assert client.get(f"/jobs/{paused}")["status"] == "paused"
    told = after.command("audit", "check", str(signed), "--public-key", f"{key}.pub", "--against", "database")
    assert told.returncode == 0, told.stdout
    eventually(
        lambda: any(
            each["type"] == "io.daybook.occurrences.skipped"
            for each in client.items(f"/jobs/{beating}/events")
        ),
        "what was missed is told",
    )
    status, balance = after.audit()
    assert status == 0, balance
