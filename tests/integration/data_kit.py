"""Datasets of the tests of `data_processing`: written as each format, and the handler called on them."""

import csv
import gzip
import json
import random

import duckdb
import zstandard

from services.executor.handlers import data_processing
from shared.testing import a_told_run, resources

REGIONS = ["north", "south", "east", 'we"st; drop table']
FORMATS = ["csv", "parquet", "json", "jsonl", "csv.gz", "csv.zst", "jsonl.gz"]


def sales(count=500, seed=7):
    """Rows with whole numbers, money, text, dates and empty cells."""
    chance = random.Random(seed)
    return [
        {
            "id": number,
            "region": chance.choice(REGIONS),
            "amount": chance.randrange(1, 100_000) / 4,
            "units": chance.randrange(1, 9) if number % 10 else None,
            "day": f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
        }
        for number in range(count)
    ]


def written(path, rows):
    """`path`, with the rows in the format that its ending says."""
    name = path.name
    if ".csv" in name:
        lines = path.with_name("lines")
        with lines.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        data = lines.read_bytes()
        lines.unlink()
    elif name.endswith(".json"):
        data = json.dumps(rows).encode()
    elif ".jsonl" in name:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    elif name.endswith(".parquet"):
        source = written(path.with_name("rows.json"), rows)
        duckdb.execute(f"COPY (FROM read_json('{source}')) TO '{path}' (FORMAT parquet)")
        source.unlink()
        return path
    if name.endswith(".gz"):
        data = gzip.compress(data)
    if name.endswith(".zst"):
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


def read(path):
    """The rows of a file that a run has written."""
    match path.suffix:
        case ".csv":
            with path.open(newline="") as file:
                return list(csv.DictReader(file))
        case ".json":
            return json.loads(path.read_text())
        case ".jsonl":
            return [json.loads(line) for line in path.read_text().splitlines()]
        case ".parquet":
            found = duckdb.execute(f"FROM '{path}'")
            return [
                dict(zip([each[0] for each in found.description], row, strict=True))
                for row in found.fetchall()
            ]


def process(root, dataset, operation, parameters=None, output=None, run=None, **offered):
    """What a run of the job returns, in an executor that may touch `root`."""
    data = {"dataset": str(dataset) if not isinstance(dataset, dict) else dataset, "operation": operation}
    if parameters is not None:
        data["parameters"] = parameters
    if output is not None:
        data["output"] = {"path": str(output)} if not isinstance(output, dict) else output
    return data_processing.handle(
        run or a_told_run("data_processing", **data), resources(files_roots=(root,), **offered)
    )
