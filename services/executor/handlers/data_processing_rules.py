"""Rules that rows are held to: how many violate each, and some of the values that do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.executor.datasets import quoted
from services.executor.handlers.data_processing_rows import shown
from services.executor.handlers.data_processing_values import BadParameters, Bindings, where
from shared.job_types.data_processing import RuleResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.executor.datasets import Datasets, Table
    from shared.job_types.data_parameters import ValidateParameters
    from shared.job_types.data_rules import Rule

SAMPLES_MAX = 5
NAME_MAX = 60  # characters of the columns' names in a result
SAMPLES_SIZE_MAX = 6_000  # characters of all samples together


def violations(parameters: ValidateParameters, data: Datasets) -> tuple[int, list[RuleResult], bool]:
    """How many rows fulfil `where`; what became of each rule, in their order; whether samples were left out.

    All rules but `unique` are counted in one pass; each that is violated takes another, for samples.

    Raises:
        UnknownColumn: a column isn't there; given up.
        BadParameters: a rule doesn't fit its column's type; given up.
    """
    table = data.tables["dataset"]
    rows, counts = _counted(parameters, data, table)
    room, cut = SAMPLES_SIZE_MAX, False
    results = []
    for rule, count in zip(parameters.rules, counts, strict=True):
        found = _samples(rule, parameters, data, table) if count and rule.rule != "row_count" else []
        samples = found if len(str(found)) <= room else []
        room -= len(str(samples))
        cut |= samples != found
        results.append(RuleResult(rule=rule.rule, on=_on(rule), violations=count, samples=samples))
    return rows, results, cut


def _counted(parameters: ValidateParameters, data: Datasets, table: Table) -> tuple[int, list[int]]:
    bindings = Bindings(data.connection)
    violated = [_violates(rule, table, bindings) for rule in parameters.rules]
    listed = ", ".join(["count(*)", *(f"count(*) FILTER (WHERE {each})" for each in violated)])
    text = f"SELECT {listed} FROM dataset{where(parameters.where, table, bindings)}"
    rows, *counts = _row(data, text, bindings)
    for place, rule in enumerate(parameters.rules):
        if rule.rule == "unique":
            counts[place] = _twins(rule, parameters, data, table)
        elif rule.rule == "row_count":
            counts[place] = int(not _within(rows, rule))
    return rows, counts


def _violates(rule: Rule, table: Table, bindings: Bindings) -> str:
    """A condition that rows which violate the rule fulfil; of rules about more than a row: none does."""
    match rule.rule:
        case "unique":
            for column in rule.columns or ():
                table.column(column)
            return "false"
        case "row_count":
            return "false"
    name = rule.column or ""
    column = table.column(name)
    match rule.rule:
        case "not_null":
            return f"{column} IS NULL"
        case "range":
            bounds = [(rule.min, "<"), (rule.max, ">")]
            given = [(bound, sign) for bound, sign in bounds if bound is not None]
            return " OR ".join(
                f"{column} {sign} {bindings.compared(bound, table, name)}" for bound, sign in given
            )
        case "pattern":
            if table.columns[name] != "VARCHAR":
                raise BadParameters(f"pattern is for text; {name} is {table.columns[name][:80]}")
            return f"NOT regexp_full_match({column}, {bindings.pattern(rule.pattern or '')})"
        case "allowed":
            values = ", ".join(bindings.compared(value, table, name) for value in rule.values or ())
            return f"{column} NOT IN ({values})"


def _twins(rule: Rule, parameters: ValidateParameters, data: Datasets, table: Table) -> int:
    """How many rows have the values of another one that stands for them all."""
    text, bindings = _repeated(rule, parameters, data, table)
    (count,) = _row(data, f"SELECT CAST(coalesce(sum(times - 1), 0) AS BIGINT) FROM ({text})", bindings)
    return int(count)


def _repeated(
    rule: Rule, parameters: ValidateParameters, data: Datasets, table: Table
) -> tuple[str, Bindings]:
    bindings = Bindings(data.connection)
    columns = [table.column(each) for each in rule.columns or ()]
    listed = ", ".join(columns)
    clause = where(parameters.where, table, bindings)
    full = " AND ".join(f"{each} IS NOT NULL" for each in columns)
    text = (
        f"SELECT {listed}, count(*) AS times FROM (SELECT * FROM dataset{clause}) WHERE {full} "
        f"GROUP BY {listed} HAVING count(*) > 1"
    )
    return text, bindings


def _samples(rule: Rule, parameters: ValidateParameters, data: Datasets, table: Table) -> list[Any]:
    if rule.rule == "not_null":
        return []  # they are all the same
    if rule.rule == "unique":
        text, bindings = _repeated(rule, parameters, data, table)
        listed = ", ".join(map(quoted, rule.columns or ()))
        text = f"SELECT {listed} FROM ({text}) ORDER BY ALL LIMIT {SAMPLES_MAX}"
    else:
        bindings = Bindings(data.connection)
        column = table.column(rule.column or "")
        violates = _violates(rule, table, bindings)
        clause = where(parameters.where, table, bindings)
        text = (
            f"SELECT DISTINCT {column} FROM (SELECT * FROM dataset{clause}) WHERE {violates} "
            f"ORDER BY 1 LIMIT {SAMPLES_MAX}"
        )
    rows, _ = shown(data.connection, text, bindings.values, rows_max=SAMPLES_MAX)
    return [each if rule.rule == "unique" else next(iter(each.values())) for each in rows]


def _row(data: Datasets, text: str, bindings: Bindings) -> Sequence[Any]:
    row = data.connection.execute(text, bindings.values).fetchone()
    if row is None:
        raise RuntimeError("an aggregation without groups gave no row")
    return row


def _within(rows: int, rule: Rule) -> bool:
    return (rule.min is None or rows >= rule.min) and (rule.max is None or rows <= rule.max)


def _on(rule: Rule) -> str:
    return ", ".join(rule.columns or ([rule.column] if rule.column else []))[:NAME_MAX]
