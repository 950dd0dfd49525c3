"""What is known about a type of job: how its `job_data` must look, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shared.job_types.catalog import Catalog

BY_POLICY = "every failure, by the job's own policy: max_retries, retry_backoff, retry_on, give_up_on"
OURS = "daybook"  # the distribution
NOTHING = "nothing by itself; name exceptions in give_up_on"


class Strict(BaseModel):
    """A model that takes what it is given or refuses it: no unknown field, no value bent into shape."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong: a JSON pointer into the request, such as `#/job_data/path`, and a sentence."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType:
    """One type of job.

    Attributes:
        model: of its `job_data`; None takes any object.
        check: what its data asks of this deployment and isn't there: called with the fitted model.
        is_the_deployments: whether such data is about the deployment as a whole, what is everybody's: then only its
            admins may say so. Called with the fitted model; None: never.
        result: the model of what a run of it returns, if that is always the same.
        extra: of the distribution `daybook`, whose packages it needs; "" for none.
        needs: modules that must be importable, by their top-level names.
        tag: the field that tells the members of a union apart, if the model is one.
        foreign: members, by that field, which are other people's.
        retried: which failures are followed by another attempt, in a sentence's end.
        given_up: which are not.
        source: the distribution it comes from.
    """

    name: str
    description: str
    model: type[BaseModel] | None
    check: Callable[[Any, Catalog], Iterable[Fault]] | None = None
    is_the_deployments: Callable[[Any], bool] | None = None
    result: type[BaseModel] | None = None
    extra: str = ""
    needs: tuple[str, ...] = ()
    tag: str = ""
    foreign: frozenset[str] = frozenset()
    retried: str = BY_POLICY
    given_up: str = NOTHING
    source: str = OURS

    def schema(self) -> dict[str, Any]:
        """JSON Schema of its `job_data`."""
        return {"type": "object"} if self.model is None else self.model.model_json_schema()

    def is_theirs(self, job_data: dict[str, Any]) -> bool:
        """Whether somebody else's handler works on this data."""
        tag = job_data.get(self.tag)
        return self.source != OURS or (isinstance(tag, str) and tag in self.foreign)

    def why_not(self) -> str:
        """Why it can't be used in this Python environment, as a sentence's end; "" if it can."""
        missing = [name for name in self.needs if find_spec(name) is None]
        if not missing:
            return ""
        return f"needs `pip install daybook[{self.extra}]` ({', '.join(missing)} not installed here)"


def inside(path: Path, roots: tuple[Path, ...]) -> Path | None:
    """The root that `path` lies in by its spelling, or is; the longest of several; None if in none.

    Nothing is looked up on disk: symbolic links are the handler's to refuse.
    """
    if not path.is_absolute() or ".." in path.parts:
        return None
    return max(
        (root for root in roots if path.is_relative_to(root)), key=lambda r: len(r.parts), default=None
    )


def outside(pointer: str, path: str | Path, catalog: Catalog) -> Iterable[Fault]:
    """The fault of a path that lies outside the directories jobs may touch; none if inside.

    Args:
        pointer: of its field, from `#/job_data` on.
        path: as the job gives it.
        catalog: has the roots.
    """
    if inside(Path(path), catalog.files_roots) is None:
        yield Fault(pointer=pointer, detail=f"lies outside the directories jobs may touch ({catalog.roots})")
