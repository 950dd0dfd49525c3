"""Sample sources, storage and a backup key, so that each type of job has something to work on from the first start.

They are what `<data-dir>/sources.yaml` names, unless DAYBOOK_SOURCES names a file of your own: then that is used alone.
A production system has none. The same day makes the same rows.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import yaml

from shared.embedded import DataDir
from shared.embedded.secret import secret_in
from shared.settings import Settings

from .sample_databases import NAMES, SampleDatabases

HEAD = (
    "# Made by `daybook up` at each start. Set DAYBOOK_SOURCES to a file of your own to have other sources.\n"
)
SALES_DAYS = 730
SALES_A_DAY = (6, 14)  # at least 6,000 rows in two years, and about 7,300
REGIONS = ("Berlin", "Lyon", "Zürich", "Łódź", "Kraków")
PRODUCTS = {
    "Notebook": 349,
    "Pen": 120,
    "Calendar": 1295,
    "Desk lamp": 4590,
    "Chair": 18900,
}  # prices in cents
MONTHS = 25  # the current one too, so that last month is there after the next turn of the month as well
ACCOUNTS = {
    "Subscriptions": ("income", 4_200_000),
    "Consulting": ("income", 1_350_000),
    "Licences": ("income", 610_000),
    "Interest": ("income", 24_000),
    "Salaries": ("expense", 3_100_000),
    "Rent": ("expense", 420_000),
    "Cloud": ("expense", 380_000),
    "Travel": ("expense", 95_000),
    "Marketing": ("expense", 240_000),
    "Insurance": ("expense", 61_000),
    "Office": ("expense", 33_000),
    "Taxes": ("expense", 710_000),
}  # cents a month, about


class Samples:
    """What this start offers to jobs beside what the settings do.

    Args:
        settings: as `up` was given them.
        data_dir: the one that is held.
    """

    def __init__(self, settings: Settings, data_dir: DataDir) -> None:
        self._settings = settings
        self._folder = data_dir.path / "samples"
        self._backups = data_dir.path / "backups"
        self._secrets = data_dir.path / "secrets"
        self._sources = data_dir.path / "sources.yaml"
        self.databases = None if settings.database_url else SampleDatabases(data_dir.path / "postgres")

    def lay_out(self, today: date) -> None:
        """Make what isn't there, or is of another day; quick."""
        for folder in (self._folder, self._backups, self._secrets):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
        secret_in(self._secrets / "backup_key")
        _write_daily(self._folder / "sales_data.csv", today, sales)
        _write_daily(self._folder / "financial_data.csv", today, finances)
        _replace(self._sources, HEAD + yaml.safe_dump(self._offered(), sort_keys=False))

    def variables(self, database_url: str) -> dict[str, str]:
        """What services must be told.

        Args:
            database_url: of the embedded server, if it is.
        """
        told = {"DAYBOOK_SOURCES": str(self._sources)}
        if self._settings.secrets_dir is None:
            told["DAYBOOK_SECRETS_DIR"] = str(self._secrets)
        if self.databases is not None:
            told |= {f"DAYBOOK_SECRET__{name}_url": self.databases.url(database_url, name) for name in NAMES}
        return told

    def line(self) -> str:
        """What there is, for people."""
        there = ", ".join(self._offered()["sources"])
        missing = "" if self.databases else f"; {' and '.join(NAMES)} only beside a database of our own"
        return f"{there}; s3://backups ({self._sources}){missing}"

    def _offered(self) -> dict[str, Any]:
        files = ("sales_data", "financial_data")
        sources: dict[str, Any] = {
            name: {"kind": "csv", "path": str(self._folder / f"{name}.csv")} for name in files
        }
        if self.databases is not None:
            sources |= {name: {"kind": "postgres", "url": {"$secret": f"{name}_url"}} for name in NAMES}
        return {"sources": sources, "storage": {"backups": {"url": self._backups.as_uri()}}}


def sales(today: date) -> Iterator[Mapping[str, object]]:
    """What was sold in the two years up to `today`; amounts and prices in units of money, two places."""
    for number in range(SALES_DAYS):
        day = today - timedelta(days=SALES_DAYS - 1 - number)
        chance = Random(day.toordinal())  # a day's rows are the same whenever they are made
        for _ in range(chance.randint(*SALES_A_DAY)):
            product, price = chance.choice(list(PRODUCTS.items()))
            quantity = chance.randint(1, 12)
            yield {
                "date": day,
                "region": chance.choice(REGIONS),
                "product": product,
                "quantity": quantity,
                "price": _money(price),
                "amount": _money(price * quantity),
            }


def finances(today: date) -> Iterator[Mapping[str, object]]:
    """What came in and went out in the months up to `today`'s; each month is its first day."""
    for back in range(MONTHS - 1, -1, -1):
        year, month = divmod(today.year * 12 + today.month - 1 - back, 12)
        first = date(year, month + 1, 1)
        chance = Random(first.toordinal())
        for account, (category, usual) in ACCOUNTS.items():
            cents = round(usual * chance.uniform(0.85, 1.2))
            yield {"month": first, "account": account, "category": category, "amount": _money(cents)}


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _write_daily(path: Path, today: date, rows: Any) -> None:
    if path.exists() and datetime.fromtimestamp(path.stat().st_mtime, UTC).date() == today:
        return
    made = list(rows(today))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(made[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    _replace(path, text.getvalue())


def _replace(path: Path, text: str) -> None:
    """Write the file whole or not at all: who reads it has the old one or the new one."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
