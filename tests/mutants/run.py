"""`make mutants`: takes each guard out of a copy of the tree and shows which test misses it.

Two copies run at a time, each with servers of its own; the working tree is never touched. It ends with 1 if a guard
is missed by no test, or can't be taken out. Each test also runs with all guards in place, alone as without one:
if it fails there, "caught" would mean nothing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from guards import GUARDS, Guard

ROOT = Path(__file__).parents[2]
COPIED = ("services", "shared", "tests", "deploy", "pyproject.toml")
WORKERS = 2
TEST_S = 40  # a test that hangs without its guard has missed it too
RUN_S = 120
NAME = max(len(guard.name) for guard in GUARDS) + 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run of tests showed: `failed` is the first test that did, `trouble` why that can't be told."""

    failed: str = ""
    trouble: str = ""
    seconds: float = 0.0


def main(arguments: Sequence[str]) -> int:
    """Run the mutants that `arguments` names, or all; return the exit status."""
    chosen = _chosen(arguments)
    if not chosen:
        return 0
    if faults := [fault for guard in chosen if (fault := guard.fault(ROOT))]:
        print("\n".join(faults), file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="daybook-mutants-") as where:
        return _run(chosen, Path(where))


def _chosen(arguments: Sequence[str]) -> list[Guard]:
    parser = argparse.ArgumentParser(prog="make mutants", description="Takes guards out, one at a time.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="guards to take out; all if none is named")
    parser.add_argument("--list", action="store_true", help="list them, and run nothing")
    asked = parser.parse_args(arguments)
    known = {guard.name: guard for guard in GUARDS}
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"no guard is named {', '.join(unknown)}; there are {', '.join(known)}")
    if asked.list:
        for guard in GUARDS:
            print(f"{guard.name:<{NAME}}{guard.protects}  [{guard.file}]")
        return []
    return [known[name] for name in asked.names] or list(GUARDS)


def _run(chosen: Sequence[Guard], where: Path) -> int:
    base = where / "base"  # one state of the tree for all, though somebody may be working in it
    base.mkdir()
    for name in COPIED:
        _copy(ROOT / name, base / name)
    print(f"{'guard':<{NAME}}{'outcome':<10}{'s':>4}  what it protects, and which test missed it", flush=True)
    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(lambda guard: _tried(guard, base, where / guard.name), chosen)
        caught = [_told(guard, result) for guard, result in zip(chosen, results, strict=True)].count(True)
    print(f"{caught} of {len(chosen)} caught, by tests that pass when nothing is taken out")
    return 0 if caught == len(chosen) else 1


def _tried(guard: Guard, base: Path, tree: Path) -> Result:
    """Test with the guard, in the very same way, then without it."""
    intact = _tested(base, guard.tests)
    if intact.failed or intact.trouble:
        return Result(trouble=f"with every guard in place: {intact.failed or intact.trouble} failed")
    return _without(guard, base, tree)


def _without(guard: Guard, base: Path, tree: Path) -> Result:
    """Test a copy of the tree without the guard."""
    shutil.copytree(base, tree)
    guard.take_out(tree)
    try:
        return _tested(tree, guard.tests)
    finally:
        shutil.rmtree(tree)


def _tested(tree: Path, tests: Sequence[str]) -> Result:
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    if trouble := _imports_elsewhere(tree, environment):
        return Result(trouble=trouble)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-r", "f", "-p", "no:cacheprovider"]
    started_at = time.monotonic()
    try:
        done = subprocess.run(
            [*command, f"--timeout={TEST_S}", *tests],
            cwd=tree, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Result(trouble=f"not finished within {RUN_S} s")
    seconds = time.monotonic() - started_at
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode == 0:
        return Result(seconds=seconds)
    if done.returncode == 1 and failed:
        return Result(failed=failed[0].rpartition("::")[2], seconds=seconds)
    return Result(trouble=(done.stdout + done.stderr)[-3000:], seconds=seconds)


def _imports_elsewhere(tree: Path, environment: dict[str, str]) -> str:
    """Why the tests would not be of this tree; '' if they are. An editable install points at the working tree."""
    asked = "import services, shared; print(*services.__path__, *shared.__path__, sep='\\n')"
    told = subprocess.run(
        [sys.executable, "-c", asked], cwd=tree, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    elsewhere = [path for path in told if not Path(path).is_relative_to(tree)]
    return f"the code under test is that of {', '.join(elsewhere)}, not of the copy" if elsewhere else ""


def _told(guard: Guard, result: Result) -> bool:
    """Print a guard's row; return whether it was caught."""
    outcome = "caught" if result.failed else "BROKEN" if result.trouble else "SURVIVED"
    print(f"{guard.name:<{NAME}}{outcome:<10}{result.seconds:>4.0f}  {guard.protects}")
    print(f"{'':<{NAME + 16}}by {result.failed}" if result.failed else "", end="\n" if result.failed else "")
    print(result.trouble, end="\n" if result.trouble else "", flush=True)
    return bool(result.failed)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)  # compiled files too: they save a second a copy
    else:
        shutil.copy2(source, target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
