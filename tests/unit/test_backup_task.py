"""`backup_task`: what data is taken, and what is said about data that isn't."""

from pathlib import Path

import pytest

from shared.job_types import BadJobData, Catalog, Known, check, describe
from shared.job_types.catalog import Source, Storage

CATALOG = Catalog(
    files_roots=(Path("/srv/files"),),
    storage={"backups": Storage(name="backups", url="file:///srv/files/kept")},
    sources={
        "shop": Source(name="shop", kind="postgres", url="postgresql://h/d"),
        "sales": Source(name="sales", kind="csv", path=Path("/srv/sales.csv")),
    },
)
DATABASE = {
    "backup_type": "database",
    "destination": "s3://backups/db/",
    "compression": True,
    "encryption": True,
}
FILES = {
    "backup_type": "files",
    "destination": "file:///srv/files/b",
    "paths": ["/srv/files/a", "/srv/files/c"],
}


def checked(data):
    return check("backup_task", data, known=Known(), catalog=CATALOG)


def faults(data):
    with pytest.raises(BadJobData) as refusal:
        checked(data)
    return [(fault.pointer.removeprefix("#/job_data/"), fault.detail) for fault in refusal.value.faults]


@pytest.mark.parametrize(
    "data",
    [
        DATABASE,
        DATABASE | {"source": "shop", "compression": "gzip", "encryption": "aes-256-gcm", "keep_last": 7},
        DATABASE | {"key": {"$secret": "another"}},
        FILES,
        FILES | {"compression": "none", "encryption": False},
        {"backup_type": "log", "destination": "s3://backups"},
    ],
)
def test_good_data_is_kept_as_it_was_given(data):
    assert checked(data) == data


@pytest.mark.parametrize(
    ("data", "pointer", "says"),
    [
        ({"destination": "s3://backups"}, "backup_type", "one of database, files, log"),
        (DATABASE | {"backup_type": "everything"}, "backup_type", "not known"),
        (DATABASE | {"paths": ["/srv/files"]}, "paths", "not a field"),
        (DATABASE | {"destination": "s3://nowhere/x"}, "destination", "there are backups"),
        (DATABASE | {"destination": "s3://backups/../x"}, "destination", "without '..'"),
        (DATABASE | {"destination": "file:///etc"}, "destination", "outside"),
        (DATABASE | {"destination": "https://host/x"}, "destination", "s3://ALIAS/path"),
        (DATABASE | {"destination": "file://host/srv/files"}, "destination", "s3://ALIAS/path"),
        (DATABASE | {"source": "nothing"}, "source", "there are sales, shop"),
        (DATABASE | {"source": "sales"}, "source", "of kind csv"),
        (DATABASE | {"key": "a key that stands here"}, "key", "$secret"),
        (DATABASE | {"compression": "rar"}, "compression", "zstd"),
        (DATABASE | {"encryption": "rot13"}, "encryption", "aes-256-gcm"),
        (DATABASE | {"keep_last": 0}, "keep_last", "greater"),
        (FILES | {"paths": []}, "paths", "at least 1"),
        (FILES | {"paths": ["/etc"]}, "paths/0", "outside"),
        (FILES | {"paths": ["/srv/files/../x"]}, "paths/0", "without '..'"),
        (FILES | {"paths": ["files"]}, "paths/0", "absolute"),
        (FILES | {"paths": ["/srv/files/a", "/srv/files/a/b"]}, "paths", "as a whole"),
        (FILES | {"paths": ["/srv/files/a", "/srv/files/a"]}, "paths", "as a whole"),
        (FILES | {"destination": "file:///srv/files/a/b"}, "destination", "would hold itself"),
        (FILES | {"destination": "s3://backups", "paths": ["/srv/files/kept"]}, "destination", "hold itself"),
    ],
)
def test_bad_data_is_refused_where_it_is_wrong(data, pointer, says):
    found = faults(data)
    assert any(where.startswith(pointer) and says in detail for where, detail in found), found


def test_it_is_described_with_its_schema_and_its_failures():
    told = next(each for each in describe(Known()) if each["name"] == "backup_task")
    assert set(told["schema"]["discriminator"]["mapping"]) == {"files", "database", "log"}
    assert "WeakKey" in told["given_up"]
