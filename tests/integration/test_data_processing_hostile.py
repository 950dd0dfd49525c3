"""What data_processing doesn't let itself be led to: other files, other statements, all of the memory or disk."""

import gzip
import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import duckdb
import pytest
import zstandard

from services.executor import datasets, limits, scratch, staging
from services.executor.dataset_files import UnknownSource
from services.executor.datasets import BadDataset, Limits, OutOfMemory, opened
from services.executor.files import OutsideFilesRoots
from services.executor.handlers import data_processing
from services.executor.handlers.data_processing import BadQuery, OutputNotWritten, SqlRefused
from services.executor.staging import DatasetMissing, DatasetTooLarge
from shared.job_types.catalog import Source
from shared.job_types.dataset import Dataset
from shared.testing import resources, wait_until
from tests.integration.data_kit import process, read, sales, written

ROWS = sales(50)


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def csv(root):
    return written(root / "sales.csv", ROWS)


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "outside" / "secret.csv"
    path.parent.mkdir()
    path.write_text("password\nhunter2\n")
    return path


def look(root, path, **options):
    """The dataset's columns and rows."""
    dataset = Dataset.model_validate(str(path) if not isinstance(path, dict) else path)
    with opened({"dataset": dataset}, resources(files_roots=(root,)), **options) as data:
        rows = data.connection.execute("SELECT * FROM dataset").fetchall()
        return list(data.tables["dataset"].columns), rows


# Where it reads.


def test_a_dataset_outside_the_roots_is_refused_by_the_executor_too(root, secret):
    with pytest.raises(OutsideFilesRoots):
        process(root, secret, "filter")


@pytest.mark.parametrize("name", ["link.csv", "folder/secret.csv"])
def test_no_symbolic_link_is_followed(root, secret, name):
    (root / "link.csv").symlink_to(secret)
    (root / "folder").symlink_to(secret.parent)
    with pytest.raises(OutsideFilesRoots, match="symbolic link"):
        process(root, root / name, "filter")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_swapped_after_it_was_opened_is_not_what_is_read(root, secret, name, monkeypatch):
    path = written(root / name, ROWS)
    really = datasets._locked

    def swap(*args):
        path.rename(root / "moved")
        path.symlink_to(secret)
        return really(*args)

    monkeypatch.setattr(datasets, "_locked", swap)
    assert len(look(root, path)[1]) == 50
    assert path.is_symlink()


@pytest.mark.parametrize("name", ["*.csv", "[s]ales.csv", "sal?s.csv", "{sales,b}.csv"])
def test_wildcards_in_a_path_mean_themselves(root, csv, name):
    with pytest.raises(DatasetMissing):
        process(root, root / name, "filter")
    written(root / name, [{"x": 1}])
    assert process(root, root / name, "filter")["columns"] == ["x"]


def test_a_pipe_a_directory_and_a_missing_file_are_no_datasets(root):
    os.mkfifo(root / "pipe.csv")
    (root / "folder.csv").mkdir()
    for name, why in (
        ("pipe.csv", OutsideFilesRoots),
        ("folder.csv", OutsideFilesRoots),
        ("no.csv", DatasetMissing),
    ):
        with pytest.raises(why):
            process(root, root / name, "filter")


def test_a_source_that_this_executor_doesnt_have_is_given_up(root):
    with pytest.raises(UnknownSource, match="there are a"):
        process(root, "b", "filter", sources={"a": Source(name="a", kind="csv", path=root / "a.csv")})


# SQL of a job's own.


@pytest.fixture
def ask(root, csv):
    return lambda query: process(root, csv, "sql", {"query": query}, allow_sql=True)


def test_sql_is_refused_by_an_executor_that_doesnt_allow_it(root, csv):
    with pytest.raises(SqlRefused, match="DAYBOOK_ALLOW_SQL"):
        process(root, csv, "sql", {"query": "SELECT 1"})


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; SELECT 2",
        "ATTACH 'x.db'",
        "COPY dataset TO '/tmp/x.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "RESET memory_limit",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW dataset",
        "INSERT INTO dataset VALUES (1)",
        "EXPORT DATABASE '/tmp/x'",
        "CREATE SECRET s (TYPE s3)",
        "EXPLAIN ANALYZE SELECT 1",
        "PIVOT dataset ON region",
        ";",
    ],
)
def test_only_a_single_select_is_taken(ask, query):
    with pytest.raises(SqlRefused, match="single SELECT"):
        ask(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "FROM read_text('/etc/passwd')",
        "FROM read_blob('/proc/self/environ')",
        "FROM read_parquet('/dev/fd/0')",
        "FROM glob('/*')",
        "FROM read_csv('http://127.0.0.1/x.csv')",
        "SELECT getenv('HOME')",
        "SELECT * FROM found",  # a variable of the code below us
        "SELECT * FROM parameters",
        "WITH t AS (INSERT INTO x VALUES (1) RETURNING *) FROM t",
        "SELECT 1) TO '/tmp/x.csv' --",
        "SELECT 1 /*",
        "SELECT nope FROM dataset",
        "SELECT CAST(region AS INTEGER) FROM dataset",
        "SELEC",
    ],
)
def test_a_query_reaches_nothing_but_its_dataset(ask, secret, query):
    with pytest.raises(BadQuery):
        ask(query.format(secret=secret))


def test_what_is_read_can_not_be_written_over(root, csv):
    before = csv.read_bytes()
    with opened({"dataset": Dataset.model_validate(str(csv))}, resources(files_roots=(root,))) as data:
        for statement in (
            "SET lock_configuration = false",
            "SET enable_external_access = true",
            "SET allowed_paths = ['/etc/passwd']",
            "LOAD httpfs",
            "COPY (SELECT 1) TO '/tmp/never.csv'",
            f"COPY (SELECT 1) TO '{root}/never.csv'",
        ):
            with pytest.raises(duckdb.Error):
                data.connection.execute(statement)
    assert csv.read_bytes() == before


def test_variables_of_python_are_no_tables(root, csv):
    with opened({"dataset": Dataset.model_validate(str(csv))}, resources(files_roots=(root,))) as data:
        leak = data.connection.sql("SELECT 42")
        assert leak.fetchall() == [(42,)]
        with pytest.raises(duckdb.CatalogException):
            data.connection.execute("SELECT * FROM leak")


# Names and values.


def test_names_that_look_like_sql_are_names(root):
    evil = 'x"; DROP VIEW dataset; --'
    path = written(root / "a.csv", [{evil: 1, "select": 2, "a''b": 3}])
    where = [{"column": evil, "op": "=", "value": 1}]
    result = process(root, path, "aggregate", {"where": where, "group_by": [evil]})
    assert result["groups"] == [{evil: 1, "rows": 1, "sum_select": 2, "sum_a''b": 3}]
    renamed = process(root, path, "transform", {"rename": {"select": evil + evil}, "columns": [evil + evil]})
    assert renamed["sample"] == [{evil + evil: 2}]
    typed = {"path": str(path), "types": {evil: "text"}}
    assert process(root, typed, "filter")["sample"][0][evil] == "1"
    as_json = written(root / "a.jsonl", [{evil: 1}])
    assert process(root, {"path": str(as_json), "types": {evil: "text"}}, "filter")["sample"] == [{evil: "1"}]


def test_values_that_look_like_sql_are_values(root, csv):
    evil = "' OR 1=1; DROP VIEW dataset; --"
    for op, value in (("=", evil), ("contains", evil), ("in", [evil]), ("between", [evil, evil])):
        assert (
            process(root, csv, "filter", {"where": [{"column": "region", "op": op, "value": value}]})["rows"]
            == 0
        )
    computed = [{"name": "x", "function": "concat", "arguments": [{"value": evil}, {"value": ""}]}]
    result = process(
        root, csv, "transform", {"computed": computed, "columns": ["x"], "limit": 1}, root / "o.jsonl"
    )
    assert (result["rows"], read(root / "o.jsonl")) == (1, [{"x": evil}])


# Files that are not what they seem.


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1" + b"x" * 100 + b"PAR1"),
        ("a.parquet", b""),
        ("a.csv", b""),
        ("a.csv.gz", b"not gzip"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n" * 10_000, mtime=0)[:-20]),
        ("a.csv.zst", b"not zstd"),
        ("a.jsonl.gz", b"\x1f\x8b\x08"),
        ("a.json", b'{"a": '),
        ("a.json", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ("a.csv", b"\xff\xfe\x00\x00" * 1_000),
        ("a.csv", b"x" * 5_000_000),
    ],
)
def test_a_broken_file_fails_the_attempt_by_name(root, name, content):
    path = root / name
    path.write_bytes(content)
    with pytest.raises(BadDataset) as caught:
        process(root, path, "aggregate")
    assert "/dev/fd" not in str(caught.value)


def test_a_row_longer_than_the_others_fails_the_attempt(root):
    path = root / "a.csv"
    path.write_text("a,b\n" + "1,2\n" * 30_000 + "1,2,3\n")
    with pytest.raises(BadDataset, match=str(path)):
        process(root, path, "aggregate")


def test_a_number_that_comes_late_is_still_seen(root):
    path = root / "a.csv"
    path.write_text("a\n" + "1\n" * 100_000 + "1.5\n")
    assert process(root, path, "aggregate")["groups"] == [{"rows": 100_001, "sum_a": 100_001.5}]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_file_that_unpacks_to_too_much_is_given_up(root, pack):
    path = root / ("a.csv.gz" if pack is gzip.compress else "a.csv.zst")
    path.write_bytes(pack(b"a\n" + b"1\n" * 1_000_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(DatasetTooLarge, match="1,000,000 bytes"):
        look(root, path, limits=Limits(staged=1_000_000))


def test_a_zstd_frame_doesnt_get_the_memory_it_asks_for(root):
    params = zstandard.ZstdCompressionParameters(window_log=29, enable_ldm=True)
    path = root / "a.csv.zst"
    packer = zstandard.ZstdCompressor(compression_params=params).compressobj()
    path.write_bytes(packer.compress(b"a\n" + b"1\n" * 100) + packer.flush())
    with pytest.raises(BadDataset, match="memory"):
        process(root, path, "aggregate")


@pytest.mark.parametrize("columns", [2_001, 1_000_000])
def test_a_file_of_too_many_columns_is_given_up_at_once(root, columns):
    path = root / "a.csv"
    path.write_text(",".join(f"c{number}" for number in range(columns)) + "\n" + "1," * (columns - 1) + "1\n")
    with pytest.raises(DatasetTooLarge, match="2,000"):
        process(root, path, "aggregate")


def test_what_doesnt_fit_into_memory_and_room_is_given_up(root):
    path = root / "a.parquet"
    duckdb.sql("SELECT i, hash(i)::TEXT AS t FROM range(2_000_000) AS r(i)").write_parquet(str(path))
    tight = Limits(memory=20_000_000, spilled=1_000_000)
    with (
        pytest.raises(OutOfMemory),
        opened(
            {"dataset": Dataset.model_validate(str(path))}, resources(files_roots=(root,)), limits=tight
        ) as data,
    ):
        data.connection.execute("SELECT count(*) FROM (SELECT t, list(i) FROM dataset GROUP BY t)")


def test_one_enormous_value_is_not_allocated(ask):
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(OutOfMemory):
        ask("SELECT repeat('x', 3000000000)")
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_an_output_that_grows_beyond_its_limit_is_not_left(root, csv, monkeypatch):
    monkeypatch.setattr(data_processing, "OUTPUT_BYTES_MAX", 100_000)
    output = root / "out.csv"
    query = {"with": str(csv), "on": ["region"], "suffix": "_2"}
    many = written(root / "many.csv", [ROWS[0]] * 2_000)
    with pytest.raises(OutputNotWritten, match="too large"):
        process(root, many, "join", query | {"with": str(many)}, output)
    assert {each.name for each in root.iterdir()} == {"sales.csv", "many.csv"}
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == (resource.RLIM_INFINITY,) * 2


def test_a_failure_leaves_no_output_and_what_was_there_stays(root, csv):
    output = root / "out.csv"
    output.write_text("old")
    with pytest.raises(BadDataset):
        process(root, csv, "transform", {"cast": {"region": "integer"}}, output)
    assert output.read_text() == "old"
    assert {each.name for each in root.iterdir()} == {"sales.csv", "out.csv"}


@pytest.mark.parametrize("path", ["link/out.csv", "link.csv/out.csv"])
def test_an_output_doesnt_go_through_a_link(root, csv, secret, path):
    (root / "link").symlink_to(secret.parent)
    (root / "link.csv").symlink_to(secret.parent)
    with pytest.raises(OutsideFilesRoots):
        process(root, csv, "filter", {}, root / path)
    assert [each.name for each in secret.parent.iterdir()] == ["secret.csv"]


# The scratch directory.


HOLD = """
import sys
from services.executor.scratch import scratch
with scratch() as path:
    (path / "spilled").write_text("x")
    print(path, flush=True)
    sys.stdin.read()
"""


async def test_what_a_killed_process_left_is_swept_by_the_next_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    start = partial(
        subprocess.Popen,
        [sys.executable, "-c", HOLD],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with start() as killed, start() as lives:
        left, held = (Path(each.stdout.readline().strip()) for each in (killed, lives))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.exists()
        (tmp_path / "daybook-scratch-file").write_text("no directory")
        with scratch.scratch() as mine:
            assert mine.parent == tmp_path
            assert not left.exists()
            assert (held / "spilled").exists()
        assert not mine.exists()
        lives.stdin.close()
    await wait_until(lambda: not held.exists(), "a process that ends takes its own with it")


def fds():
    return {each.name for each in Path("/dev/fd").iterdir()}


def test_nothing_is_left_open_or_lying_about(root, csv, tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path / "outside"))
    (tmp_path / "outside").mkdir()
    packed = written(root / "a.csv.gz", ROWS)
    process(root, packed, "aggregate")
    before = fds()
    for _ in range(3):
        process(root, packed, "aggregate")
        with pytest.raises(DatasetMissing):
            process(root, root / "nope.csv", "join", {"with": str(csv), "on": ["id"]})
    assert fds() == before
    assert list((tmp_path / "outside").iterdir()) == []


def test_limits_are_put_back_and_not_raised():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with limits.files_bounded(1_000):
        with limits.files_bounded(5_000):
            assert resource.getrlimit(resource.RLIMIT_FSIZE) == (1_000, hard)
        assert resource.getrlimit(resource.RLIMIT_FSIZE) == (1_000, hard)
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == (soft, hard)


@pytest.mark.parametrize(("name", "written_as"), [("a", '"a"'), ('a"b', '"a""b"'), ('"', '""""')])
def test_a_name_is_quoted(name, written_as):
    assert staging.quoted(name) == written_as
    with pytest.raises(ValueError, match="NUL"):
        staging.quoted("a\0b")
