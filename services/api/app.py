"""The application: routes, and what every answer has: a correlation id, a problem where it fails, a count."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, cast

from quart import Quart, Response, g, request
from quart.routing import QuartRule
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from services.api import door, problems
from services.api.api_keys import ApiKeys
from services.api.apply import Apply
from services.api.auth import Auth
from services.api.backfills import Backfills
from services.api.body_sizes import SizedRequest, body_max
from services.api.browsers import Cors, Guarded
from services.api.bulk import Bulk
from services.api.calendars import Calendars
from services.api.cancels import Cancels
from services.api.dead_letters import DeadLetters
from services.api.dev_mail import DevMail
from services.api.erasures import Erasures
from services.api.events import Events
from services.api.explanations import Explanations
from services.api.forecasts import Forecasts
from services.api.jobs import Jobs
from services.api.large_bodies import LargeBodies
from services.api.limits import EXEMPT, Limits
from services.api.missed import Missed
from services.api.ops import Ops
from services.api.personal import Personal
from services.api.previews import Previews
from services.api.principal import ANONYMOUS
from services.api.principals import Principals
from services.api.problems import Problem
from services.api.revisions import Revisions
from services.api.runs import Runs
from services.api.simulations import Simulations
from services.api.slices import Slices
from services.api.streams import Streams
from services.api.switches import Switches
from shared import logs
from shared.domain import ids
from shared.faults import is_broken, leaves

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.wrappers import Response as WerkzeugResponse

    from services.api.body_sizes import SizedBody
    from services.api.deps import Deps
    from services.api.principal import Principal

QUERY_MAX = 8 * 1024
HEADERS_MAX = 16 * 1024  # bytes of all names and values


def create_app(deps: Deps) -> Quart:
    """The ASGI application over `deps`."""
    app = Quart("services.api", static_folder=None)
    app.config.update(
        RESPONSE_TIMEOUT=None,  # a stream of events has no end
        PROVIDE_AUTOMATIC_OPTIONS=False,
    )
    app.request_class = SizedRequest
    app.url_rule_class = _Route
    app.url_map.strict_slashes = False
    app.url_map.converters["default"] = _Segment
    app.url_map.merge_slashes = False  # an encoded one would be answered with a redirect
    auth, slices = Auth(deps), Slices(deps.clock)
    for noun in (
        Jobs(deps),
        Erasures(deps),
        Bulk(deps),
        Switches(deps),
        Apply(deps),
        Revisions(deps),
        Missed(deps),
        Explanations(deps),
        Previews(deps, slices),
        Forecasts(deps, slices),
        Simulations(deps, slices),
        Runs(deps),
        Cancels(deps),
        Backfills(deps),
        DeadLetters(deps),
        Events(deps),
        Streams(deps, auth),
        ApiKeys(deps, auth.tokens),
        Calendars(deps),
        Principals(deps),
        Ops(deps),
        DevMail(deps),
    ):
        noun.mount(app)
    _Frame(deps, auth).mount(app)
    app.asgi_app = LargeBodies(app)  # type: ignore[method-assign]
    app.asgi_app = Guarded(app, trusted=deps.settings.trusted_proxies)  # type: ignore[method-assign]
    return app


class _Route(QuartRule):
    """A route that is only matched: nobody asks for its URL, and what would make it takes most of the app's start."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:  # noqa: ARG002, FBT001, FBT002
        return _no_url


def _no_url(_: Any, **values: Any) -> tuple[str, str]:
    raise RuntimeError(f"Paths are written as they are, not made of routes: {values}")


class _Segment(BaseConverter):
    """A variable part of a path is no word that a path of ours has there: so what `Allow` lists is true."""

    regex = r"(?!(?:bulk|redrive)$)[^/]+"


class _Frame:
    """What happens before and after each route."""

    def __init__(self, deps: Deps, auth: Auth) -> None:
        self._deps = deps
        self._auth = auth
        self._limits = Limits(deps)
        self._personal = Personal(deps)
        self._cors = Cors(deps.settings.cors_origins)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        app.before_request(self._begin)
        app.after_request(self._end)
        app.register_error_handler(Problem, self._problem)
        app.register_error_handler(HTTPException, self._http)
        app.register_error_handler(Exception, self._failed)

    async def _begin(self) -> Response | None:
        g.began_s = self._deps.clock.monotonic()
        made = ids.event_id(ids.to_ms(self._deps.clock.now()), self._deps.chance())
        g.heads = door.heads()
        g.correlation_id = door.correlation_id(made)
        logs.bind(correlation_id=g.correlation_id)
        _refuse_long_heads()
        if (preflight := self._cors.preflight()) is not None:
            return preflight
        await self._limits.of_address(request.endpoint)
        g.body = await self._body()
        g.principal = await self._auth.admitted()
        if self._has_name(g.principal):
            self._deps.usage.count(g.principal)
        await self._limits.of_principal(g.principal)
        self._deps.pressure.refuse(request.endpoint)
        return None

    def _has_name(self, principal: Principal) -> bool:
        """Whether there is somebody to count the present request for."""
        if principal is not ANONYMOUS:
            return True
        return self._deps.settings.auth == "off" and request.endpoint not in EXEMPT

    async def _body(self) -> bytes:
        """All that the client sends, before anything is answered: also where it isn't looked at."""
        coming = cast("SizedBody", request.body)
        body_s = self._deps.settings.body_seconds
        try:
            # A body is nearly always there, and then there is nothing to time.
            async with contextlib.nullcontext() if coming.is_whole else asyncio.timeout(body_s):
                body: bytes = await coming
        except TimeoutError:
            raise Problem("request-timeout", f"Send the body within {body_s:g} s.") from None
        return body

    async def _end(self, response: Response) -> Response:
        response = await self._opened(response)
        response.headers["X-Request-ID"] = g.correlation_id
        for name, value in self._limits.told().items():
            response.headers.setdefault(name, value)
        self._cors.tell(response)
        route = request.url_rule.rule if request.url_rule else "unmatched"
        method = request.method if request.method in METHODS else "other"
        metrics = self._deps.metrics
        metrics.http_requests_total.labels(method, route, str(response.status_code)).inc()
        metrics.http_request_duration_seconds.observe(self._deps.clock.monotonic() - g.began_s)
        return response

    async def _opened(self, response: Response) -> Response:
        try:
            return await self._personal.shown(response)
        except Problem as problem:
            return await self._problem(problem)

    async def _problem(self, problem: Problem) -> Response:
        document = problem.document(instance=request.path, correlation_id=g.correlation_id)
        return Response(
            json.dumps(document), problem.status, problem.headers, content_type=problems.CONTENT_TYPE
        )

    async def _http(self, error: HTTPException) -> Response | WerkzeugResponse:
        """What Quart refuses by itself, or sends elsewhere."""
        status = error.code or 500
        if status < 400:  # noqa: PLR2004 - a redirect
            return error.get_response()
        headers = {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After"}}
        return await self._problem(problems.of_status(status, _advice(status, error), headers))

    async def _failed(self, error: Exception) -> Response:
        if is_broken(error):
            said = [f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error)]
            self._log.warning("request met broken infrastructure", path=request.path, errors=said)
            return await self._problem(problems.unavailable("A store that this needs doesn't answer."))
        self._log.exception("request failed", method=request.method, path=request.path, exc_info=error)
        advice = "It is our fault, and logged under the correlation id: tell the operator."
        return await self._problem(Problem("internal-error", advice))


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _refuse_long_heads() -> None:
    """Refuse what the server lets through if it comes in one piece."""
    scope = request.scope
    if len(scope["query_string"]) > QUERY_MAX:
        raise Problem("uri-too-long", f"Send a query of at most {QUERY_MAX // 1024} KB.")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_MAX:
        raise Problem("headers-too-large", f"Send headers of at most {HEADERS_MAX // 1024} KB in all.")


def _advice(status: int, error: HTTPException) -> str:
    match status:
        case 404:
            return "There is nothing under this path; /openapi.json lists what there is."
        case 405:
            return f"Use one of {', '.join(sorted(error.valid_methods or []))}."  # type: ignore[attr-defined]
        case 413:
            return f"Send at most {body_max(request.path) // 1024} KB."
        case _:
            return error.description or "The request can't be read."
