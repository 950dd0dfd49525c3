"""What a deployment offers: the file of sources is read strictly, and what a job names is found or refused."""

import ipaddress
import pickle
from pathlib import Path

import pytest

from shared import settings
from shared.job_types.catalog import BadSources, Catalog, Source, Storage, Unknown, catalog_of
from shared.job_types.job_type import outside
from shared.job_types.secrets import SecretRef
from shared.job_types.sources_file import parsed, read

WHOLE = """
sources:
  sales: {kind: csv, path: /srv/sales.csv}
  shop: {kind: postgres, url: {$secret: SHOP_URL}}
  open.one: {kind: postgres, url: "postgresql://host/db"}
storage:
  backups: {url: "s3://bucket/a/b", options: {region: eu-1, key: {$secret: K}, secret: {$secret: S}}}
  disk: {url: "file:///srv/disk"}
"""


def test_a_whole_file_is_read_as_it_stands():
    found = parsed(WHOLE)
    assert found.sources["sales"] == Source(name="sales", kind="csv", path=Path("/srv/sales.csv"))
    assert found.sources["shop"].url == SecretRef(**{"$secret": "SHOP_URL"})
    assert found.sources["open.one"].url == "postgresql://host/db"
    backups = found.storage["backups"]
    assert (backups.url, dict(backups.options)) == (
        "s3://bucket/a/b",
        {
            "region": "eu-1",
            "key": SecretRef(**{"$secret": "K"}),
            "secret": SecretRef(**{"$secret": "S"}),
        },
    )
    assert found.storage["disk"].directory == Path("/srv/disk")
    assert backups.directory is None


@pytest.mark.parametrize("text", ["", "# nothing yet", "{}", "sources: {}\nstorage: {}"])
def test_a_file_that_names_nothing_offers_nothing(text):
    found = parsed(text)
    assert (dict(found.sources), dict(found.storage)) == ({}, {})


def of(source):
    return f"sources:\n  a: {source}\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sources: [", "this is no YAML"),
        ("sources: !!python/object/apply:os.getcwd []", "this is no YAML"),
        ("- a", "the file should be a valid dictionary"),
        ("source: {}", "source is not known here."),
        ("sources: 3", "sources should be a valid dictionary"),
        ("sources:\n  a: {kind: csv, path: /a}\n  a: {kind: csv, path: /b}", "'a' stands twice"),
        ("storage:\n  a: {url: 'file:///a', url: 'file:///b'}", "'url' stands twice"),
        ("storage: {}\nstorage: {}", "'storage' stands twice"),
        (of("{path: /a}"), "sources.a needs a kind: csv, parquet, json or postgres."),
        (of("{kind: xml, path: /a}"), "sources.a has a kind that isn't one of csv"),
        (of("{kind: csv}"), "sources.a.path is required."),
        (of("{kind: csv, path: ''}"), "sources.a.path must be an absolute path"),
        (of("{kind: csv, path: a/b.csv}"), "sources.a.path must be an absolute path without '..'."),
        (of("{kind: csv, path: /a/../b}"), "sources.a.path must be an absolute path without '..'."),
        (of("{kind: csv, path: /a, url: 'postgresql://h/d'}"), "sources.a.url is not known here."),
        (of("{kind: csv, path: {$secret: A}}"), "sources.a.path should be a valid string."),
        (of("{kind: postgres, path: /a}"), "sources.a.url is required."),
        (of("{kind: postgres, url: 'mysql://h/d'}"), "sources.a.url must be postgresql://"),
        (
            of("{kind: postgres, url: {$secret: 'a/b'}}"),
            "sources.a.url must be a text or a secret; of a secret write",
        ),
        (
            of("{kind: postgres, url: {$secret: '..'}}"),
            "sources.a.url must be a text or a secret; of a secret write",
        ),
        (
            of("{kind: postgres, url: {$secret: A, b: c}}"),
            "sources.a.url must be a text or a secret; of a secret write",
        ),
        (of("{kind: postgres, url: 3}"), "sources.a.url must be a text or a secret"),
        (of("{kind: postgres, url: ''}"), "sources.a.url must be postgresql://"),
        ("sources:\n  'a b': {kind: csv, path: /a}", "sources.a b must be 1 to 64 letters"),
        ("storage:\n  a: {}", "storage.a.url is required."),
        ("storage:\n  a: {url: relative/path}", "storage.a.url must be file:///absolute/directory or s3://"),
        ("storage:\n  a: {url: 'file://host/a'}", "storage.a.url must be file:///"),
        ("storage:\n  a: {url: 'file:///a/../b'}", "storage.a.url must be file:///"),
        ("storage:\n  a: {url: 'file:///a/%2e%2e/b'}", "storage.a.url must be file:///"),
        ("storage:\n  a: {url: 'file:///'}", "storage.a.url must be file:///"),
        ("storage:\n  a: {url: 's3://key:secret@bucket'}", "storage.a.url must be file:///"),
        ("storage:\n  a: {url: 's3://b', options: {token: x}}", "storage.a.options.token is not known here."),
        (
            "storage:\n  a: {url: 'file:///a', options: {region: x}}",
            "storage.a has options, which only s3:// takes",
        ),
    ],
)
def test_what_is_wrong_in_the_file_is_said_in_a_sentence_that_names_the_place(text, sentence):
    with pytest.raises(BadSources) as refusal:
        parsed(text)
    assert sentence in str(refusal.value)


def test_everything_that_is_wrong_is_said_at_once_and_no_secret_is_repeated():
    with pytest.raises(BadSources) as refusal:
        parsed("sources:\n  a: {kind: csv}\n  b: {kind: postgres, url: 'http://u:hunter22@h'}\nx: 1")
    assert len(str(refusal.value).splitlines()) == 3
    assert "hunter22" not in str(refusal.value)


def test_each_sentence_names_the_variable_and_the_file(tmp_path):
    path = tmp_path / "sources.yaml"
    path.write_text("x: 1\ny: 2\n")
    with pytest.raises(BadSources) as refusal:
        read(path)
    lines = str(refusal.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"DAYBOOK_SOURCES={path}: ") for line in lines)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" + b"x" * 1024 * 1024])
def test_a_file_that_cant_be_read_is_said_so(tmp_path, content):
    path = tmp_path / "sources.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadSources, match=r"DAYBOOK_SOURCES=.*(can't be read|more than)"):
        read(path)


def test_a_catalog_is_made_of_the_settings(tmp_path):
    path = tmp_path / "sources.yaml"
    path.write_text(WHOLE)
    catalog = catalog_of(
        settings.load(
            sources=path,
            files_roots="/srv/files",
            templates_dir="/srv/templates",
            allow_sql="true",
            http_networks="10.0.0.0/8",
        )
    )
    assert set(catalog.sources) == {"sales", "shop", "open.one"}
    assert catalog.files_roots == (Path("/srv/files"),)
    assert catalog.templates == Path("/srv/templates")
    assert catalog.allow_sql
    assert catalog.http_networks == (ipaddress.ip_network("10.0.0.0/8"),)
    assert pickle.loads(pickle.dumps(catalog)) == catalog  # noqa: S301 - it travels to the pool


def test_without_settings_nothing_is_offered():
    assert catalog_of(settings.load()) == Catalog()


CATALOG = Catalog(
    files_roots=(Path("/srv"), Path("/srv/files")),
    sources={name: Source(name=name, kind="csv", path=Path("/a")) for name in ("b", "a")},
    storage={
        "backups": Storage(name="backups", url="s3://bucket/x/"),
        "disk": Storage(name="disk", url="file:///srv/disk"),
    },
)


def test_a_source_that_isnt_there_is_refused_with_the_list_of_those_that_are():
    assert CATALOG.source("a").name == "a"
    with pytest.raises(Unknown, match="'c' is no data source here; there are a, b"):
        CATALOG.source("c")
    with pytest.raises(
        Unknown, match="there are none: the operator names sources in the file of DAYBOOK_SOURCES"
    ):
        Catalog().source("c")


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        ("s3://backups/db/", "s3://bucket/x/db"),
        ("s3://backups", "s3://bucket/x"),
        ("s3://disk/a//b/./c", "file:///srv/disk/a/b/c"),
        ("file:///srv/files/a/b", "file:///srv/files/a/b"),
        ("file:///srv/other", "file:///srv/other"),
    ],
)
def test_an_address_means_a_place_in_a_storage(url, meaning):
    assert CATALOG.place(url).url == meaning


def test_the_storage_of_a_file_address_is_the_longest_root():
    place = CATALOG.place("file:///srv/files/a/b")
    assert (place.storage.directory, place.path) == (Path("/srv/files"), "a/b")


@pytest.mark.parametrize(
    "url",
    [
        "s3://nowhere/a",
        "s3:///a",
        "s3://backups/../other",
        "s3://backups/a/../../b",
        "s3://backups/a?versionId=1",
        "s3://backups/a%2f..%2f",
        "s3://backups/a\\b",
        "s3://backups/a\0b",
        "s3://user@backups/a",
        "file:///etc/passwd",
        "file:///srv/../etc",
        "file://host/srv/files",
        "file:srv/files",
        "/srv/files",
        "http://host/a",
        "S3_BACKUPS",
        "",
    ],
)
def test_an_address_that_means_nothing_here_is_refused(url):
    with pytest.raises(Unknown):
        CATALOG.place(url)


def test_an_unknown_alias_is_told_which_there_are():
    with pytest.raises(Unknown, match="s3://nowhere is no storage here; there are backups, disk"):
        CATALOG.place("s3://nowhere/a")


def test_a_path_outside_the_roots_is_a_fault_at_its_field():
    [fault] = outside("#/job_data/path", "/etc/passwd", CATALOG)
    assert (fault.pointer, fault.detail) == (
        "#/job_data/path",
        "lies outside the directories jobs may touch (/srv, /srv/files)",
    )
    assert list(outside("#/job_data/path", "/srv/files/a", CATALOG)) == []


def test_addresses_and_keys_are_not_in_the_repr():
    source = Source(name="a", kind="postgres", url="postgresql://u:hunter22@h/d")
    storage = Storage(name="b", url="s3://b", options={"secret": "hunter22"})
    assert "hunter22" not in repr(Catalog(sources={"a": source}, storage={"b": storage}))
