"""What data_processing refuses when a job is made, and where the finger points."""

from pathlib import Path

import pytest

from shared import job_types
from shared.job_types.catalog import Catalog, Source
from shared.job_types.data_functions import ARITIES
from shared.job_types.data_processing import DataProcessing

CATALOG = Catalog(
    files_roots=(Path("/data"),),
    sources={
        "sales_data": Source(name="sales_data", kind="csv", path=Path("/elsewhere/sales.csv")),
        "shop": Source(name="shop", kind="postgres", url="postgres://shop"),
    },
)
KNOWN = job_types.Known()


def checked(catalog=CATALOG, **data):
    return job_types.check("data_processing", data, known=KNOWN, catalog=catalog)


def faults(catalog=CATALOG, **data):
    with pytest.raises(job_types.BadJobData) as caught:
        checked(catalog, **data)
    return {fault.pointer.removeprefix("#/job_data"): fault.detail for fault in caught.value.faults}


def parameters(operation, **given):
    return faults(dataset="sales_data", operation=operation, parameters=given)


THE_BODY = {
    "dataset": "sales_data",
    "operation": "aggregate",
    "parameters": {"record_count": 5000, "aggregation_type": "sum"},
}
NESTED = {
    "not": {"all": [{"column": "a", "op": "is_null"}, {"any": [{"column": "b", "op": "in", "value": [1]}]}]}
}


@pytest.mark.parametrize(
    "data",
    [
        THE_BODY,
        {"dataset": "/data/a.csv.gz", "operation": "aggregate"},
        {"dataset": "/data/[a]*?.csv", "operation": "filter"},
        {"dataset": {"source": "sales_data"}, "operation": "filter", "parameters": {"where": [NESTED]}},
        {
            "dataset": {"path": "/data/a", "format": "csv", "types": {"x": "decimal(18,2)"}},
            "operation": "filter",
        },
        {"dataset": {"source": "shop", "table": "public.orders"}, "operation": "aggregate"},
        {
            "dataset": "sales_data",
            "operation": "join",
            "parameters": {"with": "/data/b.parquet", "on": ["id"], "how": "left"},
            "output": {"path": "/data/deep/er/out.parquet"},
        },
    ],
)
def test_what_is_right_is_kept_as_it_was_written(data):
    assert checked(**data) == data


@pytest.mark.parametrize(
    ("dataset", "pointer", "said"),
    [
        ("nowhere", "/dataset", "there are sales_data, shop"),
        ("sales.csv", "/dataset", "a file is named by its absolute path"),
        ("/etc/passwd.csv", "/dataset", "outside the directories jobs may touch (/data)"),
        ("/data/../etc/a.csv", "/dataset", "without '..'"),
        ("/data/a.csv\0", "/dataset", "absolute path"),
        ("/data/a.zip", "/dataset", "must end in one of .csv"),
        ("/data/a.parquet.gz", "/dataset", "packs its columns itself"),
        ("", "/dataset/source", "at least 1"),
        (7, "/dataset", "write a source's name"),
        ({"source": "sales_data", "path": "/data/a.csv"}, "/dataset", "either a source or a path"),
        ({}, "/dataset", "either a source or a path"),
        ({"path": "/data/a.csv", "table": "t"}, "/dataset", "a file has no table"),
        ({"source": "sales_data", "table": "t"}, "/dataset/table", "has no tables"),
        ({"source": "shop"}, "/dataset", '"table"'),
        ({"path": "/data/a.csv", "types": {"x": "blob"}}, "/dataset/types/x", "write one of boolean"),
        ({"path": "/data/a.csv", "types": {"x": "decimal(3,9)"}}, "/dataset/types/x", "write one of boolean"),
    ],
)
def test_a_dataset_that_isnt_to_be_had_is_refused(dataset, pointer, said):
    found = faults(dataset=dataset, operation="aggregate")
    assert list(found) == [pointer]
    assert said in found[pointer]


def test_without_sources_and_roots_the_sentence_says_who_gives_them():
    assert "DAYBOOK_SOURCES" in faults(Catalog(), **THE_BODY)["/dataset"]
    assert "DAYBOOK_FILES_ROOTS" in faults(Catalog(), dataset="/data/a.csv", operation="filter")["/dataset"]


@pytest.mark.parametrize(
    "path", ["/etc/out.csv", "out.csv", "/data/../out.csv", "/data/out", "/data/out.txt"]
)
def test_an_output_must_lie_inside_the_roots_and_say_its_format(path):
    assert set(faults(**THE_BODY, output={"path": path})) <= {"/output", "/output/path"}


def test_sql_is_refused_unless_the_operator_allows_it():
    data = {"dataset": "sales_data", "operation": "sql", "parameters": {"query": "SELECT 1"}}
    assert "DAYBOOK_ALLOW_SQL" in faults(**data)["/operation"]
    allowing = Catalog(sources=CATALOG.sources, allow_sql=True)
    assert checked(allowing, **data) == data


def test_both_datasets_of_a_join_are_checked():
    assert list(parameters("join", on=["id"], **{"with": "nowhere"})) == ["/parameters/with"]
    assert list(parameters("join", on=["id"], **{"with": "/etc/a.csv"})) == ["/parameters/with"]


@pytest.mark.parametrize(
    ("condition", "pointer"),
    [
        ({"column": "a", "op": "; drop", "value": 1}, "/op"),
        ({"column": "a", "op": "="}, ""),
        ({"column": "a", "op": "is_null", "value": 1}, ""),
        ({"column": "a", "op": "=", "value": [1]}, ""),
        ({"column": "a", "op": "in", "value": 1}, ""),
        ({"column": "a", "op": "in", "value": []}, "/value"),
        ({"column": "a", "op": "between", "value": [1]}, ""),
        ({"column": "a", "op": "matches", "value": 1}, ""),
        ({"column": "a", "op": "=", "value": {"b": 1}}, "/value"),
        ({"column": "a", "op": "=", "value": None}, "/value"),
        ({"column": "a", "op": "=", "value": 2**63}, "/value"),
        ({"column": "a", "op": "=", "value": "x" * 5_000}, "/value"),
        ({"column": "a\0", "op": "=", "value": 1}, "/column"),
        ({"op": "=", "value": 1}, ""),
        ({}, ""),
        ({"column": "a", "op": "is_null", "all": [NESTED]}, ""),
        ({"any": []}, "/any"),
        ({"any": [{"column": "a", "op": "<>", "value": 1}]}, "/any/0/op"),
    ],
)
def test_a_condition_that_makes_no_sense_is_pointed_at(condition, pointer):
    assert list(parameters("filter", where=[condition])) == [f"/parameters/where/0{pointer}"]


def test_conditions_are_bounded_in_depth_and_number():
    deep = {"column": "a", "op": "is_null"}
    for _ in range(5):
        deep = {"not": deep}
    assert "levels" in parameters("filter", where=[deep])["/parameters/where"]
    checked(dataset="sales_data", operation="filter", parameters={"where": [deep["not"]]})
    wide = {"any": [{"column": "a", "op": "is_null"}] * 100}
    assert "more than 100" in parameters("filter", where=[wide])["/parameters/where"]


@pytest.mark.parametrize(
    ("operation", "given", "pointer"),
    [
        ("aggregate", {"aggregation_type": "exec"}, "/aggregation_type"),
        ("aggregate", {"record_count": 0}, "/record_count"),
        ("aggregate", {"group_by": ["a", "A"]}, ""),
        ("aggregate", {"columns": ["a"], "aggregations": [{"column": "a", "aggregation_type": "sum"}]}, ""),
        ("aggregate", {"having": "1=1"}, "/having"),
        ("filter", {"columns": []}, "/columns"),
        ("transform", {"cast": {"a": "varchar; drop"}}, "/cast/a"),
        (
            "transform",
            {"computed": [{"name": "x", "function": "system", "arguments": [{"value": 1}]}]},
            "/computed/0/function",
        ),
        (
            "transform",
            {"computed": [{"name": "x", "function": "divide", "arguments": [{"value": 1}]}]},
            "/computed/0",
        ),
        (
            "transform",
            {"computed": [{"name": "x", "function": "abs", "arguments": [{}]}]},
            "/computed/0/arguments/0",
        ),
        ("transform", {"rename": {"a": "x", "b": "X"}}, ""),
        ("join", {"with": "sales_data", "on": ["a", "b"], "right_on": ["a"]}, ""),
        ("join", {"on": ["a"]}, "/with"),
        ("validate", {"rules": []}, "/rules"),
        ("validate", {"rules": [{"rule": "range", "column": "a"}]}, "/rules/0"),
        ("validate", {"rules": [{"rule": "unique", "column": "a"}]}, "/rules/0"),
        ("validate", {"rules": [{"rule": "row_count", "min": -1}]}, "/rules/0"),
        ("validate", {"rules": [{"rule": "row_count", "max": "many"}]}, "/rules/0"),
    ],
)
def test_parameters_that_make_no_sense_are_pointed_at(operation, given, pointer):
    assert list(parameters(operation, **given)) == [f"/parameters{pointer}"]


def test_a_validation_writes_nothing():
    rules = {"rules": [{"rule": "row_count", "min": 1}]}
    data = {"dataset": "sales_data", "operation": "validate", "parameters": rules}
    assert list(faults(**data, output={"path": "/data/out.csv"})) == ["/output"]


def test_an_unknown_operation_is_refused_with_those_there_are():
    assert "'transform'" in faults(dataset="sales_data", operation="delete")["/operation"]


def test_each_function_says_how_many_arguments_it_takes():
    assert all(1 <= least <= most for least, most in ARITIES.values())


def test_the_schema_says_that_a_dataset_may_be_a_string():
    options = DataProcessing.model_json_schema()["$defs"]["Dataset"]["anyOf"]
    assert [each["type"] for each in options] == ["string", "object"]
