"""What POST /jobs/bulk takes and answers. Each operation is read by itself, so that each fails by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from services.api.requests import (
    Body,
    Id,
    JobBody,
    JobData,
    JobPatch,
    PauseBody,
    Priority,
    ResumeBody,
    read,
)
from services.api.responses import Answer, ExecutionView, JobView
from shared.domain.spec import OverlapPolicy  # noqa: TC001 - pydantic reads the annotation

if TYPE_CHECKING:
    from pydantic import BaseModel, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

OPERATIONS_MAX = 1_000
Revision = Annotated[int, Field(ge=1, le=1_000_000_000)]


class ShownAs:
    """An object that the document shows as one of these models; it is read as such later, or refused alone."""

    def __init__(self, *models: type[BaseModel]) -> None:
        self._models = models

    def __get_pydantic_json_schema__(self, _: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """As pydantic asks for it."""
        shown = [handler(model.__pydantic_core_schema__) for model in self._models]
        return shown[0] if len(shown) == 1 else {"oneOf": shown}


class BulkCreate(Body):
    """As POST /jobs."""

    op: Literal["create"]
    job: Annotated[dict[str, Any], ShownAs(JobBody)]


class BulkUpdate(Body):
    """As PATCH /jobs/{id}: `job` is merged over the job."""

    op: Literal["update"]
    id: Id
    job: Annotated[dict[str, Any], ShownAs(JobPatch)]
    if_revision: Revision | None = Field(default=None, description="as If-Match: the job must be at it")


class BulkPause(PauseBody):
    """As POST /jobs/{id}/pause."""

    op: Literal["pause"]
    id: Id
    if_revision: Revision | None = None


class BulkResume(ResumeBody):
    """As POST /jobs/{id}/resume."""

    op: Literal["resume"]
    id: Id
    if_revision: Revision | None = None


class BulkDelete(Body):
    """As DELETE /jobs/{id}."""

    op: Literal["delete"]
    id: Id
    if_revision: Revision | None = None


class BulkTrigger(Body):
    """As POST /jobs/{id}/trigger."""

    op: Literal["trigger"]
    id: Id
    job_data: JobData | None = Field(default=None, description="merged over the job's, key by key")
    overlap_policy: OverlapPolicy | None = Field(default=None, description="instead of the job's")
    priority: Priority | None = None
    if_revision: Revision | None = None


Changing = BulkUpdate | BulkPause | BulkResume | BulkDelete | BulkTrigger
Operation = BulkCreate | Changing
_BY_OP: dict[str, type[Operation]] = {
    "create": BulkCreate,
    "update": BulkUpdate,
    "pause": BulkPause,
    "resume": BulkResume,
    "delete": BulkDelete,
    "trigger": BulkTrigger,
}
OPERATION_MODELS = tuple(_BY_OP.values())


class _Named(Body):
    op: Literal["create", "update", "pause", "resume", "delete", "trigger"]


class BulkBody(Body):
    """Operations, each carried out or refused by itself; those on one job in the order in which they stand."""

    operations: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=OPERATIONS_MAX,
        description="each a BulkCreate, BulkUpdate, BulkPause, BulkResume, BulkDelete or BulkTrigger; one that is none "
        "has its problem in the answer, unless none of them is one: 422",
    )


class BulkItemView(Answer):
    """What became of one operation; of `job`, `execution` and `problem` there is at most one."""

    index: int
    op: str | None
    status: int = Field(description="as its own route would answer it once the archive has it")
    job: JobView | None = None
    execution: ExecutionView | None = None
    problem: Annotated[dict[str, Any], Field(description="see Problem")] | None = None


class BulkView(Answer):
    """What became of the operations, in their order."""

    items: list[BulkItemView]
    succeeded: int
    failed: int


def operation_of(tree: dict[str, Any]) -> Operation:
    """The operation that `tree` is.

    Raises:
        Problem: 422, with everything that is wrong.
    """
    if not isinstance(tree.get("op"), str) or tree["op"] not in _BY_OP:
        read(_Named, {"op": tree["op"]} if "op" in tree else {})
    return read(_BY_OP[tree["op"]], tree)
