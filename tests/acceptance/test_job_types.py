"""Each type of job on one `daybook up`, with its sample sources: what was asked for has really been done."""

import asyncio
import csv
import email
import email.policy
import hashlib
import io
import json
import os
import subprocess
import time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest
from pypdf import PdfReader

from services.up.sample_databases import NAMES, SampleDatabases
from tests.acceptance.test_up import APPLICATION_CACHE, DAYBOOK, Daybook

pytestmark = [pytest.mark.xdist_group("job types"), pytest.mark.timeout(180)]

BODIES = """
mail      {"job_type":"email_notification","job_data":{"recipient":"user@company.com","subject":"Weekly Report Ready","body":"Your weekly report has been generated and is ready for review."}}
bare mail {"job_type":"email_notification","job_data":{"recipient":"test@example.com"}}
aggregate {"job_type":"data_processing","job_data":{"dataset":"sales_data","operation":"aggregate","parameters":{"record_count":5000,"aggregation_type":"sum"}}}
financial {"job_type":"report_generation","job_data":{"report_type":"financial","date_range":"last_month","format":"pdf","template":"monthly_summary"}}
sales     {"job_type":"report_generation","job_data":{"report_type":"sales","format":"pdf","recipients":["manager@company.com"]}}
cleanup   {"job_type":"cleanup_task","job_data":{"cleanup_type":"temp_files","retention_days":7,"path":"/tmp/application_cache"}}
backup    {"job_type":"backup_task","job_data":{"backup_type":"database","destination":"s3://backups/db/","compression":true,"encryption":true}}
migration {"job_type":"custom","job_data":{"operation":"data_migration","parameters":{"source":"legacy_db","destination":"new_db","batch_size":1000}}}
"""  # noqa: E501 - as clients send them
TYPES = {
    "backup_task", "cleanup_task", "custom", "data_processing", "email_notification", "http_request",
    "report_generation",
}  # fmt: skip
JSON = {"Accept": "application/json"}
END_S = 60.0
DAY_S = 86_400


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    made = Daybook(tmp_path_factory.mktemp("types") / "data")
    try:
        yield made.start_up()
    finally:
        made.close()


@pytest.fixture(scope="module")
def cache():
    """A directory of ours below the one that is tidied, which other people use too: an old file and a new one."""
    APPLICATION_CACHE.mkdir(exist_ok=True)
    place = APPLICATION_CACHE / f"job-types-{os.getpid()}"
    place.mkdir()
    for name, days in (("old", 8), ("new", 6)):
        (place / name).write_text("12345")
        os.utime(place / name, (time.time() - days * DAY_S,) * 2)
    yield place
    for each in place.iterdir():
        each.unlink()
    place.rmdir()


@pytest.fixture(scope="module")
def ended(system, cache):
    """The executions of all bodies, by name, once each has ended; they run beside each other."""
    bodies = {line[:9].strip(): json.loads(line[10:]) for line in BODIES.strip().splitlines()}
    runs = {name: start(system, body | {"name": name}) for name, body in bodies.items()}
    return {name: end_of(system, run) for name, run in runs.items()}


def start(system, body):
    job = system.create(**body)
    return system.http.post(f"/api/v1/jobs/{job['id']}/trigger").raise_for_status().json()["id"]


def end_of(system, run):
    """The execution, when it has ended."""
    seen = {}

    def has_ended():
        seen.update(system.http.get(f"/api/v1/executions/{run}").json())
        return seen.get("finished_at") is not None

    system.wait_until(has_ended, f"the end of {run}", END_S)
    return seen


def result(ended, name):
    assert ended[name]["status"] == "succeeded", ended[name]
    return ended[name]["result"]


def caught(system, recipient):
    """The one message to somebody, parsed, and as /dev/mail lists it."""
    items = system.http.get("/dev/mail", headers=JSON).json()["items"]
    [item] = [each for each in items if each["to"] == recipient]
    content = (system.data_dir / "mail" / item["name"]).read_bytes()
    return email.message_from_bytes(content, policy=email.policy.default), item


def samples(system, name):
    with (system.data_dir / "samples" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def total(rows, column):
    return float(sum(Decimal(row[column]) for row in rows))


# Mail.


@pytest.mark.parametrize(
    ("name", "recipient", "subject"),
    [
        ("mail", "user@company.com", "Weekly Report Ready"),
        ("bare mail", "test@example.com", "bare mail"),  # its job's name
    ],
)
def test_mail_comes_to_whom_it_is_for_and_is_shown(system, ended, name, recipient, subject):
    assert "/dev/mail shows it" in system.said()
    assert result(ended, name)["accepted"] == [recipient]
    _, item = caught(system, recipient)
    assert (item["subject"], item["envelope_to"]) == (subject, [recipient])
    assert subject in system.http.get("/dev/mail").text


def test_a_mail_has_the_text_that_the_job_gives(system, ended):
    message, item = caught(system, "user@company.com")
    said = "Your weekly report has been generated and is ready for review."
    assert message.get_body().get_content().strip() == said
    assert system.http.get(f"/dev/mail/{item['name']}", headers=JSON).json()["text"].strip() == said


def test_a_file_is_attached_as_it_is(system):
    content = os.urandom(10_000)
    file = (system.data_dir / "files" / "report.bin").absolute()
    file.write_bytes(content)
    data = {"recipient": "a@b.c", "template": "notice", "context": {"message": "Łódź €"}}
    data["attachments"] = [{"path": str(file), "name": "Łódź.bin"}]
    run = end_of(system, start(system, {"name": "file", "job_type": "email_notification", "job_data": data}))
    assert run["result"]["attachments"] == [{"name": "Łódź.bin", "bytes": 10_000}]
    message, item = caught(system, "a@b.c")
    [attached] = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("Łódź.bin", content)
    shown = system.http.get(f"/dev/mail/{item['name']}", headers=JSON).json()
    assert [(each["name"], each["bytes"]) for each in shown["attachments"]] == [("Łódź.bin", 10_000)]
    assert "Łódź €" in shown["text"]
    assert "Łódź €" in shown["html"]


# Data and reports.


def test_the_aggregate_is_the_sum_of_the_first_rows_of_the_file(system, ended):
    told = result(ended, "aggregate")
    rows = samples(system, "sales_data")[:5_000]
    sums = {f"sum_{each}": total(rows, each) for each in ("quantity", "price", "amount")}
    assert told["rows_read"] == 5_000
    assert told["groups"] == [pytest.approx({"rows": 5_000} | sums)]


def test_the_financial_report_is_last_months(system, ended):
    told = result(ended, "financial")
    first, after = (datetime.fromisoformat(told["period"][edge]) for edge in ("from", "to"))
    fired = datetime.fromisoformat(ended["financial"]["scheduled_for"])
    assert after == fired.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert first == (after - timedelta(days=1)).replace(day=1)
    rows = [row for row in samples(system, "financial_data") if row["month"] == str(first.date())]
    assert told["totals"]["records"] == len(rows) == 12
    amounts = {
        kind: total([row for row in rows if row["category"] == kind], "amount")
        for kind in ("income", "expense")
    }
    assert told["totals"] | amounts == pytest.approx(told["totals"])
    assert opened(told).pages[0].extract_text().startswith("Financial report")


def opened(told):
    """The PDF that a report says it has written."""
    content = Path(told["path"]).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (told["bytes"], told["sha256"])
    reader = PdfReader(io.BytesIO(content))
    assert len(reader.pages) == told["pages"] >= 3
    return reader


def test_the_sales_report_is_mailed_with_its_file(system, ended):
    told = result(ended, "sales")
    rows = samples(system, "sales_data")
    assert told["totals"]["records"] == len(rows)
    assert told["totals"]["amount"] == pytest.approx(total(rows, "amount"))
    assert opened(told).pages[0].extract_text().startswith("Sales report")
    assert told["mailed"] == {"accepted": ["manager@company.com"], "refused": {}}
    message, item = caught(system, "manager@company.com")
    assert item["subject"] == "Sales report"
    [attached] = message.iter_attachments()
    assert attached.get_content_type() == "application/pdf"
    assert hashlib.sha256(attached.get_content()).hexdigest() == told["sha256"]


# Cleaning, backups, migrations.


def test_the_cleanup_deletes_what_is_older_than_a_week(ended, cache):
    told = result(ended, "cleanup")
    assert [each.name for each in cache.iterdir()] == ["new"]
    assert told["files"] >= 1
    assert told["bytes"] >= 5
    assert not [each for each in told["errors"] if str(cache) in each]


def test_the_backup_is_there_whole_and_only_its_key_opens_it(system, ended, tmp_path):
    told = result(ended, "backup")
    assert (told["encrypted"], told["compressed"], told["verified"]) == (True, True, True)
    [stored] = (system.data_dir / "backups" / "db").iterdir()
    content = stored.read_bytes()
    assert (stored.name, len(content)) == (told["name"], told["stored_bytes"])
    assert hashlib.sha256(content).hexdigest() == told["sha256"]
    checked = verified(system, told)
    assert checked.returncode == 0, checked.stderr
    shown = json.loads(checked.stdout)
    assert (shown["encrypted"], shown["compression"]) == (True, "zstd")
    assert (shown["sha256"], shown["bytes"]) == (told["sha256"], told["bytes"])
    (tmp_path / "key").write_text("0" * 64)
    refused = verified(system, told, "--key-file", str(tmp_path / "key"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "key" in refused.stderr


def verified(system, told, *options):
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
    return subprocess.run(
        [*DAYBOOK, "backup", "verify", "--from", told["destination"] + told["name"], *options],
        env=ours | {"DAYBOOK_DATA_DIR": str(system.data_dir)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_new_database_has_the_rows_of_the_old_one(system, ended):
    told = result(ended, "migration")
    assert told["equal"] is True
    old, new = asyncio.run(_contents(system))
    assert new == old
    assert told["rows_copied"] == sum(map(len, old.values())) > 0
    assert {each["table"].rpartition(".")[2] for each in told["tables"]} == set(old)


async def _contents(system):
    """Table → its rows, of the old database and of the new one."""
    databases = SampleDatabases(system.data_dir / "postgres")
    return [await _rows(databases.url(system.endpoints().postgres, name)) for name in NAMES]


async def _rows(url):
    connection = await asyncpg.connect(url)
    try:
        tables = [
            row["relname"]
            for row in await connection.fetch(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
        ]
        return {name: await connection.fetch(f"SELECT * FROM {name} ORDER BY id") for name in tables}  # noqa: S608
    finally:
        await connection.close()


# What a job can be.


def test_all_types_are_listed_with_what_they_take_and_what_becomes_of_failures(system):
    items = {each["name"]: each for each in system.http.get("/api/v1/job-types").json()["items"]}
    ours = {name: each for name, each in items.items() if each["source"] == "daybook"}
    assert set(ours) == TYPES
    for name, each in ours.items():
        assert each["available"] is True, each["why_not"]
        assert each["retried"], name
        assert each["given_up"], name
        assert each["schema"].keys() & {"properties", "oneOf", "anyOf"}, name


@pytest.mark.parametrize(
    ("job_type", "job_data", "field", "there"),
    [
        (
            "data_processing",
            {"dataset": "nowhere", "operation": "aggregate"},
            "dataset",
            ["financial_data", "legacy_db", "new_db", "sales_data"],
        ),
        (
            "report_generation",
            {"report_type": "dataset", "format": "pdf", "dataset": "nowhere"},
            "dataset",
            ["financial_data", "legacy_db", "new_db", "sales_data"],
        ),
        ("backup_task", {"backup_type": "database", "destination": "s3://nowhere/"}, "destination", ["backups"]),
        (
            "backup_task",
            {"backup_type": "database", "destination": "s3://backups/", "source": "nowhere"},
            "source",
            ["financial_data", "legacy_db", "new_db", "sales_data"],
        ),
        (
            "custom",
            {"operation": "data_migration", "parameters": {"source": "nowhere", "destination": "new_db"}},
            "parameters/source",
            ["legacy_db", "new_db"],
        ),
    ],
)  # fmt: skip
def test_what_is_not_configured_is_refused_with_a_list_of_what_is(system, job_type, job_data, field, there):
    body = {"name": "lost", "job_type": job_type, "job_data": job_data}
    answer = system.http.post("/api/v1/jobs", json=body)
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["pointer"] == f"#/job_data/{field}"
    assert "nowhere" in error["detail"]
    assert (
        error["detail"]
        .removesuffix(" (a file is named by its absolute path)")
        .endswith(f"there are {', '.join(there)}")
    )
