"""Systems for tests; when a test fails, what its services said last stands in the report."""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if hasattr(value, "tails"):
                report.sections.append((f"what the services of `{name}` said last", value.tails()))
    return report
