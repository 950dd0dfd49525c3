"""What browsers are told: of every answer, and to pages from elsewhere."""

import pytest

from .api_stage import JOB, stage_on

PAGE = "https://app.example"
BARE = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(
        valkey, postgres, tmp_path, cors_origins=f"{PAGE},http://localhost:3000", trusted_proxies="10.0.0.1"
    ) as made:
        yield made


async def test_every_answer_is_guarded(stage):
    job = await stage.create()
    at = f"jobs/{job['id']}"
    etag = (await stage.ask("GET", at, status=200)).headers["ETag"]
    cases = {
        "no-store": [
            await stage.ask("POST", f"{at}/pause", status=200),
            await stage.ask("GET", "/nowhere", status=404),
            await stage.ask("PUT", "/livez", status=405),
            await stage.ask(
                "POST", "jobs", data="{", headers={"Content-Type": "application/json"}, status=400
            ),
            await stage.ask("POST", "jobs", data=b" " * 300_000, status=413),
        ],
        "private, no-cache": [
            await stage.ask("GET", at, status=200),
            await stage.ask("GET", "/openapi.json", status=200),
            await stage.ask("GET", "/metrics", status=200),
        ],
    }
    for caching, all_answers in cases.items():
        for answer in all_answers:
            told = answer.headers
            assert told["Cache-Control"] == caching
            assert told["Content-Security-Policy"] == BARE
            assert told["X-Content-Type-Options"] == "nosniff"
            assert "Strict-Transport-Security" not in told
    etag = cases["private, no-cache"][0].headers["ETag"]
    kept = await stage.ask("GET", at, headers={"If-None-Match": etag}, status=304)
    assert (kept.headers["ETag"], kept.headers["Cache-Control"]) == (etag, "private, no-cache")


async def test_the_page_for_people_may_load_what_it_is_made_of_and_nothing_else(stage):
    page = await stage.ask("GET", "/docs/", status=200)
    policy = page.headers["Content-Security-Policy"]
    for directive in (
        "default-src 'none'", "script-src 'self' 'unsafe-inline'", "connect-src 'self'", "frame-ancestors 'none'",
    ):  # fmt: skip
        assert directive in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    made_of = await stage.ask("GET", "/docs/swagger-ui.css", status=200)
    assert "max-age" in made_of.headers["Cache-Control"]


async def test_browsers_are_told_to_stay_with_tls_where_it_was_used(stage):
    told = {"X-Forwarded-Proto": "https"}
    near = await stage.ask("GET", "/livez", headers=told, scope_base={"client": ("10.0.0.1", 1)})
    assert near.headers["Strict-Transport-Security"] == "max-age=31536000"
    far = await stage.ask("GET", "/livez", headers=told, scope_base={"client": ("10.0.0.2", 1)})
    assert "Strict-Transport-Security" not in far.headers


async def test_pages_of_the_origins_that_are_set_may_call_and_no_others(stage):
    asks = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "if-match",
    }
    let = await stage.ask("OPTIONS", "jobs", headers=asks, status=204)
    assert let.headers["Access-Control-Allow-Origin"] == PAGE
    assert "PUT" in let.headers["Access-Control-Allow-Methods"]
    assert "If-Match" in let.headers["Access-Control-Allow-Headers"]
    assert let.headers["Vary"] == "Origin"
    for stranger in ("https://evil.example", "null", f"{PAGE}.evil.example", PAGE.upper()):
        refused = await stage.ask("OPTIONS", "jobs", headers=asks | {"Origin": stranger}, status=405)
        assert not any(name.startswith("Access-Control") for name in refused.headers.keys())  # noqa: SIM118 - pairs otherwise
        read = await stage.ask("GET", "jobs", headers={"Origin": stranger}, status=200)
        assert "Access-Control-Allow-Origin" not in read.headers
        assert read.headers["Vary"] == "Origin"
    made = await stage.ask("POST", "jobs", json=JOB, headers={"Origin": PAGE}, status=201)
    problem = await stage.ask("GET", "/nowhere", headers={"Origin": PAGE}, status=404)
    for answer in (made, problem):
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        shown = answer.headers["Access-Control-Expose-Headers"].split(", ")
        for name in ("ETag", "Daybook-Position", "Link", "Location", "RateLimit-Limit", "RateLimit-Remaining",
                     "RateLimit-Reset", "Retry-After"):  # fmt: skip
            assert name in shown
        assert "Access-Control-Allow-Credentials" not in answer.headers
    plain = await stage.ask("OPTIONS", "jobs", headers={"Origin": PAGE}, status=405)
    assert plain.json["type"] == "/problems/method-not-allowed"


async def test_without_a_setting_no_page_may(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as stage:
        asks = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
        for method in ("OPTIONS", "GET"):
            answer = await stage.ask(method, "jobs", headers=asks)
            assert answer.status == {"OPTIONS": 405, "GET": 200}[method]
            assert not any(name.startswith("Access-Control") for name in answer.headers.keys())  # noqa: SIM118 - pairs otherwise
            assert "Vary" not in answer.headers
