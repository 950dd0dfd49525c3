"""The live API held against its own document, by schemathesis; what each operation answered is counted."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from string import Template

import httpx

from shared.clock import SystemClock
from shared.mail_folder import MailFolder
from tests.acceptance.system import eventually

ROOT = Path(__file__).parents[2]
SLEEPING = 4
RUN_S = 900


def prepare(system):
    """Make what the operations need; the environment that names it."""
    keyed = system.command(
        "keys", "create", "--name", "contract", "--role", "admin", "--owner", "carol", check=True
    )
    token = next(word for word in keyed.stdout.split() if word.startswith("dbk_"))
    with httpx.Client(
        base_url=f"{system.url}/api/v1/", headers={"Authorization": f"Bearer {token}"}, timeout=20
    ) as client:

        def posted(path, body=None):
            return client.post(path, json=body or {}).raise_for_status().json()

        def job(operation, **more):
            data = {"operation": operation, "parameters": more.pop("parameters", {})}
            return posted("jobs", {"name": operation, "job_type": "custom", "job_data": data, **more})["id"]

        made = job("echo", interval_seconds=86_400)
        night = job("sleep", parameters={"seconds": 600}, cron_expression="0 0 * * *")
        backfill = posted(f"jobs/{night}/backfill", {"from": "2026-11-01T00:00:00Z"})["id"]
        yearly = job("echo", cron_expression="0 0 1 1 *")
        doomed = job("echo")
        edited = client.patch(f"jobs/{made}", json={"priority": 8}).raise_for_status()
        failed = posted(f"jobs/{job('fail', max_retries=0)}/trigger")["id"]
        sleeper = job("sleep", parameters={"seconds": 600}, overlap_policy="allow")
        sleeping = [posted(f"jobs/{sleeper}/trigger")["id"] for _ in range(SLEEPING)]
        occurrence = client.get(f"jobs/{yearly}").raise_for_status().json()["next_run_time"]
        everywhere = client.get("events", params={"limit": 1}).raise_for_status().headers["Daybook-Position"]
        eventually(
            lambda: client.get(f"executions/{failed}").json()["status"] == "failed", "the run has failed"
        )
    folder = MailFolder(system.directory / "mail")
    folder.prepare()
    return {
        "DAYBOOK_TOKEN": token,
        "DAYBOOK_MAIL": folder.store(b"Subject: Hello\r\n\r\nWell?\r\n", SystemClock().now()),
        "DAYBOOK_JOB": made,
        "DAYBOOK_YEARLY_JOB": yearly,
        "DAYBOOK_DOOMED_JOB": doomed,
        "DAYBOOK_OCCURRENCE": occurrence,
        "DAYBOOK_POSITION": edited.headers["Daybook-Position"],
        "DAYBOOK_PLACES": everywhere,
        "DAYBOOK_FAILED_RUN": failed,
        "DAYBOOK_BACKFILL": backfill,
        **{f"DAYBOOK_RUN_{number}": run for number, run in enumerate(sleeping, 1)},
    }


def run(system, directory, there, *, amount, seed):
    """Run schemathesis over what is `there`, with these options: its status, what it printed, and its report.

    It takes a core for itself, so it stands back behind the services of tests beside it.
    """
    report, config = directory / "contract.ndjson", directory / "schemathesis.toml"
    config.write_text(Template((ROOT / "schemathesis.toml").read_text()).substitute(there))
    done = subprocess.run(
        [
            "nice", "-n", "15", sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "--no-color",
            "run", f"{system.url}/openapi.json", *amount, "--seed", str(seed),
            "--generation-database", "none", "--report", "ndjson", "--report-ndjson-path", str(report),
        ],
        cwd=directory,
        env=os.environ | there | {"PYTHONPATH": str(ROOT)},  # the hooks spare what others need
        timeout=RUN_S,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr, report


def streams(system, there, operations):
    """What each stream answers, which has no end: operation → its status, and how it begins."""
    told = {}
    for operation in operations:
        path = operation.path.replace("{job_id}", there["DAYBOOK_JOB"])
        headers = {"Authorization": f"Bearer {there['DAYBOOK_TOKEN']}"}
        with httpx.stream("GET", f"{system.url}{path}", headers=headers, timeout=20) as answer:
            kind, first = answer.headers["Content-Type"], next(answer.iter_lines())
        told[f"GET {operation.path}"] = (answer.status_code, kind, first)
    return told


def answered(report):
    """Operation → how many answers of each status."""
    table = {}
    for line in report.read_text().splitlines():
        event = json.loads(line)
        if "LoadingFinished" in event:
            table["GET /openapi.json"] = Counter({200: 1})
        if (finished := event.get("ScenarioFinished")) is None:
            continue
        recorder = finished["recorder"]
        for case, exchange in recorder.get("interactions", {}).items():
            asked = recorder["cases"][case]["value"]
            counts = table.setdefault(f"{asked['method'].upper()} {asked['path']}", Counter())
            counts[exchange["response"]["status_code"] if exchange.get("response") else 0] += 1
    return table


def unanswered(counts, operations):
    """Those that have never done what they are for."""
    return [name for name in operations if not any(200 <= each < 300 for each in counts.get(name, ()))]


def table(counts, operations):
    """The coverage table as text."""
    rows = []
    for name in operations:
        seen = sorted(counts.get(name, {}).items())
        rows.append(f"{name:60} " + " ".join(f"{status}:{count}" for status, count in seen))
    return "\n".join(rows)
