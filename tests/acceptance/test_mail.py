"""Mail on a `daybook up` that is told of a mail server: it goes there, and nowhere else."""

from tests.acceptance.test_job_types import end_of, start
from tests.acceptance.test_up import Daybook


def test_with_a_mail_server_of_ones_own_nothing_is_caught(tmp_path):
    system = Daybook(tmp_path / "data")
    body = {
        "name": "Nightly",
        "job_type": "email_notification",
        "job_data": {"recipient": "test@example.com"},
    }
    try:
        system.start_up(DAYBOOK_SMTP_URL="smtp://127.0.0.1:1")
        assert system.http.get("/dev/mail").status_code == 404
        assert "/dev/mail" not in system.said()
        ended = end_of(system, start(system, body | {"max_retries": 0}))
        assert ended["error"]["class"] == "MailServerUnreachable"
    finally:
        system.close()
