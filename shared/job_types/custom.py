"""`custom`: one of a registry of small operations, for trying things out and for tests of one's own jobs.

To add one: a model of its parameters and a member of the union here, and what it does in
`services/executor/handlers/custom.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from shared.job_types.job_type import JobType, Strict


class Echo(Strict):
    """Answer with the parameters, whatever they are."""

    operation: Literal["echo"]
    parameters: dict[str, Any] = Field(default_factory=dict)


class SleepParameters(Strict):
    """How long, in seconds."""

    seconds: float = Field(ge=0, le=86_400)


class Sleep(Strict):
    """Wait, then succeed."""

    operation: Literal["sleep"]
    parameters: SleepParameters


class FailParameters(Strict):
    """How to fail.

    Attributes:
        times: the first so many attempts fail and the next succeeds; None: all fail.
        error_class: name of the exception: a built-in one, or any other, which is then a RuntimeError.
    """

    message: str = Field(default="it was told to fail", max_length=2_000)
    times: int | None = Field(default=None, ge=1, le=1_000)
    error_class: str = Field(default="RuntimeError", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")


class Fail(Strict):
    """Raise an exception."""

    operation: Literal["fail"]
    parameters: FailParameters = Field(default_factory=FailParameters)


Operation = Annotated[Echo | Sleep | Fail, Field(discriminator="operation")]


class Custom(RootModel[Operation]):
    """An operation and its parameters."""


CUSTOM = JobType(
    name="custom",
    description="Runs a small built-in operation: echo answers with its parameters, sleep waits, fail fails.",
    model=Custom,
    tag="operation",
)
