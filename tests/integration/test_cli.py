"""`daybook jobs`, `runs` and `apply` over an API that listens, on real servers."""

import asyncio
import json
import re
import stat
import tempfile

import httpx
import pytest

from services.api import switches
from services.cli import client, editing, following
from services.cli.yaml_text import load
from shared.domain.commands import FailRun, Output, StartRun, SucceedRun
from shared.domain.events import Failure
from shared.testing import TESTER

from .api_stage import JOB, stage_on
from .cli_kit import Line, listening, process
from .test_api_auth import key_of

DATA = json.dumps(JOB["job_data"])
MAKE = ("jobs", "create", "--type", "custom", "--data", DATA)


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def daybook(stage):
    async with listening(stage.app) as url:
        yield Line(url)


def job_at(stage, job_id):
    return stage.ask("GET", f"jobs/{job_id}", status=200)


async def test_windows_are_options_and_an_occurrence_is_skipped_and_not_skipped_after_all(stage, daybook):
    said = await daybook(
        *MAKE, "--name", "spread", "--every", "1h", "--jitter", "5m", "--exclude", "2090-12-25",
        "--exclude", "2090-12-31..2091-01-01", "-o", "json",
    )  # fmt: skip
    job = json.loads(said.stdout)
    exclude = ["2090-12-25", {"from": "2090-12-31", "to": "2091-01-01"}]
    assert (job["jitter_seconds"], job["exclude"]) == (300, exclude)
    plain = await stage.create(interval_seconds=3600)
    at = plain["next_run_time"]
    skipped = await daybook("jobs", "skip", plain["id"], at, "--reason", "move", "-o", "json")
    assert [(each["scheduled_for"], each["reason"]) for each in json.loads(skipped.stdout)["skipped"]] == [
        (at, "move")
    ]
    back = json.loads((await daybook("jobs", "unskip", plain["id"], at, "-o", "json")).stdout)
    assert (back["skipped"], back["next_run_time"]) == ([], at)
    refused = await daybook("jobs", "skip", plain["id"], plain["created_at"], status=1)
    assert at in refused.stderr


async def test_a_job_is_made_shown_paused_resumed_run_and_deleted(stage, daybook):
    said = await daybook(
        *MAKE, "--name", "Weekly tidy", "--cron", "0 3 * * 1", "--timezone", "Europe/Vienna", "--tag", "a",
        "--tag", "b", "--timeout", "5m", "-o", "json",
    )  # fmt: skip
    job = json.loads(said.stdout)
    assert said.stderr == "Made Weekly tidy.\n"
    assert (job["timeout_seconds"], job["tags"], job["job_data"]) == (300, ["a", "b"], JOB["job_data"])
    job_id = job["id"]
    table = (await daybook("jobs", "list")).stdout.splitlines()
    assert re.split(r"  +", table[0]) == ["ID", "NAME", "TYPE", "STATUS", "SCHEDULE", "NEXT RUN", "OWNER"]
    cells = re.split(r"  +", table[1])
    assert cells[:5] == [job_id, "Weekly tidy", "custom", "pending", "0 3 * * 1 Europe/Vienna"]
    assert json.loads((await daybook("jobs", "list", "-o", "json")).stdout) == [job]
    assert load((await daybook("jobs", "get", job_id, "-o", "yaml")).stdout) == job
    assert "Weekly tidy" in (await daybook("jobs", "get", job_id)).stdout
    paused = json.loads((await daybook("jobs", "pause", job_id, "--reason", "why", "-o", "json")).stdout)
    assert paused["paused"]["reason"] == "why"
    assert json.loads((await daybook("jobs", "resume", job_id, "-o", "json")).stdout)["paused"] is None
    run = json.loads(
        (await daybook("jobs", "trigger", job_id, "--priority", "9", "--data", "{}", "-o", "json")).stdout
    )
    assert (run["job_id"], run["priority"]) == (job_id, 9)
    await daybook("jobs", "delete", job_id, given="n\n", status=1)
    await job_at(stage, job_id)
    assert (await daybook("jobs", "delete", job_id, given="y\n")).stdout == ""
    missing = await daybook("jobs", "delete", "--yes", job_id, status=4)
    assert missing.stderr.startswith("Error: There is no such thing. There is no job with this id")
    await daybook("jobs", "get", "../../health", status=4)


async def test_jobs_are_paused_and_resumed_together_however_many_requests_that_takes(
    stage, daybook, monkeypatch
):
    monkeypatch.setattr(switches, "LOOKED_MAX", 2)
    for number in range(5):
        await stage.create(name=f"job {number}", tags=["night"], interval_seconds=3600)
    until = ("--until", "2030-01-31T09:00:00+01:00", "--catch-up", "latest")
    said = await daybook("jobs", "pause", "--tag", "night", "--dry-run")
    assert said.stderr == "Would have paused 5 jobs; 0 stayed as they were.\n"
    said = await daybook("jobs", "pause", "--tag", "night", "--reason", "move", *until, "-o", "json")
    told = json.loads(said.stdout)
    assert (told["changed"], told["next_cursor"], told["dry_run"]) == (5, None, False)
    assert said.stderr == "Paused 5 jobs; 0 stayed as they were.\n"
    (job, *_) = json.loads((await daybook("jobs", "list", "--status", "paused", "-o", "json")).stdout)
    assert job["paused"] | {"at": "", "by": ""} == {
        "at": "", "by": "", "reason": "move", "until": "2030-01-31T08:00:00.000Z", "catch_up": "latest",
        "switch": "tag:night",
    }  # fmt: skip
    await daybook("jobs", "resume", job["id"], "--catch-up", "skip")
    said = await daybook("jobs", "resume", "--tag", "night")
    assert said.stderr == "Resumed 4 jobs; 0 stayed as they were.\n"
    assert (await daybook("jobs", "pause", "--all")).stderr.startswith("Paused 5 jobs")
    for words in (
        ("pause",),
        ("pause", "x", "--all"),
        ("resume", "--all", "--tag", "a"),
        ("pause", "x", "--dry-run"),
    ):
        assert "Error" in (await daybook("jobs", *words, status=2)).stderr


async def test_lists_are_walked_to_their_end_or_to_a_limit(stage, daybook, monkeypatch):
    monkeypatch.setattr(client, "PAGE", 3)
    for number in range(7):
        await stage.create(name=f"job {number}")
    names = [
        each["name"] for each in json.loads((await daybook("jobs", "list", "--all", "-o", "json")).stdout)
    ]
    assert names == [f"job {number}" for number in reversed(range(7))]
    assert len(json.loads((await daybook("jobs", "list", "--limit", "5", "-o", "json")).stdout)) == 5
    assert (await daybook("jobs", "list", "--status", "paused", "-o", "json")).stdout == "[]\n"


async def test_refusals_are_sentences_on_stderr_and_tell_where(stage, daybook):
    said = await daybook(*MAKE, "--name", "x", "--cron", "0 0 30 2 *", "--priority", "11", status=1)
    assert said.stdout == ""
    assert said.stderr.splitlines()[0] == "Error: The request means nothing here."
    assert "  #/priority: " in said.stderr
    for words, sentence in (
        (("jobs", "create"), "Say what job"),
        ((*MAKE, "--every", "soon"), "is no time"),
        (("jobs", "create", "--data", "[1]"), "is no object"),
        (("jobs", "create", "--data", "{"), "is no JSON"),
        (("jobs", "edit", "x", "--set", "a=1", "-f", "y"), "Say one of"),
        (("apply", "-f", "nowhere.yaml"), "nowhere.yaml"),
    ):
        assert sentence in (await daybook(*words, status=2)).stderr
    (run,) = [await stage.ask("POST", f"jobs/{(await stage.create())['id']}/trigger", status=201)]
    refused = await daybook("runs", "retry", run.json["id"], status=1)
    assert "The execution is queued" in refused.stderr


async def test_control_characters_in_names_are_told_not_obeyed(stage, daybook):
    await stage.create(name="\x1b[31mred\x07 [bold]")
    table = (await daybook("jobs", "list")).stdout
    assert "\\x1b[31mred\\x07 [bold]" in table
    assert "\x1b" not in table


async def test_edits_by_set_and_from_a_file_go_out_on_the_revision_that_was_read(stage, daybook, tmp_path):
    job_id = (await stage.create())["id"]
    done = await daybook(
        "jobs", "edit", job_id, "--set", "priority=7", "--set", "job_data.parameters.n=2", "--set", "tags=[a, b]",
        "-o", "json",
    )  # fmt: skip
    job = json.loads(done.stdout)
    assert (job["priority"], job["tags"], job["revision"]) == (7, ["a", "b"], 2)
    assert job["job_data"] == {"operation": "echo", "parameters": {"n": 2}}
    file = tmp_path / "job.yaml"
    file.write_text(
        (await daybook("jobs", "get", job_id, "-o", "yaml")).stdout.replace("priority: 7", "priority: 1")
    )
    assert (
        json.loads((await daybook("jobs", "edit", job_id, "-f", str(file), "-o", "json")).stdout)["priority"]
        == 1
    )
    await daybook("jobs", "edit", job_id, "--set", "priority=99", status=1)


def editor(tmp_path, program):
    """A program that changes the text it is given."""
    path = tmp_path / "editor"
    path.write_text(
        f"#!/usr/bin/env python3\nimport sys\nfrom pathlib import Path\nfile = Path(sys.argv[1])\n{program}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def test_an_edit_in_an_editor_changes_what_was_changed(stage, daybook, tmp_path):
    job_id = (await stage.create(tags=["x"], job_data=JOB["job_data"] | {"parameters": {"n": 1, "m": 2}}))[
        "id"
    ]
    change = editor(
        tmp_path,
        "text = file.read_text()\nassert 'revision: ' not in text\n"
        "file.write_text(text.replace('priority: 5', 'priority: 6').replace('    m: 2\\n', ''))",
    )
    await daybook("jobs", "edit", job_id, EDITOR=change)
    job = (await job_at(stage, job_id)).json
    assert (job["priority"], job["job_data"]["parameters"], job["tags"]) == (6, {"n": 1}, ["x"])
    null = editor(tmp_path, "file.write_text(file.read_text().replace('    n: 1', '    n: null'))")
    await daybook("jobs", "edit", job_id, EDITOR=null)
    assert (await job_at(stage, job_id)).json["job_data"]["parameters"] == {"n": None}
    for idle in ("pass", "file.write_text('')", "file.write_text('# nothing')"):
        said = await daybook("jobs", "edit", job_id, EDITOR=editor(tmp_path, idle))
        assert said.stderr == "Nothing was changed.\n"
    assert (await job_at(stage, job_id)).json["revision"] == 3


async def test_what_somebody_else_has_edited_is_not_overwritten_and_the_text_is_kept(
    stage, daybook, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    job_id = (await stage.create())["id"]
    url = daybook.variables["DAYBOOK_URL"]
    meddle = editor(
        tmp_path,
        f"import urllib.request as r\n"
        f"r.urlopen(r.Request('{url}/api/v1/jobs/{job_id}', method='PATCH', data=b'{{\"priority\": 2}}',"
        " headers={'Content-Type': 'application/json'}))\n"
        "file.write_text(file.read_text().replace('priority: 5', 'priority: 6'))",
    )
    said = await daybook("jobs", "edit", job_id, EDITOR=meddle, status=1)
    assert "nothing was overwritten" in said.stderr
    path = re.search(r"is in (\S+):", said.stderr)[1]
    assert path.startswith(str(tmp_path))
    assert (await job_at(stage, job_id)).json["priority"] == 2
    await daybook("jobs", "edit", job_id, "-f", path)
    assert (await job_at(stage, job_id)).json["priority"] == 6


def test_a_merge_patch_says_what_differs():
    old = {"a": 1, "b": {"c": 1, "d": [1]}, "e": 2}
    assert editing.patch_of(old, {"a": 1, "b": {"c": 2, "d": [1]}}) == {"b": {"c": 2}, "e": None}
    assert editing.patch_of(old, old) == {}


# Executions.


async def a_run(stage, **job):
    made = await stage.create(**{"max_retries": 0, "overlap_policy": "allow"} | job)
    return (await stage.ask("POST", f"jobs/{made['id']}/trigger", status=201)).json["id"]


def decide(stage, run_id, command):
    return stage.deps.decider.decide(f"run:{run_id}", command, TESTER)


async def fail(stage, run_id, text="said\n"):
    fence = (await decide(stage, run_id, StartRun(worker="w1"))).after.fence
    error = Failure(class_="OSError", message="no")
    out = Output(text=text)
    await decide(stage, run_id, FailRun(fence=fence, error=error, names=("OSError",), draw=0.5, output=out))
    await stage.level()


async def test_executions_are_listed_shown_cancelled_and_retried(stage, daybook):
    one, two = await a_run(stage, name="one"), await a_run(stage, name="two")
    await fail(stage, one)
    rows = [re.split(r"  +", line) for line in (await daybook("runs", "list")).stdout.splitlines()]
    assert [row[1:3] for row in rows] == [["JOB", "STATUS"], ["two", "queued"], ["one", "failed"]]
    assert rows[2][-1] == "OSError"
    only = json.loads((await daybook("runs", "list", "--status", "failed", "-o", "json")).stdout)
    assert [each["id"] for each in only] == [one]
    assert json.loads((await daybook("runs", "get", one, "-o", "json")).stdout)["error"]["class"] == "OSError"
    assert (await daybook("runs", "output", one)).stdout == "said\n"
    assert load((await daybook("runs", "output", one, "-o", "yaml")).stdout)["attempts"] == [1]
    await daybook("runs", "output", one, "--attempt", "2", status=4)
    assert (await daybook("runs", "output", two)).stdout == ""
    gone = json.loads((await daybook("runs", "cancel", two, "--reason", "no need", "-o", "json")).stdout)
    assert (gone["status"], gone["cancel"]["reason"]) == ("cancelled", "no need")
    again = json.loads((await daybook("runs", "retry", one, "-o", "json")).stdout)
    assert (again["of"], again["trigger"]) == (one, "retry")


async def test_an_execution_is_followed_to_its_end_and_the_status_tells_its_outcome(
    stage, daybook, monkeypatch
):
    monkeypatch.setattr(following, "EVERY_S", 0.05)
    good, bad = await a_run(stage), await a_run(stage)
    await fail(stage, bad)
    said = await daybook("runs", "tail", bad, status=5)
    assert said.stdout == "said\n"
    assert "failed, attempt 1 of 1, OSError: no" in said.stderr
    followed = asyncio.create_task(daybook("runs", "tail", good, "-o", "json"))
    fence = (await decide(stage, good, StartRun(worker="w1"))).after.fence
    await decide(stage, good, SucceedRun(fence=fence, result=7, output=Output(text="well")))
    said = await followed
    assert json.loads(said.stdout)["result"] == 7
    assert "succeeded, attempt 1 of 1" in said.stderr
    assert "well\n" in said.stderr
    await daybook("runs", "tail", "x", status=4)


async def test_events_are_listed_and_followed_from_a_position(stage, daybook):
    job = await stage.create()
    await stage.ask("POST", f"jobs/{job['id']}/pause", status=200)
    (made, paused) = reversed(
        json.loads((await daybook("events", "list", "--job", job["id"], "--all", "-o", "json")).stdout)
    )
    assert [made["type"], paused["type"]] == ["io.daybook.job.created", "io.daybook.job.paused"]
    said = await daybook(
        "events", "tail", "--job", job["id"], "--after", made["sequence"], "--limit", "1", "-o", "json"
    )
    assert json.loads(said.stdout) == paused


# Files.


FILE = """\
jobs:
  - &base
    name: first
    job_type: custom
    job_data: {operation: echo}
    run_at: 2199-01-01T00:00:00Z
  - <<: *base
    name: "on"
---
name: third
job_type: custom
job_data: {operation: echo, parameters: {at: 12:30, yes: no}}
"""


async def test_files_are_applied_and_a_dry_run_shows_what_differs(stage, daybook, tmp_path):
    file = tmp_path / "jobs.yaml"
    file.write_text(FILE)
    would = await daybook("apply", "-f", str(file), "--dry-run", status=5)
    assert [line.split("  ")[0] for line in would.stdout.splitlines()] == [
        "+ create first", "+ create on", "+ create third",
    ]  # fmt: skip
    assert would.stderr == "Would be: 3 created, 0 updated, 0 unchanged, 0 deleted.\n"
    done = json.loads((await daybook("apply", "-f", str(file), "-o", "json")).stdout)
    assert done["created"] == 3
    third = (await job_at(stage, done["items"][2]["id"])).json
    assert third["job_data"]["parameters"] == {"at": "12:30", "yes": "no"}
    assert (await daybook("apply", "-f", str(file), "--dry-run")).stdout == ""
    more = json.dumps([{"name": "more", "job_type": "custom", "job_data": {"operation": "echo"}}])
    file.write_text(FILE.replace("12:30", "13:30"))
    both = await daybook("apply", "-f", str(file), "-f", "-", given=more)
    lines = both.stdout.splitlines()
    assert lines[0].startswith("~ update third")
    assert lines[1:3] == [
        '    - /job_data/parameters/at: "12:30"', '    + /job_data/parameters/at: "13:30"',
    ]  # fmt: skip
    assert lines[3].startswith("+ create more")
    pruned = await daybook("apply", "-f", str(file), "--prune")
    assert pruned.stdout.startswith("- delete more")


async def test_what_is_wrong_in_files_is_told_by_file_and_job(stage, daybook, tmp_path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.json"
    one.write_text(FILE)
    two.write_text('[{"name": "x", "job_type": "custom", "priority": 11, "job_data": {"operation": "echo"}}]')
    said = await daybook("apply", "-f", str(one), "-f", str(two), status=1)
    assert f"{two}, job 1 (x): /priority: " in said.stderr
    two.write_text('{"name": "first"}')
    assert "is the name of" in (await daybook("apply", "-f", str(one), "-f", str(two), status=2)).stderr
    for text, sentence in (
        ("", "no job"),
        ("a: 1\na: 2", "stands twice"),
        ("- 1", "is not an object"),
        ("{", "while parsing"),
        ("? [a]\n: 1", "a key is a text"),
    ):
        one.write_text(text)
        assert sentence in (await daybook("apply", "-f", str(one), status=2)).stderr
    assert (await stage.ask("GET", "jobs", status=200)).json["total"] == 0


# Reaching the API.


async def test_a_post_whose_answer_was_lost_is_sent_again_and_done_once(stage, daybook, monkeypatch):
    ask, lost = httpx.Client.request, []

    def losing(self, method, url, **told):
        answer = ask(self, method, url, **told)
        if method == "POST" and len(lost) < 2:
            lost.append(told["headers"]["Idempotency-Key"])
            raise httpx.ReadError("cut off")
        return answer

    monkeypatch.setattr(httpx.Client, "request", losing)
    job = json.loads((await daybook(*MAKE, "--name", "once", "-o", "json")).stdout)
    assert len(lost) == 2
    assert len(set(lost)) == 1
    listed = (await stage.ask("GET", "jobs", status=200)).json
    assert [each["id"] for each in listed["items"]] == [job["id"]]


async def test_a_busy_api_is_asked_again_when_it_says_and_an_absent_one_is_told(daybook, monkeypatch):
    answers, waits = [503, 429, 200], []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)

    def busy(_self, method, url, **_):
        status = answers.pop(0)
        body = {"items": [], "next_cursor": None} if status == 200 else {"title": "Busy"}
        return httpx.Response(
            status, json=body, headers={"Retry-After": "3"}, request=httpx.Request(method, "http://x")
        )

    with monkeypatch.context() as patched:
        patched.setattr(httpx.Client, "request", busy)
        assert (await daybook("jobs", "list", "-o", "json")).stdout == "[]\n"
    assert waits == [3, 3]
    said = await daybook("jobs", "list", status=3, DAYBOOK_URL="http://127.0.0.1:1")
    assert "can't be reached" in said.stderr
    assert (await daybook("jobs", "list", status=3, DAYBOOK_URL="nonsense")).stderr.startswith("Error: ")
    assert len(waits) > 4


async def test_processes_find_the_api_send_the_token_and_colour_nothing_in_a_pipe(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on") as stage, listening(stage.app) as url:
        key = await key_of(stage, "editor")
        made = await process(
            *MAKE, "--name", "by a process", "-o", "json", DAYBOOK_URL=url, DAYBOOK_TOKEN=key
        )
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["owner"] == "ann"
        endpoints = {"pid": 1, "api": url, "redis": "", "postgres": "", "services": {}}
        (tmp_path / "endpoints.json").write_text(json.dumps(endpoints))
        found = await process("jobs", "list", "--token", key, DAYBOOK_DATA_DIR=str(tmp_path))
        assert "by a process" in found.stdout
        assert "\x1b" not in found.stdout
        nobody = await process("jobs", "list", "--url", url)
        assert (nobody.returncode, nobody.stdout) == (1, "")
        assert "Nobody is known to send this" in nobody.stderr
    nothing = await process("jobs", "list", DAYBOOK_DATA_DIR=str(tmp_path / "empty"))
    assert nothing.returncode == 3
    assert "Nothing runs over" in nothing.stderr


async def test_shells_get_their_completion():
    for shell in ("bash", "zsh", "fish"):
        assert "_DAYBOOK_COMPLETE" in (await Line("")("completion", shell)).stdout
    await Line("")("completion", "sh", status=2)
    done = await process(_DAYBOOK_COMPLETE="bash_complete", COMP_WORDS="daybook jobs tr", COMP_CWORD="2")
    assert "trigger" in done.stdout
