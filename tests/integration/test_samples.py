"""The samples of `daybook up`: files on disk, two databases on a real server, and who gets none of them."""

import csv
import os
import stat
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal

import asyncpg
import pytest

from services.__main__ import _offered
from services.executor.secrets import Secrets
from services.up.beside import Beside
from services.up.sample_databases import SampleDatabases
from services.up.samples import ACCOUNTS, REGIONS, Samples, finances, sales
from shared import settings
from shared.embedded import DataDir
from shared.faults import Fatal
from shared.job_types.catalog import catalog_of

TODAY = date(2026, 11, 27)


@pytest.fixture
def data_dir(tmp_path):
    made = DataDir(tmp_path / "data")
    (made.path / "postgres").mkdir(parents=True)
    return made


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Rows.


def test_sales_cover_the_last_two_years_day_by_day():
    rows = list(sales(TODAY))
    assert len(rows) >= 6_000
    assert {each["date"] for each in rows} == {TODAY - timedelta(days=back) for back in range(730)}
    assert {each["region"] for each in rows} == set(REGIONS)
    assert all(Decimal(each["price"]) * each["quantity"] == Decimal(each["amount"]) for each in rows)


def test_a_days_rows_are_the_same_whenever_they_are_made():
    assert list(sales(TODAY)) == list(sales(TODAY))
    earlier = list(sales(TODAY - timedelta(days=100)))
    both = {each["date"] for each in earlier} & {each["date"] for each in sales(TODAY)}
    assert len(both) == 630
    assert [each for each in earlier if each["date"] in both] == [
        each for each in sales(TODAY) if each["date"] in both
    ]


@pytest.mark.parametrize("today", [date(2026, 11, 27), date(2026, 1, 1), date(2024, 2, 29)])
def test_finances_cover_last_month_and_the_two_years_before(today):
    rows = list(finances(today))
    months = Counter(each["month"] for each in rows)
    last = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    assert {last, today.replace(day=1), date(today.year - 2, today.month, 1)} <= set(months)
    assert set(months.values()) == {len(ACCOUNTS)}
    assert {each["category"] for each in rows} == {"income", "expense"}


# Files.


def test_what_is_laid_out_is_what_the_file_of_sources_names(data_dir):
    samples = Samples(settings.load(), data_dir)
    samples.lay_out(TODAY)
    told = samples.variables("postgresql://daybook:pw@127.0.0.1:5000/daybook")
    catalog = catalog_of(settings.load(sources=told["DAYBOOK_SOURCES"]))
    assert set(catalog.sources) == {"sales_data", "financial_data", "legacy_db", "new_db"}
    rows = rows_of(catalog.source("sales_data").path)
    assert len(rows) == len(list(sales(TODAY)))
    assert list(rows[0]) == ["date", "region", "product", "quantity", "price", "amount"]
    assert list(rows_of(catalog.source("financial_data").path)[0]) == [
        "month",
        "account",
        "category",
        "amount",
    ]
    assert catalog.place("s3://backups/db/").storage.directory == data_dir.path / "backups"
    assert (data_dir.path / "backups").is_dir()
    assert "pw" not in (data_dir.path / "sources.yaml").read_text()


def test_the_backup_key_is_made_once_for_its_owners_eyes_only(data_dir):
    samples = Samples(settings.load(), data_dir)
    samples.lay_out(TODAY)
    key = data_dir.path / "secrets" / "backup_key"
    assert len(bytes.fromhex(key.read_text())) == 32
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    before = key.read_text()
    samples.lay_out(TODAY + timedelta(days=1))
    assert key.read_text() == before
    told = samples.variables("postgresql://daybook:pw@127.0.0.1:5000/daybook")
    assert told["DAYBOOK_SECRETS_DIR"] == str(key.parent)


def test_files_are_made_once_a_day(data_dir):
    samples = Samples(settings.load(), data_dir)
    samples.lay_out(TODAY)
    file = data_dir.path / "samples" / "sales_data.csv"
    noon = 43_200 + 86_400 * (TODAY - date(1970, 1, 1)).days
    file.write_text("mine")
    os.utime(file, (noon, noon))
    samples.lay_out(TODAY)
    assert file.read_text() == "mine"
    samples.lay_out(TODAY + timedelta(days=1))
    assert rows_of(file)[-1]["date"] == "2026-11-28"


def test_beside_a_database_of_ones_own_there_are_no_sample_databases_and_a_line_says_so(data_dir):
    samples = Samples(settings.load(database_url="postgresql://h/d"), data_dir)
    samples.lay_out(TODAY)
    told = samples.variables("postgresql://h/d")
    catalog = catalog_of(settings.load(sources=told["DAYBOOK_SOURCES"]))
    assert set(catalog.sources) == {"sales_data", "financial_data"}
    assert set(told) == {"DAYBOOK_SOURCES", "DAYBOOK_SECRETS_DIR"}
    assert "legacy_db and new_db only beside a database of our own" in samples.line()


@pytest.mark.parametrize("chosen", ["production", "sources"])
async def test_production_and_sources_of_ones_own_have_no_samples(data_dir, tmp_path, chosen):
    (tmp_path / "own.yaml").write_text("sources: {}")
    choices = {
        "production": {"env": "production", "auth": "on"},
        "sources": {"sources": tmp_path / "own.yaml"},
    }
    beside = Beside(settings.load(**choices[chosen]), data_dir)
    await beside.start()
    assert (beside.variables(None), beside.lines()) == ({}, {})
    assert [each.name for each in data_dir.path.iterdir()] == ["postgres"]


async def test_a_wrong_file_of_sources_ends_the_start_with_its_sentence(data_dir, tmp_path):
    (tmp_path / "own.yaml").write_text("source: {}")
    beside = Beside(settings.load(sources=tmp_path / "own.yaml"), data_dir)
    with pytest.raises(Fatal, match=r"own.yaml: source is not known here\."):
        await beside.start()


def test_a_wrong_file_of_sources_ends_a_service_with_its_sentence(tmp_path):
    (tmp_path / "own.yaml").write_text("source: {}")
    with pytest.raises(Fatal, match=r"own.yaml: source is not known here\."):
        _offered(settings.load(sources=tmp_path / "own.yaml"))


def test_secrets_of_ones_own_stay_where_they_are(data_dir, tmp_path):
    samples = Samples(settings.load(secrets_dir=tmp_path), data_dir)
    samples.lay_out(TODAY)
    assert "DAYBOOK_SECRETS_DIR" not in samples.variables("postgresql://daybook:pw@127.0.0.1:5000/daybook")


# Databases.


async def test_the_databases_are_made_and_filled_once(data_dir, postgres):
    databases = SampleDatabases(data_dir.path / "postgres")
    await databases.make(postgres.endpoint.url)
    legacy = await asyncpg.connect(databases.url(postgres.endpoint.url, "legacy_db"))
    assert await legacy.fetchval("SELECT count(*) FROM customers") == 5_000
    assert await legacy.fetchval("SELECT count(*) FROM orders") == 12_000
    assert (
        await legacy.fetchval("SELECT count(*) FROM orders JOIN customers ON customers.id = customer_id")
        == 12_000
    )
    assert await legacy.fetchval("SELECT sum(amount) FROM orders") > 0
    await legacy.execute("DELETE FROM orders")
    await databases.make("postgresql://nobody@nowhere/at-all")  # not asked again
    assert await legacy.fetchval("SELECT count(*) FROM orders") == 0
    await legacy.close()
    new = await asyncpg.connect(databases.url(postgres.endpoint.url, "new_db"))
    assert await new.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await new.execute("CREATE TABLE here (id int)")  # their role may
    await new.execute("DROP TABLE here")
    await new.close()


async def test_a_start_that_was_broken_off_is_gone_on_with(data_dir, postgres):
    databases = SampleDatabases(data_dir.path / "postgres")
    await databases.make(postgres.endpoint.url)
    (data_dir.path / "postgres" / "samples_made").unlink()
    legacy = await asyncpg.connect(databases.url(postgres.endpoint.url, "legacy_db"))
    await legacy.execute("DROP TABLE orders, customers")
    await databases.make(postgres.endpoint.url)
    assert await legacy.fetchval("SELECT count(*) FROM orders") == 12_000
    await legacy.close()


async def test_their_role_cant_read_daybooks_own_database(data_dir, postgres):
    databases = SampleDatabases(data_dir.path / "postgres")
    await databases.make(postgres.endpoint.url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(databases.url(postgres.endpoint.url, "daybook"))


async def test_the_sources_lead_to_the_databases(data_dir, postgres):
    samples = Samples(settings.load(), data_dir)
    samples.lay_out(TODAY)
    await samples.databases.make(postgres.endpoint.url)
    told = samples.variables(postgres.endpoint.url)
    catalog = catalog_of(settings.load(sources=told["DAYBOOK_SOURCES"]))
    url = Secrets(environ=told).value(catalog.source("legacy_db").url)
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT current_user") == "samples"
    await connection.close()
