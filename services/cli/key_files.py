"""Keys for operators' commands: of a file that is named, else of the secrets of the deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.faults import Fatal

if TYPE_CHECKING:
    from pathlib import Path

    from services.executor.secrets import Secrets
    from shared.job_types.secrets import SecretRef
    from shared.settings import Settings

KEY_BYTES_MAX = 64 * 1024


def read_key(path: Path) -> bytes:
    """The content of a file that holds a key, as the executor reads secrets.

    Raises:
        Fatal: it can't be read, or is too large for one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(KEY_BYTES_MAX + 1)
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}.") from error
    if len(content) > KEY_BYTES_MAX:
        raise Fatal(f"{path} has more than {KEY_BYTES_MAX:,} bytes: that is no key.")
    return content.removesuffix(b"\n").removesuffix(b"\r")


def key_of(told: Settings, key_file: Path | None, secret: SecretRef) -> bytes | None:
    """The key; None if there is none."""
    from services.executor.secrets import SecretMissing  # noqa: PLC0415

    if key_file is not None:
        return read_key(key_file)
    try:
        return secrets_of(told).value(secret).encode()
    except SecretMissing:
        return None


def secrets_of(told: Settings) -> Secrets:
    """The secrets of DAYBOOK_SECRETS_DIR, else those that `daybook up` has made in the data directory."""
    from services.executor.secrets import of_environment  # noqa: PLC0415

    made = told.data_dir / "secrets"
    return of_environment(told.secrets_dir or (made if made.is_dir() else None))
