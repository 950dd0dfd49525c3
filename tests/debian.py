"""Programs and libraries that no wheel brings, out of Debian's packages: unpacked, not installed, so without root."""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STORE = Path(sys.prefix) / "debian"
DOWNLOAD_S = 300


def program(name: str, *packages: str) -> str:
    """The path of `name`: the machine's own if it has one, else out of `packages`, fetched once and kept.

    Args:
        name: as it is called in a shell, `promtool`.
        packages: the package that has it and those of its libraries that a machine may lack.

    The test that asks is skipped, with the reason, where there is neither the program nor Debian's apt.
    """
    found = shutil.which(name)
    if found:
        return found
    _have(name, *packages)
    for folder in ("usr/bin", "usr/sbin"):
        for package in packages:
            if (STORE / package / folder / name).exists():
                return str(STORE / package / folder / name)
    raise FileNotFoundError(f"none of {packages} has {name}")


def library(name: str, package: str) -> str:
    """The path of a library that is preloaded, `libfaketime.so.1`; otherwise as `program`."""
    roots = [Path("/usr/lib"), Path("/usr/local/lib")]
    if not any(path for root in roots for path in root.glob(f"**/{name}")):
        _have(name, package)
    found = [path for root in (*roots, STORE / package) for path in sorted(root.glob(f"**/{name}"))]
    if not found:
        raise FileNotFoundError(f"{package} has no {name}")
    return str(found[0])


def _have(name: str, *packages: str) -> None:
    """Have the packages unpacked; skip the test where that can't be."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        pytest.skip(
            f"needs {name}: installed, or on a Debian system where apt-get fetches {' '.join(packages)}"
        )
    STORE.mkdir(exist_ok=True)
    with (STORE / "lock").open("w") as lock:  # tests run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        for package in packages:
            _unpack(package)


def _unpack(package: str) -> None:
    """Have the files of `package` in the store, all or none."""
    if (STORE / package).exists():
        return
    fetched = STORE / f"{package}.part"
    shutil.rmtree(fetched, ignore_errors=True)
    fetched.mkdir()
    fetch = ["apt-get", "download", "-qq", package]
    options = {"cwd": fetched, "timeout": DOWNLOAD_S, "capture_output": True, "text": True}
    if subprocess.run(fetch, check=False, **options).returncode:  # a bare system has no lists yet
        subprocess.run(["apt-get", "update", "-qq"], check=False, **options)
        done = subprocess.run(fetch, check=False, **options)
        if done.returncode:
            raise RuntimeError(f"{' '.join(fetch)} failed: {done.stderr}")
    (archive,) = fetched.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(archive), str(fetched)], check=True, timeout=DOWNLOAD_S)
    archive.unlink()
    fetched.rename(STORE / package)
