"""Personal data, at the last moment: sealed values in `job_data` are opened just before a handler is called.

What such a run says is sealed, whole: its result, its errors' messages, its output, how far it is. What its handler
logs stands in this process's own lines without the values. See `shared.personal`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from services.executor.masking import HIDDEN_MIN
from shared.domain.commands import FailRun, InterruptRun, SucceedRun
from shared.handlers import GiveUp
from shared.personal.sealing import (
    ERASED,
    ERROR,
    JOB_DATA,
    OUTPUT,
    RESULT,
    NotOpened,
    Place,
    has_sealed,
    is_sealed,
    open_value,
    seal,
    seal_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.domain.commands import Output, Report
    from shared.domain.run import Run
    from shared.personal.keys import PersonalKeys


class PersonalDataErased(GiveUp):
    """The job's personal data was erased: there is nothing left to work with, now or later."""


class PersonalDataUnreadable(GiveUp):
    """What is sealed in the data isn't the job's own, or was changed: its key doesn't open it, now or later."""


class PersonalKeyLost(Exception):  # noqa: N818 - its name is what people read as the failure's class
    """The key of the job's personal data is in neither store. If it comes back, another attempt finds it."""


class Opened(str):
    """A text of somebody's personal data, in the clear."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What opens the data of a run's job, and seals what the run says.

    Attributes:
        key: ERASED if the job was erased; None if it is lost. Then nothing is opened, and so nothing sealed either.
    """

    job_id: str
    key: bytes | None = field(repr=False)

    def opened(self, job_data: Any) -> Any:
        """A copy of the data with values for what is sealed in it, their texts as Opened.

        Raises:
            PersonalDataErased: see there, as for the others.
            PersonalDataUnreadable: likewise.
            PersonalKeyLost: likewise.
        """
        if self.key is None:
            raise PersonalKeyLost(
                f"the key of job {self.job_id} is neither in Redis nor in book.personal_keys: restore it"
            )
        if self.key == ERASED:
            raise PersonalDataErased(f"the personal data of job {self.job_id} was erased")
        try:
            return _opened(job_data, self.key, Place(self.job_id, JOB_DATA))
        except NotOpened as why:
            raise PersonalDataUnreadable(str(why)) from None

    def text(self, text: str) -> str:
        """The same, for nobody without the key to read."""
        return seal_text(text, self.key, Place(self.job_id, OUTPUT)) if self.key else text

    def report(self, report: Report) -> Report:
        """What is reported of the run, likewise: what its handler returned, raised and said."""
        if not self.key:
            return report
        output = self._output(report.output)
        match report:
            case SucceedRun(result=result) if result is not None:
                return replace(report, result=self._sealed(result), output=output)
            case FailRun(error=error):
                message = seal_text(error.message, self.key, Place(self.job_id, ERROR))
                return replace(report, error=replace(error, message=message), output=output)
            case SucceedRun() | InterruptRun():
                return replace(report, output=output)

    def _sealed(self, result: Any) -> Any:
        assert self.key  # noqa: S101 - `report` has looked
        return seal(result, self.key, Place(self.job_id, RESULT))

    def _output(self, output: Output | None) -> Output | None:
        return None if output is None else replace(output, text=self.text(output.text))


async def seal_of(run: Run, keys: PersonalKeys) -> Seal | None:
    """The seal of a run's job; None if nothing in the run's data is sealed.

    Raises:
        Exception: Redis doesn't answer, or hasn't got the key, and Postgres doesn't answer.
    """
    if not has_sealed(run.spec.job_data):
        return None
    return Seal(job_id=run.job_id, key=(await keys.of([run.job_id])).get(run.job_id))


def told_in(job_data: Any) -> Iterator[str]:
    """The texts in a handler's data that were opened for it, long enough to be told from any other word."""
    match job_data:
        case Opened() if len(job_data) >= HIDDEN_MIN:
            yield str(job_data)
        case dict():
            for inner in job_data.values():
                yield from told_in(inner)
        case list():
            for inner in job_data:
                yield from told_in(inner)


def _opened(value: Any, key: bytes, where: Place) -> Any:
    match value:
        case dict() if is_sealed(value):
            return _marked(open_value(value, key, where))
        case dict():
            return {name: _opened(inner, key, where.inner(name)) for name, inner in value.items()}
        case list():
            return [_opened(inner, key, where.inner(at)) for at, inner in enumerate(value)]
        case _:
            return value


def _marked(value: Any) -> Any:
    match value:
        case str():
            return Opened(value)
        case dict():
            return {name: _marked(inner) for name, inner in value.items()}
        case list():
            return [_marked(inner) for inner in value]
        case _:
            return value
