"""OpenAPI links: which answer has the id that another operation asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_IN_PATH = {
    "job_id": "JobView",
    "run_id": "ExecutionView",
    "backfill_id": "BackfillView",
    "key_id": "ApiKeyMadeView",
}
_BODY_ID = "$response.body#/id"


def links(answer: Any, paths: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
    """Links from an answer to every operation that is about what it shows.

    Args:
        answer: schema of the answer.
        paths: operationId → names of its path's parameters.
    """
    shown = answer.get("$ref", "").rpartition("/")[2] if isinstance(answer, dict) else ""
    return {
        f"{name}_of_this": {"operationId": name, "parameters": {f"path.{parameter}": _BODY_ID}}
        for parameter, model in _IN_PATH.items()
        if model == shown
        for name, needed in paths.items()
        if parameter in needed
    }
