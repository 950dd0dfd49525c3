"""A guard of the code, and how it is taken out.

It is an exact text that stands once in its file. Where that text changes, `tests/integration/test_mutants.py`
fails until it is adapted here: a mutant that can't be made would catch nothing, in silence.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A guard, and how it is taken out.

    `text` in `file` is replaced by `instead`; then one of `tests` must fail. `protects` names the trace.
    """

    name: str
    protects: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]

    def fault(self, root: Path) -> str | None:
        """Why it can't be taken out of the tree at `root`, or None."""
        file = root / self.file
        found = file.read_text().count(self.text) if file.exists() else 0
        if found == 1:
            return None
        return (
            f"{self.name}: the guard's text has changed: adapt tests/mutants/guards "
            f"({self.text!r} stands {found} times in {self.file}, not once)"
        )

    def take_out(self, root: Path) -> None:
        """Change the tree at `root`.

        Raises:
            ValueError: its text doesn't stand there once.
        """
        if fault := self.fault(root):
            raise ValueError(fault)
        file = root / self.file
        file.write_text(file.read_text().replace(self.text, self.instead))


def integration(file: str, *names: str) -> tuple[str, ...]:
    """Tests by name in a file of tests/integration."""
    return tuple(f"tests/integration/{file}.py::{name}" for name in names)


def unit(file: str, *names: str) -> tuple[str, ...]:
    """Tests by name in a file of tests/unit."""
    return tuple(f"tests/unit/{file}.py::{name}" for name in names)
