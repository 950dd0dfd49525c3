"""data_processing where it really runs: in a process of the pool, which may be killed at any moment."""

from functools import partial

import duckdb
import pytest

from services.executor.notebook import Notebook
from services.executor.outcome import Returned
from services.executor.plugins import call_ours
from services.executor.pool import Pool
from shared.testing import a_told_run, resources, wait_until


@pytest.fixture
async def pool():
    made = Pool(processes=1, log_level="INFO", log_format="json")
    yield made
    made.stop()
    made.close()


@pytest.fixture
def call(pool, tmp_path):
    """Call the handler in the pool; `heard` is told each progress."""

    async def called(operation, parameters, *, output="", heard=None, timeout_s=60):
        told = {"dataset": str(tmp_path / "rows.parquet"), "operation": operation, "parameters": parameters}
        if output:
            told["output"] = {"path": str(tmp_path / output)}
        function = partial(call_ours, "data_processing", resources(files_roots=(tmp_path,), allow_sql=True))
        said = [] if heard is None else heard
        run = a_told_run("data_processing", **told)
        return await pool.call(function, run, Notebook(said.append), timeout_s=timeout_s, context={})

    return called


@pytest.fixture
def rows(tmp_path):
    made = duckdb.sql("SELECT i, i % 7 AS week, hash(i) % 1000 AS amount FROM range(200_000) AS r(i)")
    made.write_parquet(str(tmp_path / "rows.parquet"))


ENDLESS = {
    "query": "SELECT count(*) FROM dataset a, dataset b, dataset c WHERE a.amount + b.amount < c.amount"
}


async def test_it_runs_in_a_process_of_the_pool(rows, call):
    outcome = await call("aggregate", {"group_by": ["week"]})
    assert isinstance(outcome, Returned)
    assert sum(group["rows"] for group in outcome.result["groups"]) == 200_000


async def test_it_is_killed_when_its_time_is_over_and_says_how_far_it_was(rows, call):
    heard = []
    outcome = await call("sql", ENDLESS, heard=heard, timeout_s=3)
    assert (outcome.error.class_, outcome.error.message) == ("TimeoutError", "timed out after 3 s")
    assert "opening" in heard[0]


async def test_what_is_given_up_says_so_across_the_process(rows, call):
    outcome = await call("aggregate", {"columns": ["nope"]})
    assert (outcome.error.class_, outcome.give_up) == ("UnknownColumn", True)
    outcome = await call("sql", {"query": "DROP VIEW dataset"})
    assert (outcome.error.class_, outcome.give_up) == ("SqlRefused", True)


async def test_of_an_output_that_a_killed_run_had_begun_nothing_is_left(rows, call, tmp_path):
    outcome = await call("sql", ENDLESS, output="out.csv", timeout_s=3)
    assert outcome.error.class_ == "TimeoutError"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]
    assert isinstance(await call("filter", {"limit": 3}, output="out.csv"), Returned)
    await wait_until(
        lambda: (tmp_path / "out.csv").read_text() == "i,week,amount\n" + first(tmp_path), "it is whole"
    )


def first(folder):
    found = duckdb.sql(f"SELECT * FROM '{folder / 'rows.parquet'}' LIMIT 3").fetchall()  # noqa: S608 - ours
    return "".join(",".join(map(str, row)) + "\n" for row in found)
