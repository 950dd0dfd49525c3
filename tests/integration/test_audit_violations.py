"""`daybook audit verify`: each violation is seen by its own line."""

import itertools

import pytest
import pytest_asyncio

from services.projector.audit import Invariant
from tests.integration.audit_kit import a_copy, an_original
from tests.integration.audit_stores import STORES
from tests.integration.audit_stories import STORIES

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("audit violations")]
_numbers = itertools.count(1)
PLANTED = [*STORIES, *STORES]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def original(postgres, valkey):
    async with an_original(postgres, valkey) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def copy(original):
    async with a_copy(original, next(_numbers)) as made:
        yield made


@pytest.mark.parametrize(("plant", "lines"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
async def test_a_violation_is_seen_by_its_own_line(copy, plant, lines):
    await plant(copy)
    wrong = await copy.wrong()
    assert wrong.keys() == lines, wrong
    assert all(wrong.values())


async def test_every_line_is_seen_to_fail():
    assert set().union(*(lines for _, lines in PLANTED)) == {each.name.lower() for each in Invariant}
