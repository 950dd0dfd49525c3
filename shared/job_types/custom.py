"""`custom`: one of a registry of operations. Handlers of other packages are operations of it as well.

To add one of ours: a model of its parameters and a member of the union here, and what it does in
`services/executor/handlers/custom.py`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel, ValidationError, create_model

from shared.job_types import data_migration
from shared.job_types.job_type import Fault, JobType, Strict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shared.job_types.catalog import Catalog
    from shared.job_types.plugins import Plugin


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


class Migrate(Strict):
    """Copy tables from one configured Postgres database to another; goes on where an earlier attempt or run stopped."""

    operation: Literal["data_migration"]
    parameters: data_migration.DataMigration


OPERATIONS: dict[str, type[BaseModel]] = {
    "echo": Echo,
    "sleep": Sleep,
    "fail": Fail,
    "data_migration": Migrate,
}
Operation = Annotated[Echo | Sleep | Fail | Migrate, Field(discriminator="operation")]


class Custom(RootModel[Operation]):
    """An operation and its parameters."""


def _check(told: RootModel[Any], catalog: Catalog) -> Iterable[Fault]:
    if isinstance(told.root, Migrate):
        yield from data_migration.check(told.root.parameters, catalog, "#/job_data/parameters")


CUSTOM = JobType(
    name="custom",
    description=(
        "Runs an operation: echo answers with its parameters, sleep waits, fail fails, data_migration copies tables "
        "between configured Postgres databases; each installed handler is an operation, too."
    ),
    model=Custom,
    check=_check,
    tag="operation",
    given_up=(
        "what a handler gives up by itself (a migration whose sources or tables aren't there, can't be told apart, or "
        "can't take the rows), and what give_up_on names"
    ),
)


def with_operations(plugins: Mapping[str, Plugin]) -> JobType:
    """`custom` with other people's handlers as operations, their parameters checked by their models.

    One that is called like an operation of ours is a job type only.
    """
    theirs = {name: _operation(plugin) for name, plugin in plugins.items() if name not in OPERATIONS}
    if not theirs:
        return CUSTOM
    union = reduce(or_, [*OPERATIONS.values(), *theirs.values()])
    root: Any = RootModel[Annotated[union, Field(discriminator="operation")]]  # type: ignore[valid-type]
    model = create_model("Custom", __base__=root, __doc__=Custom.__doc__)
    return replace(CUSTOM, model=model, foreign=frozenset(theirs))


def _operation(plugin: Plugin) -> type[BaseModel]:
    """The member of the union for a handler; its parameters may be left out where its model lets them."""
    literal: Any = Literal
    kind = plugin.job_type
    parameters: Any = dict[str, Any] if kind.model is None else kind.model
    may_lack = kind.model is None or _takes_nothing(kind.model)
    return create_model(
        kind.name,
        __base__=Strict,
        __doc__=kind.description or None,
        operation=(literal[kind.name], ...),
        parameters=(parameters, Field(default_factory=dict) if may_lack else ...),
    )


def _takes_nothing(model: type[BaseModel]) -> bool:
    try:
        model.model_validate({})
    except ValidationError:
        return False
    return True
