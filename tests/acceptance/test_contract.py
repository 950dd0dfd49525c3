"""The API does what /openapi.json says, held against it by requests nobody thought of."""

import pytest

from services.api.event_filter import STREAMED
from services.api.operations import OPERATIONS
from tests.acceptance import contract
from tests.acceptance.system import System

SETTINGS = {
    "DAYBOOK_AUTH": "on",
    "DAYBOOK_SECRET_KEY": "contract" * 8,
    "DAYBOOK_TRUSTED_PROXIES": "127.0.0.0/8",
    "DAYBOOK_RATE_LIMIT": "off",
    "DAYBOOK_RATE_LIMIT_PER_ADDRESS": "off",
}


@pytest.fixture
def system(tmp_path):
    system = System(tmp_path, environment=SETTINGS | {"DAYBOOK_MAIL_DIR": str(tmp_path / "mail")})
    try:
        yield system.start()
    finally:
        system.destroy()


SHORT = ("--max-time", "30", "-n", "1")  # every phase, as far as it gets
LONG = ("--max-time", "600", "-n", "200")  # every phase, again and again


@pytest.mark.parametrize(
    "amount", [SHORT, pytest.param(LONG, marks=[pytest.mark.long, pytest.mark.timeout(960)])]
)
def test_the_live_api_is_as_its_document_says(system, tmp_path, amount):
    there = contract.prepare(system)
    status, said, report = contract.run(system, tmp_path, there, amount=amount, seed=7)
    counts = contract.answered(report)
    told = [f"{each.method.upper()} {each.path}" for each in OPERATIONS]
    endless = [each for each in OPERATIONS if each.media == STREAMED]
    for name, (answer, kind, first) in contract.streams(system, there, endless).items():
        assert (answer, kind, first[:6]) == (200, STREAMED, "retry:")
        counts[name] = {answer: 1}
    if status == 0 and (
        missed := contract.unanswered(counts, told)
    ):  # a busy machine does not get to all in the time
        only = ["--phases", "examples,coverage,fuzzing"]  # those alone may have no links to follow
        only += [part for name in missed for part in ("--include-name", name)]
        there = contract.prepare(system)  # of the first ones some are deleted by now
        status, said, report = contract.run(system, tmp_path, there, amount=(*amount, *only), seed=8)
        counts |= contract.answered(report)
    print(contract.table(counts, told))
    assert status == 0, said
    assert contract.unanswered(counts, told) == []
    failed = [line for service in system.of("api") for line in service.lines if line["level"] == "error"]
    assert failed == []
