"""`http_request`: asks a web server, and judges what it answers.

Safe to run twice where the server heeds `Idempotency-Key`, which is the run's id in every attempt, or `webhook-id`,
which is the same. The way out is `services.executor.web`, with its guards.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NoReturn

from services.executor.handlers.http_request_answer import (
    AGAIN,
    UnexpectedStatus,
    kept_headers,
    retry_after_s,
    said,
    stored,
)
from services.executor.handlers.http_request_question import (
    REDIRECTS,
    RedirectRefused,
    question_of,
    redirected,
)
from services.executor.handlers.http_request_trace import traced
from services.executor.web import UnfitRequest, Web
from services.executor.web_guard import Resolve, look_up
from shared.job_types.http_request import REDIRECTS_MAX, HttpRequest, check
from shared.job_types.web_address import parse

if TYPE_CHECKING:
    from services.executor.resources import Resources
    from services.executor.web import Answer, Question
    from shared.handlers import Run


async def handle(run: Run, resources: Resources) -> dict[str, Any]:
    """Ask by this machine's resolver; returns what HttpResult describes."""
    return await ask(run, resources, resolve=look_up)


async def ask(run: Run, resources: Resources, *, resolve: Resolve) -> dict[str, Any]:
    """Ask; returns what HttpResult describes.

    Args:
        run: what to ask for.
        resources: networks, certificates, and what masks secrets.
        resolve: the addresses of a name.

    Raises:
        GiveUp: NotPublic, UntrustedCertificate, RedirectRefused, UnfitRequest or UnexpectedStatus: another attempt
            would not mend it.
        RetryIn: the server said when.
        TimeoutError: the exchange took longer than the request may.
        ConnectionError: NameNotFound, NotConnected or BrokenAnswer.
        ServerError: see there; likewise NotNow, TooManyRequests.
    """
    resources.secrets.mask.found_in(run.job_data)
    request = HttpRequest.model_validate(run.job_data)
    if faults := list(check(request, resources.catalog)):
        raise UnfitRequest("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults))
    return await _Exchange(run, request, resources).result(resolve)


class _Exchange:
    """One attempt: the request, the redirects that it follows, and the answer."""

    def __init__(self, run: Run, request: HttpRequest, resources: Resources) -> None:
        self._run = run
        self._request = request
        self._catalog = resources.catalog
        self._mask = resources.secrets.mask
        self._redirects = 0
        self._began = time.monotonic()

    async def result(self, resolve: Resolve) -> dict[str, Any]:
        request = self._request
        question = question_of(request, self._run.run_id, self._mask)
        try:
            async with (
                asyncio.timeout(request.timeout_seconds),
                Web(self._catalog.http_networks, ca_file=self._catalog.http_ca_file, resolve=resolve) as web,
            ):
                question, answer = await self._asked(web, question)
        except TimeoutError:
            host = parse(request.url).authority
            raise TimeoutError(f"{host} did not answer within {request.timeout_seconds:g} s") from None
        if not request.expects(answer.status):
            self._fail(question, answer)
        body, truncated = stored(answer, request.store_response, self._mask)
        return {
            "status": answer.status,
            "url": question.address.shown,
            "headers": kept_headers(answer),
            "body": body,
            "truncated": truncated,
            "bytes": answer.size,
            "redirects": self._redirects,
            "seconds": round(time.monotonic() - self._began, 3),
        }

    async def _asked(self, web: Web, question: Question) -> tuple[Question, Answer]:
        """The last request, and its answer."""
        while True:
            self._run.progress(0.1, f"asking {question.address.authority}")
            answer = await traced(web.ask, question)
            self._run.log(f"{question.method} {question.address.shown}: {answer.status}, {answer.size} bytes")
            if not self._leads_on(answer):
                return question, answer
            if self._redirects == REDIRECTS_MAX:
                raise RedirectRefused(
                    f"{parse(self._request.url).shown} leads on more than {REDIRECTS_MAX} times"
                )
            question = redirected(question, answer, self._request)
            self._redirects += 1

    def _leads_on(self, answer: Answer) -> bool:
        follows = self._request.follow_redirects and answer.status in REDIRECTS
        return follows and not self._request.expects(answer.status)

    def _fail(self, question: Question, answer: Answer) -> NoReturn:
        """End the attempt, as the status asks for."""
        reason = f"{question.address.shown} answered {answer.status}"
        if self._request.store_response:
            reason += said(answer, self._mask)
        if answer.status in REDIRECTS and not self._request.follow_redirects:
            reason += f" (it leads on to {kept_headers(answer).get('location', 'nowhere')}: follow_redirects is off)"
        again = AGAIN.get(answer.status)
        if again is None:
            raise UnexpectedStatus(reason)
        wait_s = retry_after_s(answer)
        if wait_s is not None:
            self._run.retry_in(wait_s, f"{again.__name__}: {reason}; asked to wait {wait_s:.0f} s")
        raise again(reason)
