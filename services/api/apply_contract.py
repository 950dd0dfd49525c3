"""What POST /apply takes and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from services.api.bulk_contract import ShownAs
from services.api.requests import Body, JobBody
from services.api.responses import Answer, DifferenceView

JOBS_MAX = 1_000


class ApplyBody(Body):
    """All the jobs that one's own file has, each known by its name."""

    jobs: list[Annotated[dict[str, Any], ShownAs(JobBody)]] = Field(max_length=JOBS_MAX)
    dry_run: bool = Field(default=False, description="only say what would be done")
    prune: bool = Field(
        default=False,
        description="delete the jobs that were made by an earlier apply and are not among these",
    )


class AppliedView(Answer):
    """What became of one job, or would; `changes` of an update, each with the old value and the new one."""

    name: str
    id: str
    action: Literal["create", "update", "unchanged", "delete"]
    changes: list[DifferenceView]


class ApplyView(Answer):
    """What became of the jobs: those that were sent in their order, then those that were deleted."""

    items: list[AppliedView]
    created: int
    updated: int
    unchanged: int
    deleted: int
    dry_run: bool
