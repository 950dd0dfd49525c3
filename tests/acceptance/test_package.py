"""What `pip install` brings is the whole of Daybook, on each Python that it is for."""

import fnmatch
import sys
import tomllib
from pathlib import Path

import pytest

from shared.settings import Settings

from .installed import (
    PACKAGES,
    ROOT,
    Environment,
    InstalledDaybook,
    build_wheel,
    contents,
    files_in_git,
    python,
)

PYTHONS = ("3.11", "3.12", "3.13")
DATA = (".lua", ".sql", ".html", "py.typed")
SUBCOMMANDS = ("up", "api", "timer", "executor", "projector", "migrate", "config")


@pytest.fixture(scope="module")
def shipped():
    """The files of the packages, as a clone has them."""
    names = files_in_git()
    if names is None:
        pytest.skip("this is no git checkout: what belongs to the tree is unknown")
    return [name for name in names if name.startswith(tuple(f"{each}/" for each in PACKAGES))]


@pytest.fixture(scope="module")
def wheel(shipped, tmp_path_factory):
    frame = ["pyproject.toml", "README.md"]
    return build_wheel([*shipped, *frame], tmp_path_factory.mktemp("wheel"))


def test_every_file_beside_the_code_is_declared_as_package_data():
    packaging = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    globs, folders = packaging["package-data"]["*"], packaging["packages"]["find"]["include"]
    beside = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    ]
    forgotten = [
        str(path)
        for path in beside
        if not any(fnmatch.fnmatch(path.name, glob) for glob in globs)
        or not any(fnmatch.fnmatch(".".join(path.parent.parts), folder) for folder in folders)
        or not all(part.isidentifier() for part in path.parent.parts)  # else it is no package to setuptools
    ]
    assert beside
    assert not forgotten, f"package-data in pyproject.toml has no pattern for {forgotten}"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_wheel_holds_the_packages_of_the_tree_and_nothing_else(wheel, shipped):
    assert contents(wheel) == shipped
    for kind in DATA:
        assert any(name.endswith(kind) for name in shipped), kind


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", PYTHONS)
def test_an_installed_daybook_runs_a_job_and_leaves_nothing_behind(wheel, tmp_path, version):
    base = python(version)
    if base is None:
        pytest.skip(f"no Python {version} on PATH or under ~/.pyenv/versions")
    environment = Environment(base, tmp_path).install(wheel)
    assert environment.origin().is_relative_to(environment.bin.parent / "lib" / f"python{version}")
    _answers_its_command_line(environment)
    daybook = InstalledDaybook(environment, tmp_path / "data")
    try:
        daybook.start_up()
        _shows_its_pages(daybook)
        _runs_a_job(daybook)
        _ends_with_all_it_started(daybook)
    finally:
        daybook.close()


def _answers_its_command_line(environment):
    known = environment.daybook("--help")
    for name in SUBCOMMANDS:
        assert name in known
        assert "Usage: daybook" in environment.daybook(name, "--help")
    assert "0.1.0" in environment.daybook("--version")
    told = environment.daybook("config").replace("\n", "")
    assert "PARTITIONS" in told
    assert len(Settings.model_fields) <= told.count("DAYBOOK_")


def _shows_its_pages(daybook):
    for path in ("/docs/", "/openapi.json", "/metrics", "/api/v1/job-types"):
        answer = daybook.http.get(path)
        assert (path, answer.status_code) == (path, 200)
    assert daybook.http.get("/openapi.json").json()["openapi"].startswith("3.1")
    assert daybook.http.get("/health").json()["status"] == "healthy"


def _runs_a_job(daybook):
    job = daybook.create(name="by hand", job_data={"operation": "echo", "parameters": {"hello": "wheel"}})
    assert daybook.http.post(f"/api/v1/jobs/{job['id']}/trigger").status_code == 201
    daybook.wait_until(lambda: daybook.executions(job), "the execution")
    (run,) = daybook.executions(job)
    assert run["result"] == {"hello": "wheel"}


def _ends_with_all_it_started(daybook):
    services = {each.pid for each in daybook.endpoints().services.values()}
    if sys.platform == "linux":
        assert daybook.processes() > services | {daybook.process.pid}
    assert daybook.end() == 0, daybook.said()
    assert daybook.endpoints() is None
    if sys.platform == "linux":
        assert daybook.processes() == set()
    assert not list(Path(daybook.data_dir).rglob("*.pid"))
