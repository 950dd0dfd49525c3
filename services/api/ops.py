"""Pages about the system: is it well, what does it count, what can be asked of it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
from importlib import resources, util
from pathlib import Path
from typing import TYPE_CHECKING

from quart import Response, redirect, send_from_directory

from services.api import answers, openapi, reads
from services.api.problems import Problem
from shared import job_types
from shared import metrics as metrics_
from shared.domain import ids
from shared.domain.zones import tables_version
from shared.eventlog.envelope import rfc3339
from shared.faults import is_broken, leaves
from shared.logs import masked

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from quart import Quart
    from werkzeug.wrappers import Response as Redirect

    from services.api.deps import Deps
    from shared.ops import Verdict

OK = "ok"
CHECK_S = 2.0
OVERDUE_MAX_MS = 10_000  # a timer that is alive takes what is due at once, or says why not
SWAGGER = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")


class Ops:
    """The routes about the system."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._version = importlib.metadata.version("daybook")
        self._document = openapi.document(self._version, deps.known)

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        for path, name, page in (
            ("/health", "health", self.health),
            ("/livez", "livez", self.livez),
            ("/readyz", "readyz", self.readyz),
            ("/metrics", "metrics", self.metrics),
            ("/openapi.json", "openapi", self.openapi),
            ("/docs", "docs_redirect", self.docs_redirect),
            ("/docs/", "docs", self.docs),
            ("/docs/<name>", "docs_file", self.docs_file),
            (f"{answers.BASE}/job-types", "list_job_types", self.job_types),
        ):
            app.add_url_rule(path, name, page, methods=["GET"])

    async def health(self) -> Response:
        """GET /health: whether the whole system does its work, as far as it can be seen from here."""
        database, redis, scheduler = await asyncio.gather(
            _checked(self._database()), _checked(self._redis()), _checked(self._scheduler())
        )
        checks = {"database": database, "redis": redis, "scheduler": scheduler}
        if self._deps.ledger.lags:
            checks["replica"] = await _checked(self._replica())
        well = all(said == OK for said in checks.values())
        queued, running = await self._unfinished() if database == OK else (None, None)
        document = {
            "status": "healthy" if well else "unhealthy",
            "timestamp": rfc3339(self._deps.clock.now()),
            "version": self._version,
            "tzdata": tables_version(),
            "checks": checks,
            "queue_depth": queued,
            "active_runs": running,
        }
        return answers.answer(
            json.dumps(document), 200 if well else 503, {} if well else {"Retry-After": "1"}
        )

    async def livez(self) -> Response:
        """GET /livez: this process turns."""
        return _told(self._deps.health.live())

    async def readyz(self) -> Response:
        """GET /readyz: this process can work."""
        return _told(self._deps.health.ready())

    async def metrics(self) -> Response:
        """GET /metrics: what this process counts."""
        text, kind = metrics_.render(self._deps.metrics.registry)
        return Response(text, content_type=kind)

    async def openapi(self) -> Response:
        """GET /openapi.json."""
        return answers.answer(self._document)

    async def job_types(self) -> Response:
        """GET /job-types."""
        await reads.query(self._deps)
        return answers.answer(json.dumps({"items": job_types.describe(self._deps.known)}))

    async def docs_redirect(self) -> Redirect:
        """GET /docs."""
        return redirect("/docs/", 308)

    async def docs(self) -> Response:
        """GET /docs/: the document, for people."""
        page = resources.files("services.api").joinpath("docs.html").read_text(encoding="utf-8")
        return Response(page, content_type="text/html; charset=utf-8")

    async def docs_file(self, name: str) -> Response:
        """GET /docs/{file}: what that page is made of."""
        if name not in SWAGGER:
            raise Problem("not-found", "There is no such file.")
        return await send_from_directory(_swagger_folder(), name, cache_timeout=3_600)

    async def _database(self) -> None:
        await self._deps.ledger.checkpoints()

    async def _replica(self) -> None:
        await self._deps.ledger.replica_checkpoints()

    async def _redis(self) -> None:
        await self._deps.log.sync()

    async def _unfinished(self) -> tuple[int | None, int | None]:
        try:
            return await self._deps.ledger.unfinished()
        except Exception as error:
            if not is_broken(error):
                raise
            return None, None

    async def _scheduler(self) -> None:
        """Whether each partition has a timer, and none has left its work lying."""
        log = self._deps.log
        now_ms = ids.to_ms(await log.sync())
        async with log.redis.pipeline(transaction=False) as pipe:
            for partition in range(log.partitions):
                pipe.exists(log.keys(partition).lease("timer"))
                pipe.zrange(log.keys(partition).due, 0, 0, withscores=True)
            rows = await pipe.execute()
        alone = [partition for partition, owned in enumerate(rows[0::2]) if not owned]
        if alone:
            raise Failing(f"no timer serves partition {_listed(alone)} of {log.partitions}")
        late_ms = max((now_ms - head[0][1] for head in rows[1::2] if head), default=0)
        if late_ms > OVERDUE_MAX_MS:
            raise Failing(f"something has been due for {late_ms / 1000:.0f} s and was not decided")


class Failing(Exception):  # noqa: N818 - said in /health
    """A check has found something wrong; the message says what."""


async def _checked(check: Awaitable[None]) -> str:
    """`ok`, or what is wrong."""
    try:
        async with asyncio.timeout(CHECK_S):
            await check
    except Failing as finding:
        return str(finding)
    except TimeoutError:
        return f"no answer within {CHECK_S:.0f} s"
    except Exception as error:
        if not is_broken(error):
            raise
        return masked("; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error)))
    return OK


def _told(verdict: Verdict) -> Response:
    document = {"service": "api", "status": OK if verdict.ok else "failing", "checks": dict(verdict.checks)}
    return answers.answer(json.dumps(document), 200 if verdict.ok else 503)


def _listed(partitions: list[int]) -> str:
    return ", ".join(map(str, partitions))


def _swagger_folder() -> Path:
    """Swagger UI's files: found, not imported, as importing the package needs Django."""
    found = util.find_spec("drf_spectacular_sidecar")
    if found is None or not found.submodule_search_locations:
        raise Problem("not-found", "Swagger UI is not installed: install drf-spectacular-sidecar.")
    return Path(found.submodule_search_locations[0], "static", "drf_spectacular_sidecar", "swagger-ui-dist")
