"""The drill of deploy/runbook.md: both servers are gone for good, and a backup of Daybook's database is left."""

import shutil
from datetime import datetime

import httpx
import pytest

from .system import System, eventually

KEY = "a key of chance, for the drill alone"
BACKUP = {"backup_type": "database", "compression": True, "encryption": True, "keep_last": 3}
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("heavy"), pytest.mark.timeout(300)]


@pytest.fixture
def place(tmp_path):
    """What survives: backups, and the directory of secrets with the key."""
    for name in ("kept", "secrets", "before", "after"):
        (tmp_path / name).mkdir()
    (tmp_path / "secrets" / "backup_key").write_text(KEY)
    (tmp_path / "key").write_text(KEY)
    return tmp_path


@pytest.fixture
def systems(place):
    """The system that is lost, and the one that takes its place."""
    environment = {
        "DAYBOOK_FILES_ROOTS": str(place / "kept"),
        "DAYBOOK_SECRETS_DIR": str(place / "secrets"),
        "DAYBOOK_LEASE_SECONDS": "2",
    }
    both = [System(place / name, environment=environment) for name in ("before", "after")]
    try:
        yield both
    finally:
        for each in both:
            each.destroy()


class Client:
    """What the drill asks of an API."""

    def __init__(self, system):
        self._http = httpx.Client(base_url=f"{system.url}/api/v1", timeout=30, headers={"Prefer": "wait=10"})

    def make(self, name, job_type="custom", **fields):
        body = {"name": name, "job_type": job_type, "job_data": {"operation": "echo"}} | fields
        answer = self._http.post("/jobs", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def post(self, path, **body):
        return self._sent("POST", path, body)

    def put(self, path, **body):
        return self._sent("PUT", path, body)

    def delete(self, path):
        return self._sent("DELETE", path, {})

    def _sent(self, method, path, body):
        answer = self._http.request(method, path, json=body or None)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def get(self, path):
        return self._http.get(path).json()

    def items(self, path):
        return self.get(path)["items"]


def test_from_a_backup_alone_the_system_comes_back_as_it_was_then_and_goes_on(systems, place):
    before, after = systems
    client = Client(before.start())
    beating = client.make("beats", interval_seconds=1)
    paused = client.make("paused", interval_seconds=3600)
    client.post(f"/jobs/{paused}/pause")
    eventually(lambda: client.items(f"/jobs/{beating}/executions?status=succeeded"), "it beats")
    saving = client.make("saves", "backup_task", job_data=BACKUP | {"destination": (place / "kept").as_uri()})
    run = client.post(f"/jobs/{saving}/trigger")["id"]
    eventually(lambda: client.get(f"/executions/{run}")["status"] == "succeeded", "the backup is there")
    name = client.get(f"/executions/{run}")["result"]["name"]
    later = client.make("made after the backup")
    before.destroy()
    shutil.rmtree(before.directory)

    after.valkey.start()
    after.postgres.start()  # an empty database, over which nothing works yet
    source = f"{(place / 'kept').as_uri()}/{name}"
    verified = after.command("backup", "verify", "--from", source, "--key-file", str(place / "key"))
    assert verified.returncode == 0, verified.stderr
    restored = after.command(
        "backup", "restore", "--from", source, "--to", after.postgres.endpoint.url,
        "--key-file", str(place / "key"),
    )  # fmt: skip
    assert (restored.returncode, restored.stdout) == (0, "restored\n"), restored.stderr
    looked = after.command("recover", "--dry-run")
    assert looked.stdout.count("heal") == after.partitions, looked.stdout + looked.stderr
    after.postgres.stop()
    after.valkey.stop()
    client = Client(after.start())

    assert {each["id"]: each["name"] for each in client.items("/jobs")} == {
        beating: "beats",
        paused: "paused",
        saving: "saves",
    }
    assert client.get(f"/jobs/{paused}")["status"] == "paused"
    assert client.get(f"/jobs/{later}")["status"] == 404  # what a backup can't have; the page says so
    eventually(lambda: _is_steady(client, beating), "it beats again, and nothing was missed in silence")
    # The run that made the backup was under way when it was made: it starts again, and finds its own work done.
    eventually(lambda: client.get(f"/executions/{run}")["status"] == "succeeded", "the backup's run ends")
    assert [each.name for each in (place / "kept").iterdir()] == [name]
    status, said = after.audit()
    assert status == 0, said


def _is_steady(client, job):
    """Whether the log tells each second since the first: by a run, or by the skipping of several."""
    events = client.items(f"/jobs/{job}/events?per_page=200")
    told = [each["data"] for each in events if each["type"] == "io.daybook.run.requested"]
    runs = [datetime.fromisoformat(each["scheduled_for"]) for each in told]
    skipped = sum(
        each["data"]["count"] for each in events if each["type"] == "io.daybook.occurrences.skipped"
    )
    seconds = round((max(runs) - min(runs)).total_seconds()) + 1
    return skipped > 0 and seconds > skipped and len(runs) + skipped == seconds
