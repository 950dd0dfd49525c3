"""What `data_processing` makes of ten million rows, in a process of the pool: seconds, rows a second, peak memory.

Run it with `make bench-data`. It ends with 1 if a process took more than a gigabyte.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from services.executor.handlers import data_processing
from services.executor.notebook import Notebook
from services.executor.outcome import Returned
from services.executor.pool import Pool
from shared.testing import a_told_run, resources

PEAK_MAX = 1_000_000_000  # bytes
TIMEOUT_S = 600
MAKE = """
import duckdb, sys
duckdb.sql("SET enable_progress_bar = false")
made = duckdb.sql('''
    SELECT i AS id, 'region ' || (hash(i) % 7) AS region, (hash(i + 1) % 1000000)::INTEGER AS customer,
           (hash(i + 2) % 10000000) / 100 AS amount, (hash(i + 3) % 100)::SMALLINT AS units,
           DATE '2020-01-01' + (hash(i + 4) % 2000)::INTEGER AS day
    FROM range(''' + sys.argv[1] + ''') AS made(i)''')
made.write_parquet(sys.argv[2] + "/rows.parquet")
made.write_csv(sys.argv[2] + "/rows.csv")
"""
BY_MONTH = {
    "computed": [{"name": "month", "function": "month_start", "arguments": [{"column": "day"}]}],
    "where": [{"column": "units", "op": ">", "value": 10}],
}
CASES = [  # what it is called, of which file, operation, parameters, whether it writes
    ("sum of all, Parquet", "rows.parquet", "aggregate", {}, ""),
    ("sum of all, CSV", "rows.csv", "aggregate", {}, ""),
    ("7 groups, CSV", "rows.csv", "aggregate", {"group_by": ["region"], "aggregation_type": "avg"}, ""),
    ("1,000,000 groups, Parquet", "rows.parquet", "aggregate", {"group_by": ["customer"]}, "sums.parquet"),
    ("1,000,000 groups, CSV", "rows.csv", "aggregate", {"group_by": ["customer"]}, "sums.csv"),
    ("transform, CSV to Parquet", "rows.csv", "transform", BY_MONTH, "months.parquet"),
    ("unique, Parquet", "rows.parquet", "validate", {"rules": [{"rule": "unique", "columns": ["id"]}]}, ""),
]


def measured(root, run):
    """What the handler returns, and the most memory its process ever had, in bytes."""
    result = data_processing.handle(run, resources(files_roots=(root,)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"result": result, "peak": peak if sys.platform == "darwin" else peak * 1024}


async def call(root, name, operation, parameters, output):
    """A case's outcome, in a process of its own."""
    told = {"dataset": str(root / name), "operation": operation, "parameters": parameters}
    if output:
        told["output"] = {"path": str(root / output)}
    pool = Pool(processes=1, log_level="INFO", log_format="json")
    try:
        outcome = await pool.call(
            partial(measured, root),
            a_told_run("data_processing", **told),
            Notebook(lambda _: None),
            timeout_s=TIMEOUT_S,
            context={},
        )
    finally:
        pool.stop()
        await asyncio.sleep(0.1)  # until its connection has ended
        pool.close()
    if not isinstance(outcome, Returned):
        sys.exit(f"{name}, {operation}: {outcome.error}")
    return outcome.result


async def compare(root, rows):
    """Print a line for each case; the greatest peak."""
    print(f"{rows:,} rows: Parquet {size(root / 'rows.parquet')}, CSV {size(root / 'rows.csv')}")
    print(f"{'':28}{'seconds':>9}{'rows/s':>14}{'peak RSS':>12}")
    peaks = []
    for called, *case in CASES:
        found = await call(root, *case)
        seconds, peak = found["result"]["seconds"], found["peak"]
        if found["result"]["rows_read"] != rows:
            sys.exit(f"{called}: read {found['result']['rows_read']:,} rows")
        print(f"{called:28}{seconds:9.2f}{rows / seconds:14,.0f}{peak / 1e6:9.0f} MB", flush=True)
        peaks.append(peak)
    return max(peaks)


def size(path):
    """Of a file, for people."""
    return f"{path.stat().st_size / 1e6:,.0f} MB"


def main():
    """Make the rows, work on them, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="daybook-bench-") as folder:
        subprocess.run([sys.executable, "-c", MAKE, str(rows), folder], check=True)
        peak = asyncio.run(compare(Path(folder), rows))
    print(f"the greatest peak is {peak / 1e6:.0f} MB; {PEAK_MAX / 1e6:.0f} MB are allowed")
    sys.exit(peak > PEAK_MAX)


if __name__ == "__main__":
    main()
