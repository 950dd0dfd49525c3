"""`daybook backup`: what there is, whether it is whole, and how it comes back, from a shell."""

import asyncio
import json

import asyncpg
import pytest
import yaml
from click.testing import CliRunner

from services.__main__ import main
from shared.job_types.catalog import Source

from .backup_kit import SECRET, Desk, a_bucket
from .databases import a_database


@pytest.fixture(scope="module")
def bucket():
    with a_bucket() as made:
        yield made


@pytest.fixture(params=["file", "alias", "s3"])
def desk(request, tmp_path, bucket):
    made = Desk(tmp_path, request.param, bucket.options if request.param == "s3" else None)
    (made.root / "data").mkdir()
    (made.root / "data" / "a").write_text("first")
    url = made.resources.catalog.storage["backups"].url
    storage = {"url": url} | ({"options": dict(bucket.options)} if request.param == "s3" else {})
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"storage": {"backups": storage}}))
    made.variables = {
        "DAYBOOK_SOURCES": str(tmp_path / "sources.yaml"),
        "DAYBOOK_SECRETS_DIR": str(made.secrets),
        "DAYBOOK_DATA_DIR": str(tmp_path / "nowhere"),
    }
    return made


def cli(desk, *words, status=0, **variables):
    done = CliRunner().invoke(main, ["backup", *map(str, words)], env=desk.variables | variables)
    assert done.exit_code == status, f"{done.stdout}\n{done.stderr}\n{done.exception!r}"
    return done.stdout if status == 0 else done.stderr


def made(desk, **options):
    told = desk.run(
        **{"backup_type": "files", "paths": [str(desk.root / "data")], "encryption": True} | options
    )
    return f"{desk.destination.rstrip('/')}/{told['name']}", told


def test_backups_are_listed_verified_and_restored(desk, tmp_path):
    url, told = made(desk)
    listed = [line.split("\t") for line in cli(desk, "list", "--at", desk.destination).splitlines()]
    assert [line[0] for line in listed] == ["name", told["name"]]
    assert listed[1][1:] == ["files", "2026-11-23T12:00:00+00:00", "0193-job", str(told["stored_bytes"])]
    said = json.loads(cli(desk, "verify", "--from", url))
    assert (said["sha256"], said["files"], said["job_id"]) == (told["sha256"], 1, "0193-job")
    assert (said["bytes"], said["stored_bytes"]) == (told["bytes"], told["stored_bytes"])
    assert cli(desk, "restore", "--from", url, "--to", tmp_path / "back") == "restored\n"
    back = tmp_path / "back" / str(desk.root).lstrip("/") / "data" / "a"
    assert back.read_text() == "first"
    assert "isn't empty" in cli(desk, "restore", "--from", url, "--to", tmp_path / "back", status=1)
    back.write_text("other")
    cli(desk, "restore", "--from", url, "--to", tmp_path / "back", "--force")
    assert back.read_text() == "first"


def test_the_key_may_stand_in_a_file_and_a_wrong_one_is_said(desk, tmp_path):
    url, _ = made(desk)
    elsewhere = {"DAYBOOK_SECRETS_DIR": str(tmp_path)}
    assert "give the key" in cli(desk, "verify", "--from", url, status=1, **elsewhere)
    (tmp_path / "key").write_text(SECRET + "\n")
    cli(desk, "verify", "--from", url, "--key-file", tmp_path / "key", **elsewhere)
    (tmp_path / "key").write_text("another key, and a long one")
    assert "WrongKey" in cli(desk, "verify", "--from", url, "--key-file", tmp_path / "key", status=1)
    assert SECRET not in cli(desk, "list", "--at", desk.destination)


def test_what_is_damaged_or_too_large_is_said_and_nothing_is_restored(desk, tmp_path):
    url, told = made(desk)
    target = tmp_path / "back"
    assert "TooLarge" in cli(desk, "restore", "--from", url, "--to", target, "--max-bytes", 100, status=1)
    whole = desk.bytes(told["name"])
    from shared.backup.names import parsed  # noqa: PLC0415

    with desk.store() as store, store.draft(parsed(told["name"])) as draft:
        draft.write(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        with draft.stored():
            draft.publish()
    for words in (("verify",), ("restore", "--to", target)):
        assert "Damaged" in cli(desk, words[0], "--from", url, *words[1:], status=1)
    assert not target.exists()


def test_places_that_are_none_are_said(desk, tmp_path):
    for url, said in (
        ("s3://nowhere/x", "backups"),
        ("https://host/x", "no place of backups"),
        ("file:///nowhere/at/all/x", "No such file"),
        (f"{desk.destination.rstrip('/')}/", "is a directory"),
    ):
        assert said in cli(desk, "verify", "--from", url, status=1)
    assert "isn't there" in cli(
        desk, "restore", "--from", made(desk)[0], "--to", tmp_path / "no" / "way", status=1
    )


async def test_a_database_is_restored_to_a_url_and_files_are_not(postgres, tmp_path):
    async with a_database(postgres, migrated=False) as url, a_database(postgres, migrated=False) as empty:
        connection = await asyncpg.connect(url)
        await connection.execute("create table t as select generate_series(1, 1000) as i")
        await connection.close()
        desk = Desk(tmp_path, "file", sources={"shop": Source(name="shop", kind="postgres", url=url)})
        desk.variables = {"DAYBOOK_SECRETS_DIR": str(desk.secrets)}
        (desk.root / "data").mkdir()
        where, _ = await asyncio.to_thread(made, desk, backup_type="database", source="shop", paths=None)
        files, _ = await asyncio.to_thread(made, desk, run_id="other")

        def say(*words, status=0):
            return asyncio.to_thread(cli, desk, "restore", "--from", *words, status=status)

        assert "restore it to postgresql" in await say(where, "--to", tmp_path / "back", status=1)
        assert "restore it to a directory" in await say(files, "--to", empty, status=1)
        await say(where, "--to", empty)
        assert "isn't empty" in await say(where, "--to", empty, status=1)
        await say(where, "--to", empty, "--force")
        connection = await asyncpg.connect(empty)
        assert await connection.fetchval("select sum(i) from t") == 500_500
        await connection.close()


def test_each_command_has_help():
    for words in ((), ("list",), ("verify",), ("restore",)):
        done = CliRunner().invoke(main, ["backup", *words, "--help"])
        assert done.exit_code == 0
    assert "daybook backup restore --from" in CliRunner().invoke(main, ["backup", "--help"]).stdout
