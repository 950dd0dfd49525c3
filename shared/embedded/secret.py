"""A secret that is made once, and kept in a file for its owner's eyes only."""

import secrets
from pathlib import Path

BYTES = 32


def secret_in(file: Path) -> str:
    """Return the secret in `file`, made now if there is no such file. Its directory must exist."""
    if not file.exists():
        draft = file.with_name(f"{file.name}.new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(BYTES))
        draft.replace(file)  # whole or not at all: a crash must not leave an empty secret
    return file.read_text().strip()
