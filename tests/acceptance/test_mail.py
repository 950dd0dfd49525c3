"""Mail of jobs on `daybook up`: it is caught, shown, and goes nowhere else."""

import os

import pytest

from tests.acceptance.test_up import Daybook

JSON = {"Accept": "application/json"}
BODIES = (
    {
        "recipient": "user@company.com",
        "subject": "Weekly Report Ready",
        "body": "Your weekly report has been generated and is ready for review.",
    },
    {"recipient": "test@example.com"},
)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    made = Daybook(tmp_path_factory.mktemp("mail") / "data")
    yield made.start_up()
    made.close()


def outcome(system, data, **more):
    """The execution of such a job, when it has ended."""
    job = system.create(name="Nightly", job_type="email_notification", job_data=data, **more)
    run = system.http.post(f"/api/v1/jobs/{job['id']}/trigger").raise_for_status().json()
    ended = {}

    def has_ended():
        ended.update(system.http.get(f"/api/v1/executions/{run['id']}").json())
        return ended.get("status") in {"succeeded", "failed"}

    system.wait_until(has_ended, "the end of the execution")
    return ended


def test_what_a_job_mails_is_shown_under_dev_mail(system):
    assert "/dev/mail shows it" in system.said()
    for data in BODIES:
        ended = outcome(system, data)
        assert ended["status"] == "succeeded", ended
        assert ended["result"]["accepted"] == [data["recipient"]]
    second, first = system.http.get("/dev/mail", headers=JSON).json()["items"]
    assert (first["to"], first["subject"]) == ("user@company.com", "Weekly Report Ready")
    assert (second["to"], second["subject"]) == ("test@example.com", "Nightly")
    one = system.http.get(f"/dev/mail/{first['name']}", headers=JSON).json()
    assert one["text"].strip() == BODIES[0]["body"]
    assert "Weekly Report Ready" in system.http.get("/dev/mail").text
    assert len(list((system.data_dir / "mail").glob("*.eml"))) == 2


def test_a_file_is_attached_as_it_is(system):
    content = os.urandom(10_000)
    (system.data_dir / "files" / "report.bin").write_bytes(content)
    attachments = [{"path": str((system.data_dir / "files" / "report.bin").absolute()), "name": "Łódź.bin"}]
    data = {"recipient": "a@b.c", "template": "notice", "context": {"message": "Łódź €"}}
    ended = outcome(system, data | {"attachments": attachments})
    assert ended["result"]["attachments"] == [{"name": "Łódź.bin", "bytes": 10_000}]
    newest = system.http.get("/dev/mail", headers=JSON).json()["items"][0]
    one = system.http.get(f"/dev/mail/{newest['name']}", headers=JSON).json()
    assert [(each["name"], each["bytes"]) for each in one["attachments"]] == [("Łódź.bin", 10_000)]
    assert "Łódź €" in one["text"]
    assert "Łódź €" in one["html"]


def test_with_a_mail_server_of_ones_own_nothing_is_caught(tmp_path):
    system = Daybook(tmp_path / "data")
    try:
        system.start_up(DAYBOOK_SMTP_URL="smtp://127.0.0.1:1")
        assert system.http.get("/dev/mail").status_code == 404
        assert "/dev/mail" not in system.said()
        ended = outcome(system, BODIES[1], max_retries=0)
        assert ended["error"]["class"] == "MailServerUnreachable"
    finally:
        system.close()
