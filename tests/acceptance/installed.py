"""Daybook as others get it: a wheel of what git knows, in an empty environment of some Python."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from shared.embedded import processes

from .test_up import Daybook

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("services", "shared")
PIP = ("-m", "pip", "--disable-pip-version-check")
BUILD_S = 240  # setuptools comes from the index into an environment of its own
INSTALL_S = 400  # two database servers are among what is downloaded
COMMAND_S = 60
ONLY_OURS = "import ensurepip, sys, venv; print('{}.{}'.format(*sys.version_info))"


def files_in_git():
    """What a clone would have (names from the root of the tree), or None where git doesn't say."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        told = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return sorted({name for name in told.split("\0") if name and (ROOT / name).is_file()})


def build_wheel(names, directory):
    """Build the wheel from a copy of `names`: the working tree's caches and leftovers are not in it."""
    tree, out = directory / "tree", directory / "dist"
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    _run([sys.executable, *PIP, "wheel", "--no-deps", "--wheel-dir", out, tree], directory, BUILD_S)
    (wheel,) = out.glob("daybook-*.whl")
    return wheel


def contents(wheel):
    """Names of the files in a wheel, without those that describe it."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    return sorted(name for name in names if ".dist-info/" not in name)


def python(version):
    """The path of a Python `version` ("3.12") that can make environments; None if this machine has none."""
    places = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for place in filter(None, places):
        told = subprocess.run([place, "-c", ONLY_OURS], capture_output=True, text=True, check=False)
        if told.stdout.strip() == version:  # a shim of pyenv is there for versions it can't start, too
            return Path(place)
    return None


def constraints(directory):
    """The versions of requirements.lock, without its hashes: pip takes none for a constraint."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [re.sub(r"\s*\\$", "", line) for line in lines if re.match(r"[A-Za-z0-9]", line)]
    written = directory / "constraints.txt"
    written.write_text("\n".join(pins) + "\n")
    return written


class Environment:
    """An empty virtual environment, into which the wheel is installed."""

    def __init__(self, base, directory):
        self._base, self._directory = base, directory
        self.bin = directory / "venv" / "bin"

    def install(self, wheel):
        """Install `wheel` with the versions of the lock."""
        _run([self._base, "-m", "venv", self.bin.parent], self._directory, COMMAND_S)
        pinned = ["--constraint", constraints(self._directory)]
        _run([self.bin / "python", *PIP, "install", "--quiet", *pinned, wheel], self._directory, INSTALL_S)
        return self

    def daybook(self, *arguments):
        """What `daybook` with these arguments prints, called from `/`."""
        return _run([self.bin / "daybook", *arguments], "/", COMMAND_S)

    def origin(self):
        """Where `services` is imported from."""
        told = _run([self.bin / "python", "-c", "import services; print(services.__file__)"], "/", COMMAND_S)
        return Path(told.strip())


class InstalledDaybook(Daybook):
    """A system from an environment's `daybook`, started in `/`: nothing of the source tree is near."""

    def __init__(self, environment, data_dir):
        super().__init__(data_dir)
        self._environment = environment

    def start(self, *options, **variables):
        settings = {"DAYBOOK_DATA_DIR": str(self.data_dir), "DAYBOOK_PORT": str(processes.free_port())}
        self.process = subprocess.Popen(
            [self._environment.bin / "daybook", "up", *options],
            cwd="/",
            env=_surroundings() | settings | variables,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )
        return self

    def processes(self):
        """Pids of all that belongs to it: by command line, environment or working directory. Linux only."""
        pids = [int(each.name) for each in Path("/proc").glob("[0-9]*")]
        return {pid for pid in pids if self._owns(pid)}

    def _owns(self, pid):
        told = f"DAYBOOK_DATA_DIR={self.data_dir}"
        return (
            str(self.data_dir) in processes.command_line(pid)
            or processes.has_variable(pid, told)
            or _working_directory(pid).is_relative_to(self.data_dir)
        )


def _working_directory(pid):
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:  # gone, or another user's
        return Path("/")


def _surroundings():
    """This process's environment without what would lead an installed Daybook back to the tree."""
    ours = ("DAYBOOK_", "PYTHON", "COVERAGE", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _run(command, directory, timeout_s):
    done = subprocess.run(
        command,
        cwd=directory,
        env=_surroundings(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
