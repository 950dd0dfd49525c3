"""The operations of `data_processing` as statements. All text in them is ours but for quoted names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.executor.datasets import Table, quoted
from services.executor.handlers.data_processing_values import (
    BadParameters,
    Bindings,
    check_names,
    is_number,
    where,
)
from shared.job_types.data_parameters import Measure
from shared.job_types.data_processing import Aggregate, Filter, Join, Transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from services.executor.datasets import Datasets
    from shared.job_types.data_parameters import (
        AggregateParameters,
        Argument,
        Computed,
        FilterParameters,
        JoinParameters,
        Ordered,
        TransformParameters,
    )

COUNTED = "rows"  # the column of an aggregation that says how many rows were brought together
_AGGREGATES = {
    "sum": "sum({})",
    "avg": "avg({})",
    "min": "min({})",
    "max": "max({})",
    "count": "count({})",
    "count_distinct": "count(DISTINCT {})",
    "median": "median({})",
    "stddev": "stddev_samp({})",
    "variance": "var_samp({})",
}
_OF_NUMBERS = frozenset({"sum", "avg", "median", "stddev", "variance"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A SELECT.

    Attributes:
        text: of SQL.
        values: of its parameters.
    """

    text: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def of(self, text: str) -> tuple[str, dict[str, Any]]:
        """A statement about its outcome, to be executed; `{}` stands for this query."""
        return text.format(f"({self.text})"), dict(self.values)


def query(work: Aggregate | Filter | Transform | Join, data: Datasets) -> Query:
    """What is asked for, as a statement over the views `dataset` and, of a join, `other`.

    Raises:
        UnknownColumn: a column isn't there; given up.
        BadParameters: what is asked for doesn't fit the columns' types; given up.
    """
    bindings = Bindings(data.connection)
    table = data.tables["dataset"]
    match work:
        case Aggregate(parameters=parameters):
            text = _aggregate(parameters, table, bindings)
        case Filter(parameters=parameters):
            text = _filter(parameters, table, bindings)
        case Transform(parameters=parameters):
            text = _transform(parameters, table, bindings)
        case Join(parameters=parameters):
            text = _join(parameters, table, data.tables["other"], bindings)
    return Query(text=text, values=bindings.values)


def _aggregate(parameters: AggregateParameters, table: Table, bindings: Bindings) -> str:
    groups = {name: table.column(name) for name in parameters.group_by}
    counted = _free(COUNTED, groups)
    outcome = {**groups, counted: "count(*)"}
    for measure in _measures(parameters, table):
        name = measure.name or _free(f"{measure.aggregation_type}_{measure.column}", outcome)
        check_names([name], outcome)
        outcome[name] = _measured(measure, table)
    text = f"SELECT {_listed(outcome)} FROM dataset{where(parameters.where, table, bindings)}"
    if groups:
        text += f" GROUP BY {', '.join(groups.values())}"
    order = "" if parameters.order_by else _by(map(quoted, groups))
    return _ordered(text, outcome, parameters, default=order)


def _measures(parameters: AggregateParameters, table: Table) -> Sequence[Measure]:
    if parameters.aggregations is not None:
        return parameters.aggregations
    numbers = [
        name for name, kind in table.columns.items() if is_number(kind) and name not in parameters.group_by
    ]
    columns = parameters.columns or numbers
    return [Measure(column=name, aggregation_type=parameters.aggregation_type) for name in columns]


def _measured(measure: Measure, table: Table) -> str:
    column, kind = table.column(measure.column), table.columns[measure.column]
    if measure.aggregation_type in _OF_NUMBERS and not is_number(kind):
        raise BadParameters(f"{measure.aggregation_type} is for numbers; {measure.column} is {kind[:80]}")
    return _AGGREGATES[measure.aggregation_type].format(column)


def _filter(parameters: FilterParameters, table: Table, bindings: Bindings) -> str:
    outcome = {name: table.column(name) for name in parameters.columns or table.columns}
    distinct = "DISTINCT " if parameters.distinct else ""
    text = f"SELECT {distinct}{_listed(outcome)} FROM dataset{where(parameters.where, table, bindings)}"
    return _ordered(text, outcome, parameters)


def _transform(parameters: TransformParameters, table: Table, bindings: Bindings) -> str:
    """Three layers: cast what `where` leaves; compute and rename; pick."""
    cast = "CAST" if parameters.on_cast_error == "fail" else "TRY_CAST"
    kept = {name: table.column(name) for name in table.columns}
    for name, kind in parameters.cast.items():
        kept[name] = f"{cast}({table.column(name)} AS {_TYPES.get(kind, kind)})"
    text = f"SELECT {_listed(kept)} FROM dataset{where(parameters.where, table, bindings)}"
    for name in parameters.rename:
        table.column(name)
    outcome: dict[str, str] = {}
    for name in table.columns:
        new = parameters.rename.get(name, name)
        check_names([new], outcome)
        outcome[new] = quoted(name)
    for each in parameters.computed:
        check_names([each.name], outcome)
        outcome[each.name] = _computed(each, table, bindings)
    return _ordered(f"SELECT {_listed(outcome)} FROM ({text})", outcome, parameters, parameters.columns)


_TYPES = {"text": "VARCHAR"}  # the others are written the same


def _computed(computed: Computed, table: Table, bindings: Bindings) -> str:
    arguments = [_argument(each, table, bindings) for each in computed.arguments]
    return _FUNCTIONS[computed.function](arguments)


def _argument(argument: Argument, table: Table, bindings: Bindings) -> str:
    if argument.column is not None:
        return table.column(argument.column)
    return bindings.bind(argument.value)


def _between(operator: str) -> Callable[[list[str]], str]:
    return lambda arguments: f"({f' {operator} '.join(arguments)})"


def _filled(template: str) -> Callable[[list[str]], str]:
    return lambda arguments: template.format(*arguments)


def _called(name: str) -> Callable[[list[str]], str]:
    return lambda arguments: f"{name}({', '.join(arguments)})"


_FUNCTIONS: dict[str, Callable[[list[str]], str]] = {
    "add": _between("+"),
    "subtract": _between("-"),
    "multiply": _between("*"),
    "divide": _filled("({} / nullif({}, 0))"),  # by zero: empty
    "modulo": _filled("({} % nullif({}, 0))"),
    "negate": _filled("(-{})"),
    "power": _called("pow"),
    "date": _filled("CAST({} AS DATE)"),
    "weekday": _called("isodow"),  # Monday is 1
    "days_between": _filled("date_diff('day', CAST({} AS DATE), CAST({} AS DATE))"),
    "day_start": _filled("date_trunc('day', {})"),
    "week_start": _filled("date_trunc('week', {})"),
    "month_start": _filled("date_trunc('month', {})"),
    "quarter_start": _filled("date_trunc('quarter', {})"),
    "year_start": _filled("date_trunc('year', {})"),
    "abs": _called("abs"),
    "round": _called("round"),
    "floor": _called("floor"),
    "ceil": _called("ceil"),
    "sqrt": _called("sqrt"),
    "least": _called("least"),
    "greatest": _called("greatest"),
    "coalesce": _called("coalesce"),
    "concat": _called("concat"),
    "upper": _called("upper"),
    "lower": _called("lower"),
    "trim": _called("trim"),
    "length": _called("length"),
    "replace": _called("replace"),
    "substring": _called("substring"),
    "year": _called("year"),
    "quarter": _called("quarter"),
    "month": _called("month"),
    "day": _called("day"),
    "hour": _called("hour"),
}


def _join(parameters: JoinParameters, left: Table, right: Table, bindings: Bindings) -> str:
    pairs = list(zip(parameters.on, parameters.right_on or parameters.on, strict=True))
    on = " AND ".join(f"l.{left.column(one)} = r.{right.column(two)}" for one, two in pairs)
    outcome = _joined(parameters, pairs, left, right)
    text = f"SELECT {_listed(outcome)} FROM dataset AS l {parameters.how.upper()} JOIN other AS r ON {on}"
    named = Table(name="", called="the outcome", columns=_kinds(bindings.connection, text))
    text = f"SELECT * FROM ({text}){where(parameters.where, named, bindings)}"
    return _ordered(text, outcome, parameters, parameters.columns)


def _joined(
    parameters: JoinParameters, pairs: list[tuple[str, str]], left: Table, right: Table
) -> dict[str, str]:
    """All columns: the first's, then the second's but those that must be equal."""
    if parameters.how in {"semi", "anti"}:
        return {name: f"l.{quoted(name)}" for name in left.columns}
    outcome = {name: f"l.{quoted(name)}" for name in left.columns}
    for one, two in pairs:  # of a row without a partner the key is that of the one that is there
        outcome[one] = f"coalesce(l.{quoted(one)}, r.{quoted(two)})"
    keys = {two for _, two in pairs}
    for name in right.columns:
        if name not in keys:
            new = name if name.casefold() not in map(str.casefold, outcome) else name + parameters.suffix
            check_names([new], outcome)
            outcome[new] = f"r.{quoted(name)}"
    return outcome


def _kinds(connection: DuckDBPyConnection, text: str) -> dict[str, str]:
    """The outcome's columns and their types; nothing is computed for that."""
    found = connection.execute(f"SELECT * FROM ({text}) LIMIT 0").description or []
    return {column[0]: str(column[1]) for column in found}


def _ordered(
    text: str,
    outcome: Mapping[str, str],
    parameters: Ordered,
    columns: Iterable[str] | None = None,
    *,
    default: str = "",
) -> str:
    """The rows of `text` in their order, limited, and the columns that were asked for."""
    named = Table(name="", called="the outcome", columns=outcome)
    by = _by(
        f"{named.column(each.column)} {'DESC' if each.descending else 'ASC'} NULLS LAST"
        for each in parameters.order_by
    )
    limit = "" if parameters.limit is None else f" LIMIT {int(parameters.limit)}"
    picked = "*" if columns is None else ", ".join(named.column(each) for each in columns)
    return f"SELECT {picked} FROM ({text}){by or default}{limit}"


def _by(columns: Iterable[str]) -> str:
    listed = ", ".join(columns)
    return f" ORDER BY {listed}" if listed else ""


def _listed(outcome: Mapping[str, str]) -> str:
    return ", ".join(f"{written} AS {quoted(name)}" for name, written in outcome.items())


def _free(name: str, taken: Mapping[str, object]) -> str:
    """The name, or one like it that isn't taken."""
    used = {each.casefold() for each in taken}
    free, number = name, 1
    while free.casefold() in used:
        number += 1
        free = f"{name}_{number}"
    return free
