"""A run as DESIGN §6.2 tells it, written from its sentences: the judge of the domain's decisions on runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.domain.spec import RunSpec


class Refusal(Exception):  # noqa: N818 - an answer
    """The command is to be refused; the argument is the name of the refusal."""


@dataclass(kw_only=True)
class RunModel:
    """A run, under the name that its job has for it: what has become of it."""

    name: str
    follows: bool
    spec: RunSpec
    start_by: datetime | None
    status: str = "queued"
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    wake_at: datetime | None = None
    cancelling: bool = False
    dropped_at: datetime | None = None  # when its job wanted it ended

    @property
    def ended(self) -> bool:
        return self.status in {"succeeded", "failed", "cancelled", "expired"}

    def _overdue(self, now: datetime) -> bool:
        return self.attempt == 0 and self.start_by is not None and self.start_by <= now

    def due_at(self, lease: datetime | None) -> datetime | None:
        """When it is to be woken; `lease`: the end of that, which is none of the run's business."""
        if self.cancelling and self.status in {"queued", "retrying"}:
            return self.dropped_at
        match self.status:
            case "running":
                return lease
            case "retrying":
                return self.wake_at
            case "queued" | "held" if self.attempt == 0:
                return self.start_by
            case _:
                return None

    def hears(self, event: str, now: datetime) -> None:
        """What its job says of it."""
        match event:
            case "RunCancelled":
                self.status = "cancelled"
            case "RunCancelRequested":
                self.cancelling, self.dropped_at = True, self.dropped_at or now
            case "RunQueued":
                self.status = "queued"

    def start(self, now: datetime) -> None:
        if self.status != "queued":
            raise Refusal("IllegalTransition")
        if self.cancelling:
            self.status = "cancelled"
            return
        if self._overdue(now):
            self.status = "expired"
            return
        self.status, self.attempt = "running", self.attempt + 1

    def succeed(self) -> None:
        self.status = "succeeded"

    def fail(self, now: datetime) -> None:
        retry = self.spec.retry
        if self.cancelling:
            self.status = "cancelled"
        elif self.failures >= retry.max_retries:
            self.status = "failed"
        else:
            delay_s = min(retry.initial_seconds * retry.multiplier**self.failures, retry.max_seconds)
            self.status, self.wake_at = "retrying", now + timedelta(seconds=delay_s)
            self.failures += 1

    def interrupt(self) -> None:
        self.status = "cancelled" if self.cancelling else "queued"

    def cancel(self) -> None:
        if self.ended:
            raise Refusal("IllegalTransition")
        if self.status == "running":
            self.cancelling = True
        else:
            self.status = "cancelled"

    def wake(self, now: datetime) -> None:
        """The time in the due index has come: of a running one, that its lease is out."""
        if self.status == "running":
            self.lost += 1
            poison = "failed" if self.lost >= self.spec.max_lost else "queued"
            self.status = "cancelled" if self.cancelling else poison
        elif self.cancelling and not self.ended:
            self.status = "cancelled"
        elif self.status == "retrying" and self.wake_at is not None and self.wake_at <= now:
            self.status, self.wake_at = "queued", None
        elif self.status in {"queued", "held"} and self._overdue(now):
            self.status = "expired"
