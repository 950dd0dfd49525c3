"""`custom`: its operations, those of other people's handlers among them, and modules of DAYBOOK_HANDLERS."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from shared import job_types
from shared.job_types import BadJobData, Catalog, plugins
from shared.job_types.catalog import Source
from shared.job_types.plugins import BadModule

DATABASES = Catalog(
    sources={
        "legacy_db": Source(name="legacy_db", kind="postgres", url="postgresql://h/legacy"),
        "new_db": Source(name="new_db", kind="postgres", url="postgresql://h/new"),
        "alias_db": Source(name="alias_db", kind="postgres", url="postgresql://h/new"),
        "sales_data": Source(name="sales_data", kind="csv", path=Path("/srv/sales.csv")),
    }
)
MISSION = {
    "operation": "data_migration",
    "parameters": {"source": "legacy_db", "destination": "new_db", "batch_size": 1000},
}


class Size(BaseModel):
    width: int
    token: str = ""


async def thumbnail(_):
    """Makes small pictures."""


def tick(_):
    pass


thumbnail.model = Size
KNOWN = job_types.of_plugins(
    {
        name: plugins.of(name, handler, "theirs")
        for name, handler in [("thumbnail", thumbnail), ("tick", tick)]
    }
)


def check(job_data, known=KNOWN, catalog=DATABASES, job_type="custom"):
    return job_types.check(job_type, job_data, known=known, catalog=catalog)


def faults(*args, **options):
    with pytest.raises(BadJobData) as refusal:
        check(*args, **options)
    return [(fault.pointer, fault.detail) for fault in refusal.value.faults]


# data_migration.


def test_the_body_of_the_mission_is_kept_as_it_is():
    assert check(MISSION) == MISSION
    assert check(MISSION, known=job_types.Known()) == MISSION


def migration(**changes):
    return {"operation": "data_migration", "parameters": MISSION["parameters"] | changes}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 100_001}, "batch_size"),
        ({"batch_size": "1000"}, "batch_size"),
        ({"table": ""}, "table"),
        ({"tables": ["a"]}, "tables"),
        ({"source": 3}, "source"),
        ({"on_difference": "ignore"}, "on_difference"),
    ],
)
def test_each_wrong_parameter_is_named(changes, pointer):
    assert [where for where, _ in faults(migration(**changes))] == [f"#/job_data/parameters/{pointer}"]


@pytest.mark.parametrize(
    ("changes", "pointer", "said"),
    [
        (
            {"source": "prod"},
            "source",
            "'prod' is no data source here; of kind postgres, as it must be, there are",
        ),
        ({"destination": "prod"}, "destination", "there are alias_db, legacy_db, new_db"),
        ({"source": "sales_data"}, "source", "sales_data is of kind csv"),
        ({"destination": "legacy_db"}, "destination", "is the same database as the source"),
        ({"source": "alias_db"}, "destination", "is the same database as the source"),
    ],
)
def test_sources_must_be_configured_databases_and_two(changes, pointer, said):
    [(where, detail)] = faults(migration(**changes))
    assert where == f"#/job_data/parameters/{pointer}"
    assert said in detail


def test_where_nothing_is_configured_the_operator_is_sent_to_the_setting():
    told = faults(MISSION, catalog=Catalog())
    assert [where for where, _ in told] == [
        "#/job_data/parameters/source",
        "#/job_data/parameters/destination",
    ]
    assert "DAYBOOK_SOURCES" in told[0][1]


# Other people's handlers as operations.


@pytest.mark.parametrize(
    "job_data",
    [
        {"operation": "thumbnail", "parameters": {"width": 3}},
        {"operation": "thumbnail", "parameters": {"width": 3, "token": {"$secret": "t"}}},
        {"operation": "tick"},
        {"operation": "tick", "parameters": {"any": ["thing"]}},
        {"operation": "echo", "parameters": {"a": 1}},
        MISSION,
    ],
)
def test_a_handler_is_an_operation_beside_ours(job_data):
    assert check(job_data) == job_data


@pytest.mark.parametrize(
    ("job_data", "pointer"),
    [
        ({"operation": "thumbnail"}, "#/job_data/parameters"),
        ({"operation": "thumbnail", "parameters": {}}, "#/job_data/parameters/width"),
        ({"operation": "thumbnail", "parameters": {"width": "x"}}, "#/job_data/parameters/width"),
        ({"operation": "thumbnail", "parameters": {"width": 1}, "more": 1}, "#/job_data/more"),
        ({"operation": "tick", "parameters": [1]}, "#/job_data/parameters"),
        ({"operation": "tock"}, "#/job_data/operation"),
    ],
)
def test_its_parameters_are_checked_by_its_model(job_data, pointer):
    assert [where for where, _ in faults(job_data)] == [pointer]


def test_an_unknown_operation_is_told_which_there_are_theirs_too():
    [(_, detail)] = faults({"operation": "tock"})
    assert "'echo', 'sleep', 'fail', 'data_migration', 'thumbnail', 'tick'" in detail
    [(_, detail)] = faults({"operation": "thumbnail"}, known=job_types.Known())
    assert "'thumbnail' is not known" in detail


def test_the_operations_are_described_with_their_parameters():
    described = {each["name"]: each for each in job_types.describe(KNOWN)}
    schema = described["custom"]["schema"]
    assert set(schema["discriminator"]["mapping"]) == {
        "echo", "sleep", "fail", "data_migration", "thumbnail", "tick",
    }  # fmt: skip
    assert schema["$defs"]["thumbnail"]["description"] == "Makes small pictures."
    assert set(schema["$defs"]["Size"]["properties"]) == {"width", "token"}
    assert described["thumbnail"]["schema"]["properties"].keys() == {"width", "token"}


def test_a_handler_that_is_called_like_an_operation_of_ours_is_a_job_type_only():
    known = job_types.of_plugins({"echo": plugins.of("echo", thumbnail, "theirs")})
    assert check({"operation": "echo", "parameters": {"any": 1}}, known=known)
    assert faults({"width": "x"}, known=known, job_type="echo") == [
        ("#/job_data/width", "Input should be a valid integer, unable to parse string as an integer")
    ]


# DAYBOOK_HANDLERS.


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def load(*modules, found=()):
    return plugins.load(reserved={"custom"}, found=found, modules=modules)


def test_a_module_is_served_without_any_package(module):
    name = module(
        "jobs_a",
        "async def f(run):\n    '''Does it.'''\ndef g(run): ...\ndef hidden(run): ...\nHANDLERS = {'f': f, 'go': g}\n",
    )
    found = load(name).usable
    assert {each: plugin.blocking for each, plugin in found.items()} == {"f": False, "go": True}
    assert (found["f"].job_type.description, found["f"].job_type.source) == ("Does it.", "jobs_a")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_thing", "can't be imported: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("1/0", "can't be imported: ZeroDivisionError"),
        ("def (", "can't be imported: SyntaxError"),
        ("import sys; sys.exit('no')", "can't be imported: SystemExit: no"),
        ("def f(run): ...", "has no HANDLERS = "),
        ("HANDLERS = {}", "has no HANDLERS = "),
        ("HANDLERS = ['f']", "has no HANDLERS = "),
        ("HANDLERS = {'f': 3}", "is not a function"),
        ("HANDLERS = {'No Name': print}", "is no job type"),
        ("HANDLERS = {3: print}", "is no job type"),
        ("HANDLERS = {'custom': print}", "built in"),
        ("def f(run): ...\nf.model = 3\nHANDLERS = {'f': f}", "is not a pydantic model"),
    ],
)
def test_a_module_that_cant_serve_is_refused_with_a_sentence(module, text, why):
    name = module(f"jobs_{abs(hash(text))}", text)
    with pytest.raises(BadModule, match=r"^DAYBOOK_HANDLERS: ") as refusal:
        load(name)
    assert why in str(refusal.value)


def test_a_module_that_isnt_there_is_refused_with_a_sentence():
    with pytest.raises(
        BadModule, match=r"DAYBOOK_HANDLERS: nowhere\.jobs can't be imported: ModuleNotFoundError"
    ):
        load("nowhere.jobs")


def test_two_modules_cant_serve_one_type_unless_it_is_one_function(module):
    one = module("jobs_one", "def f(run): ...\nHANDLERS = {'f': f}\n")
    same = module("jobs_same", "from jobs_one import f\nHANDLERS = {'f': f}\n")
    other = module("jobs_other", "def f(run): ...\nHANDLERS = {'f': f}\n")
    assert set(load(one, same, one).usable) == {"f"}
    with pytest.raises(BadModule, match="jobs_other and jobs_one both want to serve f"):
        load(one, other)
