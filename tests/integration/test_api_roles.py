"""Each route of the API is open to its role, and closed to those below it and to nobody."""

import re

import pytest
import pytest_asyncio

from services.api.auth import needed
from services.api.operations import OPERATIONS
from shared.domain import ids
from shared.domain.roles import ROLES, allows

from .api_stage import stage_on
from .test_api_auth import SECRET, by, key_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(valkey, postgres, tmp_path_factory):
    """One for all: whoever is let in sends nothing that could be done."""
    async with stage_on(
        valkey, postgres, tmp_path_factory.mktemp("files"), auth="on", secret_key=SECRET
    ) as made:
        made.deps.feed.end()  # a stream that is let in would have no end
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keys(stage):
    """A key of each role."""
    return {role: by(await key_of(stage, role)) for role in ROLES}


def way(operation):
    path = re.sub(r"\{\w+\}", ids.chance_id(ids.from_ms(1_800_000_000_000), 0, 5), operation.path)
    return operation.method.upper(), path


async def test_every_route_has_a_role_and_one_that_is_forgotten_needs_an_admin(stage):
    endpoints = {rule.endpoint for rule in stage.app.url_map.iter_rules()}
    assert endpoints - {each.name for each in OPERATIONS} == {"docs_redirect", "docs_file"}
    anybody = {each.name for each in OPERATIONS if each.role is None}
    assert anybody == {"health", "livez", "readyz", "openapi", "docs"}
    for each in OPERATIONS:
        if each.method != "get":
            assert each.role in {"operator", "editor", "admin"} or each.name in {
                "create_token",
                "preview_schedule",
                "simulate_job",
            }
    assert needed("forgotten", open_metrics=True) == "admin"
    assert needed(None, open_metrics=True) == "admin"


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.role], ids=lambda each: each.name)
async def test_a_route_is_open_to_its_role_and_closed_to_those_below_and_to_nobody(stage, keys, operation):
    method, path = way(operation)
    assert (await stage.ask(method, path)).status == 401
    for role in ROLES:
        answer = await stage.ask(method, path, headers=keys[role])
        if allows(role, operation.role):
            assert answer.status not in {401, 403}, answer.text
        else:
            assert (answer.status, answer.json["type"]) == (403, "/problems/forbidden")
            assert f"the role {operation.role}" in answer.json["detail"]


async def test_the_document_says_who_may(stage):
    document = (await stage.ask("GET", "/openapi.json", status=200)).json
    told = document["paths"]["/api/v1/jobs"]["post"]
    assert told["x-role"] == "editor"
    assert told["security"] == [{"bearer": []}, {"apiKey": []}]
    assert {"401", "403", "429"} <= set(told["responses"])
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    assert document["paths"]["/livez"]["get"]["security"] == []
