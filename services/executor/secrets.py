"""Secrets, at the last moment: references in `job_data` become values just before a handler is called.

A value comes from the file of its name in DAYBOOK_SECRETS_DIR, else from the variable DAYBOOK_SECRET__NAME. It is
read anew each time, so that a secret that was changed is used by the next attempt.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from services.executor.masking import Mask
from shared.environment import SECRETS
from shared.handlers import GiveUp
from shared.job_types.secrets import KEY, NAME, Revealed, SecretRef, is_reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VALUE_MAX = 64 * 1024  # bytes; a chain of certificates has some thousand


class SecretMissing(GiveUp):
    """No secret of that name is here, or it can't be read: another attempt wouldn't find it either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Where secrets are, and who masks what was revealed.

    Attributes:
        directory: DAYBOOK_SECRETS_DIR, a file a secret.
        environ: variables, in which DAYBOOK_SECRET__NAME may be.
        mask: of the run in hand; it is told each value that is given out.
    """

    directory: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    mask: Mask = field(default_factory=Mask, repr=False)

    def told_to(self, mask: Mask) -> Secrets:
        """The same for a run of which `mask` is."""
        return replace(self, mask=mask)

    def value(self, secret: str | SecretRef) -> Revealed:
        """The value of a reference; of what stands written out, itself. It is masked from now on.

        Raises:
            SecretMissing: there is none.
        """
        revealed = Revealed(secret if isinstance(secret, str) else self._looked_up(secret.name))
        self.mask.hide(revealed)
        return revealed

    def revealed(self, job_data: Any) -> Any:
        """A copy of `job_data` in which each reference is its value.

        Raises:
            SecretMissing: one isn't there.
        """
        match job_data:
            case dict() if is_reference(job_data):
                return self.value(SecretRef.model_validate(job_data))
            case dict() if KEY in job_data:
                raise SecretMissing(f"job_data names a secret wrongly: {sorted(map(str, job_data))}")
            case dict():
                return {key: self.revealed(inner) for key, inner in job_data.items()}
            case list():
                return [self.revealed(inner) for inner in job_data]
            case _:
                return job_data

    def _looked_up(self, name: str) -> str:
        if not re.fullmatch(NAME, name) or name in {".", ".."}:
            raise SecretMissing(f"{name[:64]!r} is no name of a secret")
        found = self._filed(name)
        if found is None:
            found = self.environ.get(SECRETS + name)
        if found is None:
            raise SecretMissing(
                f"the secret {name} is neither a file in DAYBOOK_SECRETS_DIR nor the variable {SECRETS}{name}"
            )
        return found

    def _filed(self, name: str) -> str | None:
        """What stands in its file, without the newline at its end; None if there is no such file."""
        if self.directory is None:
            return None
        try:
            with (self.directory / name).open("rb") as file:  # links are followed: Kubernetes lays secrets so
                content = file.read(VALUE_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SecretMissing(f"the secret {name} can't be read: {error.strerror}") from None
        if len(content) > VALUE_MAX:
            raise SecretMissing(f"the secret {name} has more than {VALUE_MAX:,} bytes")
        try:
            return content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise SecretMissing(
                f"the secret {name} is no UTF-8 text; write binary ones as hex or base64"
            ) from None


def of_environment(directory: Path | None) -> Secrets:
    """Those of this process: the directory's, and its own environment's."""
    return Secrets(
        directory=directory,
        environ={key: value for key, value in os.environ.items() if key.startswith(SECRETS)},
    )
