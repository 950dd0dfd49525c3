"""Job types: what data is taken, and what is said about data that isn't."""

import inspect
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from services.api import openapi
from services.executor import plugins as executor_plugins
from shared import job_types
from shared.job_types import BadJobData, Catalog, Known, check, plugins

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
ROOTS = (Path("/srv/files"), Path("/tmp"))  # noqa: S108 - only a name here
TIDY = {"cleanup_type": "temp_files", "retention_days": 7, "path": "/tmp/reports"}  # noqa: S108


def faults(job_type, job_data, known=None):
    with pytest.raises(BadJobData) as refusal:
        check(job_type, job_data, known=known or Known(), catalog=Catalog(files_roots=ROOTS))
    return [(fault.pointer, fault.detail) for fault in refusal.value.faults]


@pytest.mark.parametrize(
    ("job_type", "job_data"),
    [
        ("custom", {"operation": "echo"}),
        ("custom", {"operation": "echo", "parameters": {"any": [1, None, {"thing": 2.5}]}}),
        ("custom", {"operation": "sleep", "parameters": {"seconds": 0.25}}),
        ("custom", {"operation": "fail"}),
        ("custom", {"operation": "fail", "parameters": {"times": 2, "error_class": "ConnectionError"}}),
        ("cleanup_task", TIDY),
        ("cleanup_task", TIDY | {"path": "/srv/files", "dry_run": True, "recursive": False}),
    ],
)
def test_good_data_is_kept_as_it_was_given(job_type, job_data):
    assert check(job_type, job_data, known=Known(), catalog=Catalog(files_roots=ROOTS)) == job_data


@pytest.mark.parametrize(
    ("job_data", "pointer"),
    [
        ([], "#/job_data"),
        ({}, "#/job_data/operation"),
        ({"operation": "reboot"}, "#/job_data/operation"),
        ({"operation": "sleep"}, "#/job_data/parameters"),
        ({"operation": "sleep", "parameters": {"seconds": "1"}}, "#/job_data/parameters/seconds"),
        ({"operation": "sleep", "parameters": {"seconds": -1}}, "#/job_data/parameters/seconds"),
        ({"operation": "fail", "parameters": {"error_class": "a b"}}, "#/job_data/parameters/error_class"),
        ({"operation": "fail", "parameters": {"a/b~c": 1}}, "#/job_data/parameters/a~1b~0c"),
        ({"operation": "echo", "extra": 1}, "#/job_data/extra"),
    ],
)
def test_a_custom_job_is_told_which_part_of_its_data_is_wrong(job_data, pointer):
    assert [pointer] == [where for where, _ in faults("custom", job_data)]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"cleanup_type": "logs"}, "#/job_data/cleanup_type"),
        ({"retention_days": -1}, "#/job_data/retention_days"),
        ({"retention_days": 1.5}, "#/job_data/retention_days"),
        ({"path": "reports"}, "#/job_data/path"),
        ({"path": "/tmp/../etc"}, "#/job_data/path"),  # noqa: S108
        ({"dry_run": "yes"}, "#/job_data/dry_run"),
        ({"pattern": "*.tmp"}, "#/job_data/pattern"),
    ],
)
def test_a_cleanup_task_is_told_which_part_of_its_data_is_wrong(change, pointer):
    assert [pointer] == [where for where, _ in faults("cleanup_task", TIDY | change)]


@pytest.mark.parametrize("path", ["/etc", "/srv", "/srv/files2", "/"])
def test_a_cleanup_task_outside_the_files_roots_is_refused_at_creation(path):
    [(pointer, detail)] = faults("cleanup_task", TIDY | {"path": path})
    assert pointer == "#/job_data/path"
    assert "/srv/files" in detail


def test_without_files_roots_no_path_is_taken_and_the_operator_is_named():
    with pytest.raises(BadJobData, match="DAYBOOK_FILES_ROOTS"):
        check("cleanup_task", TIDY, known=Known())


def test_an_unknown_type_is_told_which_there_are():
    [(pointer, detail)] = faults("teleport", {})
    assert pointer == "#/job_type"
    assert "cleanup_task, custom" in detail


def test_each_type_is_described_with_its_schema_and_what_becomes_of_failures():
    described = {each["name"]: each for each in job_types.describe(Known())}
    assert set(described) == set(job_types.BUILT_IN)
    cleanup = described["cleanup_task"]["schema"]
    assert set(cleanup["discriminator"]["mapping"]) == {"temp_files", "run_history", "archive"}
    assert set(cleanup["$defs"]["TempFiles"]["properties"]) == {
        "cleanup_type", "retention_days", "path", "recursive", "dry_run",
    }  # fmt: skip
    assert set(described["custom"]["schema"]["discriminator"]["mapping"]) == {
        "echo", "sleep", "fail", "data_migration",
    }  # fmt: skip
    assert all(each["description"] and each["retried"] and each["given_up"] for each in described.values())


def entry(name, value="json:dumps"):
    return EntryPoint(name=name, value=value, group="daybook.handlers")


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([entry("custom")], "built in"),
        ([entry("No Name")], "no job type"),
        ([entry("mine"), entry("mine", "json:loads")], "both want"),
        ([entry("mine", "no_such_module:f")], "ModuleNotFoundError"),
        ([entry("mine", "json:__version__")], "could not be imported|not a function"),
    ],
)
def test_a_plugin_that_cant_serve_is_refused_alone_and_with_the_reason(entries, why):
    found = plugins.load(reserved={"custom"}, found=[*entries, entry("fine")])
    assert set(found.usable) == {"fine"}
    assert found.usable["fine"].blocking
    [sentence] = found.refused.values()
    assert any(part in sentence for part in why.split("|"))


def test_a_job_of_a_refused_plugin_is_told_why():
    [(_, detail)] = faults("mine", {}, Known(refused={"mine": "mine:f could not be imported"}))
    assert "could not be imported" in detail


def test_no_model_of_a_job_type_has_the_name_of_a_body_or_an_answer():
    """In the document of the API they stand beside each other: the latter would be gone."""
    theirs = openapi._typed({"properties": {}}, Known())
    assert theirs.keys() & openapi._schemas(Known(types={})).keys() == set()


def test_each_type_of_ours_has_a_handler_and_each_handler_a_type():
    assert set(executor_plugins._OURS) == set(job_types.BUILT_IN)
    for name, (module, blocking) in executor_plugins._OURS.items():
        handle = import_module(f"services.executor.handlers.{module}").handle
        assert inspect.iscoroutinefunction(handle) is not blocking, name
        assert len(inspect.signature(handle).parameters) == 2, name


def test_what_a_type_needs_is_installed_by_its_extra():
    for kind in job_types.BUILT_IN.values():
        assert bool(kind.needs) == bool(kind.extra), kind.name
        assert not kind.why_not(), kind.name
        assert not kind.extra or f"\n{kind.extra} = [" in PYPROJECT.read_text()
