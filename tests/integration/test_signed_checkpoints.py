"""`daybook audit key | sign | check`: whatever is changed in an archive or a copy of it is found, and named."""

import json

import asyncpg
import pytest

from shared.readmodel.chain import FIELDS
from tests.integration.archive_kit import an_office
from tests.integration.cold_kit import a_history, archived, at, daybook
from tests.integration.retention_kit import age

CHANGED = {  # field kind → what a row's value becomes; one bit, or one unit, of it
    **dict.fromkeys(("epoch", "pos", "v"), "{0} + 1000000"),
    "partition": "{0} + 1",
    "at": "{0} + interval '1 millisecond'",
    "chain": "set_byte({0}, 31, get_byte({0}, 31) # 1)",
    **dict.fromkeys(
        ("id", "type", "subject", "job", "advances", "actor", "cause", "corr", "trace", "data"),
        "overlay({0} placing chr(ascii({0}) # 1) from 1 for 1)",
    ),
}


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        await a_history(made)
        yield made


@pytest.fixture
async def signed(office, tmp_path):
    """A checkpoint, its public key, and the copy of what it was made of."""
    await daybook("audit", "key", tmp_path / "audit_key")
    assert (tmp_path / "audit_key").stat().st_mode & 0o777 == 0o600
    document = tmp_path / "checkpoint.json"
    url = at(office.database_url)
    await daybook("audit", "sign", "--key-file", tmp_path / "audit_key", "--to", document, **url)
    await daybook("archive", "export", "--to", tmp_path / "cold", "--compression", "none", **url)
    return document


async def check(document, against=None, *, status=0, key="audit_key.pub", **variables):
    words = ["audit", "check", document, "--public-key", document.with_name(key)]
    words += ["--against", against] if against else []
    return await daybook(*words, status=status, **variables)


async def test_a_third_party_checks_it_with_the_key_alone(office, signed):
    told = json.loads(signed.read_text())
    assert told["deployment"] == office.bench.prefix
    last = (await office.archived())[-1]
    assert (told["heads"][0]["pos"], told["heads"][0]["id"]) == (last.position.pos, last.id)
    said = await check(signed)
    assert said.stdout.endswith(f"for {office.bench.prefix}, 2 heads: the signature holds\n")
    await daybook("audit", "key", signed.with_name("other"))
    said = await check(signed, status=1, key="other.pub")
    assert "it says it was signed with another key" in said.stderr
    said = await check(signed, status=1, key="nobody.pub")
    assert "nobody.pub: No such file or directory" in said.stderr


async def test_a_checkpoint_of_which_anything_was_changed_is_refused(signed):
    told = json.loads(signed.read_text())

    def changed(value):
        match value:
            case dict():
                return [value | {name: other} for name in value for other in changed(value[name])]
            case list():
                return [
                    [*value[:n], other, *value[n + 1 :]]
                    for n, each in enumerate(value)
                    for other in changed(each)
                ]
            case int():
                return [value + 1]
            case _:
                return [chr(ord(value[0]) ^ 1) + value[1:]]

    wrong = changed(told)
    assert len(wrong) == 7 + 2 * 5
    for each in wrong:
        signed.write_text(json.dumps(each))
        said = await check(signed, status=1)
        assert "heckpoint" in said.stderr or "signature" in said.stderr
    signed.write_text(json.dumps(told))  # blanks are nobody's
    await check(signed)


async def test_the_archive_and_its_copies_lead_through_it_while_the_system_goes_on(office, signed):
    await office.run(await office.create())
    await archived(office)
    said = await check(signed, "database", **at(office.database_url))
    assert "they lead through the heads, and all links hold" in said.stdout
    said = await check(signed, office.database_url)
    assert office.database_url.rpartition("@")[2] in said.stdout
    assert "daybook:" not in said.stdout  # no password
    said = await check(signed, signed.with_name("cold"))
    assert said.stdout.endswith("they lead through the heads, and all links hold\n")


async def test_a_changed_field_of_a_row_is_found_and_the_row_named(office, signed):
    assert set(CHANGED) == {*FIELDS, "chain"}
    connection = await asyncpg.connect(office.database_url)
    row = await connection.fetchrow(
        "select * from book.events where subject like 'run/%' and cause = '' limit 1"
    )
    try:
        for name, change in CHANGED.items():
            if name in {"cause", "trace"}:  # these are empty: something is put in
                change = "'x'"  # noqa: PLW2901
            await connection.execute(
                f"update book.events set {name} = {change.format(name)}"  # noqa: S608
                " where partition = $1 and pos = $2 and id = $3",
                row["partition"], row["pos"], row["id"],
            )  # fmt: skip
            said = await check(signed, "database", status=1, **at(office.database_url))
            named = [line for line in said.stdout.splitlines() if line.startswith("WRONG")]
            expected = {"partition": row["partition"], "epoch": row["epoch"], "pos": row["pos"]}
            if name in expected:
                expected[name] += 1 if name == "partition" else 1_000_000
            place = f"{expected['partition']}:{expected['epoch']}-{expected['pos']}: "
            assert any(place in line for line in named), (name, named)
            await _put_back(connection, row, name)
        await check(signed, "database", **at(office.database_url))
    finally:
        await connection.close()


async def _put_back(connection, row, name):
    key = "chain" if name == "id" else "id"
    await connection.execute(
        f"update book.events set {name} = $1 where {key} = $2",  # noqa: S608
        row[name], row[key],
    )  # fmt: skip


async def test_a_history_that_was_written_anew_with_good_links_is_none_that_was_signed(office, signed):
    """Whoever can write the archive can link it again: only what somebody else keeps shows that."""
    await age(office.pool, 1)  # all times are others, and the links match
    said = await check(signed, "database", status=1, **at(office.database_url))
    assert "it is not the event" in said.stdout
    assert "doesn't follow" not in said.stdout
    forged = signed.with_name("forged")
    await daybook("archive", "export", "--to", forged, **at(office.database_url))
    await daybook("archive", "verify", forged)
    said = await check(signed, forged, status=1)
    assert "it is not the event" in said.stdout


async def test_an_archive_that_lost_its_end_lacks_what_was_signed(office, signed):
    await office.pool.execute("delete from book.events where partition = 0 and pos > 5")
    said = await check(signed, "database", status=1, **at(office.database_url))
    assert "what was signed is missing" in said.stdout


async def test_an_archive_that_does_not_end_where_it_says_is_not_signed(office, tmp_path, signed):
    await office.pool.execute("update book.events set chain = sha256('') where partition = 1")
    said = await daybook(
        "audit", "sign", "--key-file", tmp_path / "audit_key", status=1, **at(office.database_url)
    )
    assert "partition 1 doesn't end where its checkpoint says" in said.stderr


async def test_the_key_may_be_a_secret_and_must_be_one(office, signed, tmp_path):
    variables = at(office.database_url) | {"DAYBOOK_SECRETS_DIR": str(tmp_path)}
    said = await daybook("audit", "sign", **variables)
    assert [each["partition"] for each in json.loads(said.stdout)["heads"]] == [0, 1]
    (tmp_path / "audit_key").write_text("no key")
    said = await daybook("audit", "sign", status=1, **variables)
    assert "no PEM of a private key" in said.stderr
    (tmp_path / "audit_key").unlink()
    said = await daybook("audit", "sign", status=1, **variables)
    assert "There is no key" in said.stderr


async def test_a_copy_that_begins_after_what_was_signed_cannot_show_it(office, signed, tmp_path):
    await office.run(await office.create())
    await archived(office)
    url, last = at(office.database_url), (await office.archived())[-2]
    later = tmp_path / "later"
    await daybook("archive", "export", "--to", later, "--from", last.place, **url)
    await daybook("archive", "verify", later)
    said = await check(signed, later, status=1)
    assert "so the head can't be shown" in said.stdout
    exact = tmp_path / "exact"
    head = json.loads(signed.read_text())["heads"][0]
    await daybook("archive", "export", "--to", exact, "--from", f"0:{head['pos']}", **url)
    await check(signed, exact)
