"""What data_processing computes, held against Python's own arithmetic, on real files of every format."""

import json
import statistics
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial

import duckdb
import pytest

from services.executor.datasets import BadDataset, UnknownColumn
from services.executor.handlers.data_processing import RulesViolated
from services.executor.handlers.data_processing_values import BadParameters
from services.executor.outcome import Returned, raised, returned
from services.executor.plugins import call_ours
from shared.job_types.catalog import Source
from shared.testing import a_told_run, resources
from tests.integration.data_kit import FORMATS, REGIONS, process, read, sales, written

ROWS = sales()
COLUMNS = list(ROWS[0])


@pytest.fixture
def csv(tmp_path):
    return written(tmp_path / "sales.csv", ROWS)


@pytest.fixture
def ask(tmp_path, csv):
    """Process the CSV file."""
    return partial(process, tmp_path, csv)


def chosen(result):
    return [row["id"] for row in result["sample"]]


def ids(condition):
    return [row["id"] for row in ROWS if condition(row)]


# aggregate.


@pytest.mark.parametrize("ending", FORMATS)
def test_all_numbers_of_a_file_are_summed_whatever_its_format(tmp_path, ending):
    result = process(tmp_path, written(tmp_path / f"sales.{ending}", ROWS), "aggregate")
    assert result.pop("seconds") > 0
    assert result == {
        "operation": "aggregate",
        "rows_read": 500,
        "rows": 1,
        "rows_written": 0,
        "columns": ["rows", "sum_id", "sum_amount", "sum_units"],
        "groups": [
            {
                "rows": 500,
                "sum_id": sum(range(500)),
                "sum_amount": sum(row["amount"] for row in ROWS),
                "sum_units": sum(row["units"] or 0 for row in ROWS),
            }
        ],
        "truncated": False,
    }


def test_the_body_of_the_mission_runs_as_it_stands(csv):
    offered = resources(sources={"sales_data": Source(name="sales_data", kind="csv", path=csv)})
    body = {
        "dataset": "sales_data",
        "operation": "aggregate",
        "parameters": {"record_count": 300, "aggregation_type": "sum"},
    }
    result = call_ours("data_processing", offered, a_told_run("data_processing", **body))
    assert (result["rows_read"], result["groups"][0]["sum_id"]) == (300, sum(range(300)))


def test_groups_have_each_kind_of_aggregate(ask):
    kinds = {
        "sum": sum,
        "avg": statistics.fmean,
        "min": min,
        "max": max,
        "count": len,
        "count_distinct": lambda values: len(set(values)),
        "median": statistics.median,
        "stddev": statistics.stdev,
        "variance": statistics.variance,
    }
    asked = [{"column": "units", "aggregation_type": kind, "name": kind} for kind in kinds]
    result = ask("aggregate", {"group_by": ["region"], "aggregations": asked})
    assert [group["region"] for group in result["groups"]] == sorted(REGIONS)
    for group in result["groups"]:
        values = [row["units"] for row in ROWS if row["region"] == group["region"] and row["units"]]
        for kind, function in kinds.items():
            assert group[kind] == pytest.approx(function(values)), kind


def test_an_aggregate_is_of_the_rows_that_fulfil_the_conditions(ask):
    result = ask(
        "aggregate", {"where": [{"column": "amount", "op": "<", "value": 1000.5}], "columns": ["amount"]}
    )
    few = [row["amount"] for row in ROWS if row["amount"] < 1000.5]
    assert result["rows_read"] == 500
    assert result["groups"] == [{"rows": len(few), "sum_amount": sum(few)}]


def test_text_is_counted_but_not_summed(ask):
    result = ask("aggregate", {"aggregation_type": "count_distinct", "columns": ["region"]})
    assert result["groups"] == [{"rows": 500, "count_distinct_region": 4}]
    with pytest.raises(BadParameters, match="sum is for numbers; region is VARCHAR"):
        ask("aggregate", {"columns": ["region"]})


def test_names_of_the_outcome_dont_collide(tmp_path):
    path = written(tmp_path / "a.csv", [{"rows": "a", "sum_x": 1, "x": 2}])
    result = process(tmp_path, path, "aggregate", {"group_by": ["rows", "sum_x"]})
    assert result["groups"] == [{"rows": "a", "sum_x": 1, "rows_2": 1, "sum_x_2": 2}]
    assert result["rows_read"] == 1
    twice = {"aggregations": [{"column": "x", "aggregation_type": "sum", "name": "ROWS"}]}
    with pytest.raises(BadParameters, match="already"):
        process(tmp_path, path, "aggregate", twice)


def test_groups_are_ordered_and_limited(ask):
    order = [{"column": "sum_amount", "descending": True}]
    result = ask("aggregate", {"group_by": ["region"], "columns": ["amount"], "order_by": order, "limit": 2})
    sums = Counter()
    for row in ROWS:
        sums[row["region"]] += row["amount"]
    assert [(group["region"], group["sum_amount"]) for group in result["groups"]] == sums.most_common(2)
    assert (result["rows_read"], result["rows"]) == (500, 2)


# filter.


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ([("region", "=", "north")], lambda row: row["region"] == "north"),
        ([("region", "!=", "north")], lambda row: row["region"] != "north"),
        ([("amount", ">=", 24_000)], lambda row: row["amount"] >= 24_000),
        ([("day", ">", "2026-12-01")], lambda row: row["day"] > "2026-12-01"),
        ([("day", "between", ["2026-02-01", "2026-02-03"])], lambda row: "2026-02-01" <= row["day"] <= "2026-02-03"),
        ([("id", "in", [3, 5, 10**15])], lambda row: row["id"] in {3, 5}),
        ([("id", "<", 9), ("region", "not_in", ["north", "east"])],
         lambda row: row["id"] < 9 and row["region"] not in {"north", "east"}),
        ([("units", "is_null")], lambda row: row["units"] is None),
        ([("units", "is_not_null"), ("id", "<", 20)], lambda row: row["units"] is not None and row["id"] < 20),
        ([("region", "contains", '"st; drop')], lambda row: '"st; drop' in row["region"]),
        ([("region", "starts_with", "we"), ("id", "<", 99)], lambda row: row["region"][:2] == "we" and row["id"] < 99),
        ([("region", "ends_with", "th"), ("id", "<", 99)], lambda row: row["region"][-2:] == "th" and row["id"] < 99),
        ([("region", "matches", "^(n|s)o"), ("id", "<", 99)], lambda row: row["region"][1] == "o" and row["id"] < 99),
        ([{"any": [{"column": "id", "op": "=", "value": 1}, {"not": {"column": "id", "op": "<", "value": 497}}]}],
         lambda row: row["id"] == 1 or row["id"] >= 497),
        ([{"all": [{"column": "id", "op": ">", "value": 7}, {"column": "id", "op": "<=", "value": 9}]}],
         lambda row: 7 < row["id"] <= 9),
    ],
)  # fmt: skip
def test_the_rows_that_fulfil_conditions_are_kept(ask, conditions, holds):
    where = [
        each if isinstance(each, dict) else dict(zip(("column", "op", "value"), each, strict=False))
        for each in conditions
    ]
    result = ask("filter", {"where": where, "order_by": [{"column": "id"}]})
    expected = ids(holds)
    assert expected
    assert (result["rows"], chosen(result)) == (len(expected), expected[:100])


def test_columns_are_picked_in_their_order_and_twins_dropped(ask):
    result = ask("filter", {"columns": ["region"], "distinct": True, "order_by": [{"column": "region"}]})
    assert result["sample"] == [{"region": region} for region in sorted(REGIONS)]
    assert ask("filter", {"columns": ["units", "id"], "limit": 1})["columns"] == ["units", "id"]


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ({"column": "amount", "op": "=", "value": "12"}, "write a number"),
        ({"column": "region", "op": "=", "value": 12}, "write a string"),
        ({"column": "day", "op": "=", "value": "yesterday"}, "it is no DATE"),
        ({"column": "id", "op": "contains", "value": "1"}, "contains is for text; id is BIGINT"),
        ({"column": "region", "op": "matches", "value": "(("}, "no regular expression"),
    ],
)
def test_a_value_that_doesnt_compare_with_its_column_is_given_up(ask, condition, why):
    with pytest.raises(BadParameters, match=why):
        ask("filter", {"where": [condition]})


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("filter", {"where": [{"column": "nope", "op": "is_null"}]}),
        ("filter", {"columns": ["nope"]}),
        ("filter", {"order_by": [{"column": "nope"}]}),
        ("aggregate", {"group_by": ["nope"]}),
        ("aggregate", {"columns": ["nope"]}),
        ("transform", {"rename": {"nope": "x"}}),
        ("transform", {"cast": {"nope": "text"}}),
        ("transform", {"columns": ["nope"]}),
        ("transform", {"computed": [{"name": "x", "function": "abs", "arguments": [{"column": "nope"}]}]}),
        ("validate", {"rules": [{"rule": "unique", "columns": ["nope"]}]}),
        ("validate", {"rules": [{"rule": "not_null", "column": "nope"}]}),
    ],
)
def test_a_column_that_isnt_there_is_named_with_those_that_are(ask, operation, parameters):
    with pytest.raises(UnknownColumn, match="no column 'nope'; there are") as caught:
        ask(operation, parameters)
    assert raised(caught.value).give_up


# transform.


def computed(function, *arguments):
    return {
        "name": "made",
        "function": function,
        "arguments": [
            {"column": each[1:]} if str(each).startswith("$") else {"value": each} for each in arguments
        ],
    }


@pytest.mark.parametrize(
    ("function", "arguments", "made"),
    [
        ("add", ("$id", "$amount", 1), lambda row: row["id"] + row["amount"] + 1),
        ("subtract", ("$amount", "$id"), lambda row: row["amount"] - row["id"]),
        ("multiply", ("$id", 3), lambda row: row["id"] * 3),
        ("divide", ("$amount", "$id"), lambda row: row["amount"] / row["id"] if row["id"] else None),
        ("modulo", ("$id", 7), lambda row: row["id"] % 7),
        ("negate", ("$id",), lambda row: -row["id"]),
        ("abs", ("$id",), lambda row: row["id"]),
        ("round", ("$amount", 1), lambda row: pytest.approx(row["amount"], abs=0.0501)),
        ("round", ("$amount",), lambda row: pytest.approx(row["amount"], abs=0.501)),
        ("floor", ("$amount",), lambda row: row["amount"] // 1),
        ("ceil", ("$amount",), lambda row: -(-row["amount"] // 1)),
        ("power", ("$id", 2), lambda row: row["id"] ** 2),
        ("sqrt", ("$id",), lambda row: pytest.approx(row["id"] ** 0.5)),
        ("least", ("$id", 5), lambda row: min(row["id"], 5)),
        ("greatest", ("$id", 5), lambda row: max(row["id"], 5)),
        ("coalesce", ("$units", -1), lambda row: -1 if row["units"] is None else row["units"]),
        ("concat", ("$region", "-", "$id"), lambda row: f"{row['region']}-{row['id']}"),
        ("upper", ("$region",), lambda row: row["region"].upper()),
        ("lower", ("$region",), lambda row: row["region"].lower()),
        ("trim", ("$region",), lambda row: row["region"].strip()),
        ("length", ("$region",), lambda row: len(row["region"])),
        ("replace", ("$region", "th", "'); drop"), lambda row: row["region"].replace("th", "'); drop")),
        ("substring", ("$region", 2, 3), lambda row: row["region"][1:4]),
        ("date", ("$day",), lambda row: row["day"]),
        ("year", ("$day",), lambda row: int(row["day"][:4])),
        ("quarter", ("$day",), lambda row: (int(row["day"][5:7]) + 2) // 3),
        ("month", ("$day",), lambda row: int(row["day"][5:7])),
        ("day", ("$day",), lambda row: int(row["day"][8:])),
        ("month_start", ("$day",), lambda row: row["day"][:8] + "01"),
        ("year_start", ("$day",), lambda row: row["day"][:5] + "01-01"),
        ("day_start", ("$day",), lambda row: row["day"]),
        ("quarter_start", ("$day",), lambda row: f"2026-{(int(row['day'][5:7]) - 1) // 3 * 3 + 1:02}-01"),
        ("days_between", ("$day", "$day"), lambda _: 0),
    ],
)
def test_a_function_makes_a_column(ask, function, arguments, made):
    result = ask("transform", {"computed": [computed(function, *arguments)], "columns": ["id", "made"]})
    for row in result["sample"]:
        value = row["made"]
        found = value[:10] if function.endswith("_start") else value
        assert found == made(ROWS[row["id"]])


@pytest.mark.parametrize(("function", "made"), [("weekday", 5), ("week_start", "2026-11-23"), ("hour", 17)])
def test_functions_of_times(tmp_path, function, made):
    path = written(tmp_path / "a.csv", [{"at": "2026-11-27 17:30:00"}])
    result = process(tmp_path, path, "transform", {"computed": [computed(function, "$at")]})
    assert str(result["sample"][0]["made"]).startswith(str(made))


def test_columns_are_cast_renamed_and_picked(ask):
    parameters = {
        "cast": {"id": "text", "amount": "decimal(18,2)"},
        "rename": {"amount": "Betrag", "id": "number"},
        "computed": [computed("add", "$amount", 1)],
        "columns": ["made", "number", "Betrag"],
        "where": [{"column": "id", "op": "<", "value": 2}],
        "order_by": [{"column": "Betrag"}],
    }
    expected = [
        {"made": row["amount"] + 1, "number": str(row["id"]), "Betrag": row["amount"]} for row in ROWS[:2]
    ]
    assert ask("transform", parameters)["sample"] == sorted(expected, key=lambda row: row["Betrag"])


def test_names_may_be_exchanged_but_not_doubled(ask):
    result = ask("transform", {"rename": {"id": "units", "units": "id"}, "limit": 1})
    assert result["columns"] == ["units", "region", "amount", "id", "day"]
    with pytest.raises(BadParameters, match="already"):
        ask("transform", {"rename": {"id": "REGION"}})
    with pytest.raises(BadParameters, match="already"):
        ask("transform", {"computed": [computed("abs", "$id") | {"name": "Id"}]})


def test_a_cell_that_cant_be_cast_fails_the_attempt_or_is_emptied(ask):
    with pytest.raises(BadDataset, match="to INT32 when casting from source column region"):
        ask("transform", {"cast": {"region": "integer"}})
    emptied = ask("transform", {"cast": {"region": "integer"}, "on_cast_error": "null", "limit": 1})
    assert emptied["sample"][0]["region"] is None


def test_a_function_that_doesnt_take_the_columns_type_is_given_up(ask):
    with pytest.raises(BadParameters, match="sqrt"):
        ask("transform", {"computed": [computed("sqrt", "$region")]})


# join.


BOSSES = [
    {"region": "north", "boss": "Ann", "amount": 1},
    {"region": "north", "boss": "Abe", "amount": 2},
    {"region": "mars", "boss": "Cyd", "amount": 3},
]


@pytest.mark.parametrize("how", ["inner", "left", "right", "full", "semi", "anti"])
def test_two_datasets_meet(tmp_path, ask, how):
    other = written(tmp_path / "bosses.jsonl", BOSSES)
    output = tmp_path / "joined.jsonl"
    result = ask("join", {"with": str(other), "on": ["region"], "how": how}, output)
    matched = defaultdict(list)
    for boss in BOSSES:
        matched[boss["region"]].append(boss)
    expected = []
    for row in ROWS:
        partners = matched[row["region"]]
        if how in {"semi", "anti"}:
            expected += [row] if bool(partners) == (how == "semi") else []
        else:
            nobody = [{}] if how in {"left", "full"} else []
            for boss in partners or nobody:
                expected.append(row | {"boss": boss.get("boss"), "amount_right": boss.get("amount")})
    if how in {"right", "full"}:
        lonely = dict.fromkeys(COLUMNS) | {"region": "mars", "boss": "Cyd", "amount_right": 3}
        expected.append(lonely)
    assert result["rows_written"] == len(expected)
    assert canonical(read(output)) == canonical(expected)


def test_conditions_and_columns_of_a_join_speak_of_its_outcome(tmp_path, ask):
    other = written(
        tmp_path / "bosses.csv", [{"area": boss["region"], "chief": boss["boss"]} for boss in BOSSES]
    )
    parameters = {
        "with": str(other),
        "on": ["region"],
        "right_on": ["area"],
        "where": [{"column": "chief", "op": "=", "value": "Ann"}],
        "columns": ["chief", "id"],
        "order_by": [{"column": "id"}],
    }
    expected = [{"chief": "Ann", "id": each} for each in ids(lambda row: row["region"] == "north")]
    assert ask("join", parameters)["sample"] == expected[:100]


def canonical(rows):
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)


# validate.


def test_each_rule_counts_what_violates_it_and_shows_some(ask):
    rules = [
        {"rule": "not_null", "column": "units"},
        {"rule": "unique", "columns": ["id"]},
        {"rule": "unique", "columns": ["region"]},
        {"rule": "range", "column": "amount", "min": 10, "max": 24_000},
        {"rule": "range", "column": "day", "min": "2026-02-01"},
        {"rule": "pattern", "column": "region", "pattern": "[a-z]+"},
        {"rule": "allowed", "column": "region", "values": ["north", "south"]},
        {"rule": "row_count", "min": 1, "max": 499},
        {"rule": "row_count", "max": 500},
    ]
    result = ask("validate", {"rules": rules})
    beyond = sorted(row["amount"] for row in ROWS if not 10 <= row["amount"] <= 24_000)
    early = sorted({row["day"] for row in ROWS if row["day"] < "2026-02-01"})
    assert [each["violations"] for each in result["rules"]] == [
        50,
        0,
        496,
        len(beyond),
        sum(row["day"] < "2026-02-01" for row in ROWS),
        sum(row["region"] == REGIONS[3] for row in ROWS),
        sum(row["region"] in REGIONS[2:] for row in ROWS),
        1,
        0,
    ]
    assert result["rules"][3]["samples"] == sorted(set(beyond))[:5]
    assert result["rules"][4]["samples"] == early[:5]
    assert result["rules"][5]["samples"] == [REGIONS[3]]
    assert result["rules"][2]["samples"] == [{"region": region} for region in sorted(REGIONS)]
    assert result["rules"][2]["on"] == "region"


def test_rules_are_for_the_rows_that_fulfil_the_conditions(ask):
    where = [{"column": "units", "op": "is_not_null"}]
    result = ask("validate", {"rules": [{"rule": "not_null", "column": "units"}], "where": where})
    assert (result["rows_read"], result["rows"], result["rules"][0]["violations"]) == (500, 450, 0)


def test_a_violation_fails_the_run_for_good_if_the_job_says_so(ask):
    rules = [{"rule": "not_null", "column": "units"}, {"rule": "unique", "columns": ["id"]}]
    with pytest.raises(RulesViolated, match=r"of 500 rows, so many violate: not_null units: 50$"):
        ask("validate", {"rules": rules, "fail_on_violation": True})
    assert ask("validate", {"rules": rules[1:], "fail_on_violation": True})["rules"][0]["violations"] == 0


# sql.


def test_a_query_of_ones_own_reads_the_view(ask):
    query = "SELECT region, sum(units) AS units FROM dataset GROUP BY ALL ORDER BY ALL -- and no more"
    result = ask("sql", {"query": query}, allow_sql=True)
    sums = Counter()
    for row in ROWS:
        sums[row["region"]] += row["units"] or 0
    assert result["sample"] == [{"region": region, "units": sums[region]} for region in sorted(REGIONS)]


# Reading, writing, results.


@pytest.mark.parametrize("ending", ["csv", "parquet", "json", "jsonl"])
def test_what_is_written_is_read_again(tmp_path, ask, ending):
    output = tmp_path / "deep" / "er" / f"out.{ending}"
    result = ask("filter", {"where": [{"column": "id", "op": "<", "value": 20}]}, output)
    rows = [{name: None if value == "" else value for name, value in row.items()} for row in read(output)]
    assert [[str(value) for value in row.values()] for row in rows] == [
        [str(value) for value in row.values()] for row in ROWS[:20]
    ]
    assert (result["rows_written"], result["output"], result["bytes"]) == (
        20,
        str(output),
        output.stat().st_size,
    )
    assert "sample" not in result


def test_an_aggregate_is_written_too_and_stays_in_the_result(tmp_path, ask):
    output = tmp_path / "sums.json"
    result = ask("aggregate", {"group_by": ["region"], "columns": ["amount"]}, output)
    assert read(output) == result["groups"]


def test_running_twice_leaves_what_running_once_does_and_nothing_beside(tmp_path, csv, ask):
    output = tmp_path / "out.csv"
    ask("filter", {"limit": 3}, output)
    once = output.read_bytes()
    ask("filter", {"limit": 3}, output)
    assert output.read_bytes() == once
    assert {path.name for path in tmp_path.iterdir()} == {"out.csv", csv.name}


def test_a_file_may_be_replaced_by_what_is_made_of_it(tmp_path, csv):
    process(tmp_path, csv, "filter", {"limit": 3}, csv)
    assert [row["id"] for row in read(csv)] == ["0", "1", "2"]


def test_the_first_rows_are_the_records_that_count(ask):
    result = ask("filter", {"record_count": 50, "order_by": [{"column": "id", "descending": True}]})
    assert (result["rows_read"], chosen(result)) == (50, list(range(49, -1, -1)))


def test_a_result_is_small_and_says_what_is_left_out(tmp_path):
    rows = [{"key": f"{number:05}", "long": "ł" * 300} for number in range(1_000)]
    path = written(tmp_path / "a.csv", rows)
    for operation in ("aggregate", "filter"):
        result = process(
            tmp_path, path, operation, {"group_by": ["key", "long"]} if operation == "aggregate" else {}
        )
        listed = result.get("groups") or result["sample"]
        assert (result["rows"], result["truncated"]) == (1_000, True)
        assert 0 < len(listed) <= 100
        assert listed[0]["long"] == "ł" * 200 + "…"
        assert isinstance(returned(result), Returned)


def test_many_long_names_dont_break_a_result(tmp_path):
    path = written(tmp_path / "a.csv", [{f"{'ł' * 100}{number}": number for number in range(300)}])
    for operation in ("aggregate", "filter", "transform"):
        result = process(tmp_path, path, operation)
        assert result["truncated"]
        assert isinstance(returned(result), Returned)


def test_numbers_that_json_doesnt_have_are_strings(tmp_path):
    path = tmp_path / "a.parquet"
    values = "SELECT 'nan'::DOUBLE AS a, 12345678901234567.89::DECIMAL(30,2) AS b, 1.5::DECIMAL(9,1) AS c"
    duckdb.execute(f"COPY ({values}, [1, 2] AS d, TIMESTAMPTZ '2026-01-01 00:00:00+01' AS e) TO '{path}'")
    assert process(tmp_path, path, "filter")["sample"] == [
        {"a": "nan", "b": "12345678901234567.89", "c": 1.5, "d": "[1, 2]", "e": "2025-12-31 23:00:00+00"}
    ]


def test_types_that_the_first_rows_dont_show_can_be_said(tmp_path):
    path = written(tmp_path / "a.csv", [{"code": "12", "x": 1}])
    assert process(tmp_path, path, "filter")["sample"] == [{"code": 12, "x": 1}]
    told = {"path": str(path), "types": {"code": "text", "x": "decimal(9,2)"}}
    assert process(tmp_path, told, "filter")["sample"] == [{"code": "12", "x": 1}]
    with pytest.raises(UnknownColumn):
        process(tmp_path, told | {"types": {"nope": "text"}}, "filter")


def test_a_format_can_be_said_where_the_name_doesnt(tmp_path):
    path = written(tmp_path / "a.csv", ROWS).rename(tmp_path / "a.dat")
    assert process(tmp_path, {"path": str(path), "format": "csv"}, "filter")["rows"] == 500


def test_progress_is_told(tmp_path, csv):
    seen = []

    class Reporter:
        def log(self, text):
            seen.append(text)

        def progress(self, ratio, message):
            seen.append((ratio, message))

    run = a_told_run("data_processing", dataset=str(csv), operation="aggregate")
    process(tmp_path, csv, "aggregate", run=replace(run, reporter=Reporter()))
    assert seen[0] == (0.0, f"opening {csv}")
    assert seen[-2] == (1.0, "500 rows read")
    assert "500 rows" in seen[-1]
