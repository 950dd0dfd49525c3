"""What is known about a type of job: how its `job_data` must look, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from pathlib import Path

BY_POLICY = "every failure, by the job's own policy: max_retries, retry_backoff, retry_on, give_up_on"
NOTHING = "nothing by itself; name exceptions in give_up_on"


class Strict(BaseModel):
    """A model that takes what it is given or refuses it: no unknown field, no value bent into shape."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType:
    """One type of job.

    Attributes:
        model: of its `job_data`; None takes any object.
        paths: fields of it that are paths, which must lie inside the files roots.
        tag: the field that tells the members of a union apart, if the model is one.
        retried: which failures are followed by another attempt, in a sentence's end.
        given_up: which are not.
        source: the distribution it comes from.
    """

    name: str
    description: str
    model: type[BaseModel] | None
    paths: tuple[str, ...] = ()
    tag: str = ""
    retried: str = BY_POLICY
    given_up: str = NOTHING
    source: str = "daybook"

    def schema(self) -> dict[str, Any]:
        """JSON Schema of its `job_data`."""
        return {"type": "object"} if self.model is None else self.model.model_json_schema()


def inside(path: Path, roots: tuple[Path, ...]) -> Path | None:
    """The root that `path` lies in by its spelling, or is; the longest of several; None if in none.

    Nothing is looked up on disk: symbolic links are the handler's to refuse.
    """
    if not path.is_absolute() or ".." in path.parts:
        return None
    return max(
        (root for root in roots if path.is_relative_to(root)), key=lambda r: len(r.parts), default=None
    )
