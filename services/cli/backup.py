"""`daybook backup …`: what backups there are, whether they are whole, and how they come back.

These work without any service. Places are `file:///path`, anywhere on this machine, and `s3://ALIAS/path`, a storage of
the file that DAYBOOK_SOURCES names. The key of an encrypted backup is the file of --key-file, else the secret
`backup_key` of DAYBOOK_SECRETS_DIR. Where these aren't set, what `daybook up` made in the data directory is used.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import click

from services.cli.key_files import key_of, secrets_of
from services.cli.operating import finished, settings_of
from shared.faults import Fatal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from shared.backup.container import Stored
    from shared.backup.stores import Store
    from shared.settings import Settings

_key_file = click.option(
    "--key-file", type=click.Path(path_type=Path), help="Holds the key of an encrypted backup."
)
_data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Of a running `up` (DAYBOOK_DATA_DIR)."
)
_from = click.option(
    "--from", "url", required=True, help="The backup: file:///path/NAME, s3://ALIAS/path/NAME."
)


@click.group()
def backup() -> None:
    """Look at backups, check them, bring them back.

    \b
    daybook backup list --at s3://backups/db/
    daybook backup verify --from s3://backups/db/database_20261127T020000Z_….daybook
    daybook backup restore --from file:///srv/backups/files_….daybook --to /srv/restored
    """  # noqa: D301 - click's mark


@backup.command("list")
@click.option("--at", "url", required=True, help="The directory: file:///path, or s3://ALIAS/path.")
@_data_dir
def list_backups(*, url: str, **options: Any) -> None:
    """Show the backups that are in a directory, a line each, oldest first."""
    told = settings_of(options, "backup")

    async def show() -> None:
        from shared.backup.stores import listed  # noqa: PLC0415

        click.echo("name\ttype\ttime\tjob\tbytes")
        with _store(told, url) as store:
            for name, size in listed(store):
                at = name.at.isoformat(timespec="seconds")
                click.echo(f"{name}\t{name.backup_type}\t{at}\t{name.job_id}\t{size}")

    _do(show)


@backup.command()
@_from
@_key_file
@_data_dir
def verify(*, url: str, key_file: Path | None, **options: Any) -> None:
    """Read a backup to its end, and say what is in it; ends with 1 if it isn't whole."""
    told = settings_of(options, "backup")

    async def look() -> None:
        from shared.backup.checking import check  # noqa: PLC0415

        with _object(told, url) as (stored, size):
            checked = check(stored, size, _secret(told, key_file))
        click.echo(
            json.dumps(
                {
                    **checked.about,
                    **_summary(checked.manifest),
                    "bytes": checked.payload_bytes,
                    "stored_bytes": checked.stored_bytes,
                    "sha256": checked.sha256,
                    "encrypted": checked.encrypted,
                    "compression": checked.compression,
                },
                indent=2,
            )
        )

    _do(look)


@backup.command()
@_from
@click.option(
    "--to", "target", required=True, help="An empty directory, or postgresql://… of an empty database."
)
@_key_file
@click.option("--force", is_flag=True, help="If it isn't empty, what is in it goes.")
@click.option(
    "--outside-links", is_flag=True, help="Make symbolic links that lead out of the directory, too."
)
@click.option("--max-bytes", type=click.IntRange(min=1), help="Refuse a backup that grows larger.")
@_data_dir
def restore(
    *,
    url: str,
    target: str,
    key_file: Path | None,
    force: bool,
    outside_links: bool,
    max_bytes: int | None,
    **options: Any,
) -> None:
    """Bring a backup back: files and the log into a directory, a database into a database.

    The target becomes what was backed up, or stays as it was. Files keep their modes and times; owners, and the bits
    that lend rights, are not restored. The log comes as JSON lines, a file a partition, with its manifest. A database
    is filled in one transaction, as the user of the URL, whose password may stand in PGPASSWORD.
    """
    told = settings_of(options, "backup")

    async def bring() -> None:
        from shared.backup import restoring  # noqa: PLC0415

        secret = _secret(told, key_file)
        with _object(told, url) as (stored, size):
            if urlsplit(target).scheme in {"postgresql", "postgres"}:
                await restoring.to_database(stored, size, secret, target, force=force, bytes_max=max_bytes)
            else:
                restoring.to_directory(
                    stored,
                    size,
                    secret,
                    _directory(target),
                    force=force,
                    outside_links=outside_links,
                    bytes_max=max_bytes,
                )
        click.echo("restored")

    _do(bring)


# What they have in common.


def _do(command: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a command to its end; what is wrong with a backup, a key, a target is said in a sentence."""

    async def done() -> int:
        from services.executor.secrets import SecretMissing  # noqa: PLC0415
        from shared.backup.restoring_database import RestoreFailed, TargetNotEmpty  # noqa: PLC0415
        from shared.backup.sealing import BadBackup, WeakKey  # noqa: PLC0415
        from shared.job_types.catalog import Unknown  # noqa: PLC0415

        try:
            await command()
        except (BadBackup, WeakKey, TargetNotEmpty, RestoreFailed, SecretMissing, Unknown) as error:
            raise Fatal(f"{type(error).__name__}: {error}") from error
        return 0

    sys.exit(finished(done))


@contextlib.contextmanager
def _object(told: Settings, url: str) -> Iterator[tuple[Stored, int]]:
    """The stored object of that URL, and its length."""
    place, _, name = url.rpartition("/")
    if not name:
        raise Fatal(f"{url} is a directory: say which backup, `daybook backup list --at {url}` shows them.")
    with _store(told, place) as store, store.read(name) as found:
        yield found


def _store(told: Settings, url: str) -> Store:
    from shared.backup import stores  # noqa: PLC0415

    parts = urlsplit(url)
    match parts.scheme:
        case "file" if not parts.netloc:
            return stores.opened(f"file://{parts.path or '/'}", {}, "", make=False)
        case "s3":
            return _stored(told, url)
        case _:
            raise Fatal(f"{url} is no place of backups: write file:///path or s3://ALIAS/path.")


def _stored(told: Settings, url: str) -> Store:
    from shared.backup import stores  # noqa: PLC0415
    from shared.job_types.catalog import BadSources, catalog_of  # noqa: PLC0415

    try:
        place = catalog_of(told.model_copy(update={"sources": _sources(told)})).place(url)
    except BadSources as error:
        raise Fatal(str(error)) from error
    secrets = secrets_of(told)
    options = {name: secrets.value(option) for name, option in place.storage.options.items()}
    return stores.opened(place.storage.url, options, place.path, make=False)


def _secret(told: Settings, key_file: Path | None) -> bytes | None:
    """The key; None if there is none, which backups that aren't encrypted don't mind."""
    from shared.job_types.backup_task import KEY  # noqa: PLC0415

    return key_of(told, key_file, KEY)


def _sources(told: Settings) -> Path | None:
    """Of DAYBOOK_SOURCES, else what `daybook up` has made in the data directory."""
    made = told.data_dir / "sources.yaml"
    return told.sources or (made if made.is_file() else None)


def _directory(target: str) -> Path:
    parts = urlsplit(target)
    path = Path(unquote(parts.path) if parts.scheme == "file" else target).absolute()
    if not path.parent.is_dir():
        raise Fatal(f"{path.parent} isn't there: make it first.")
    return path


def _summary(manifest: dict[str, Any]) -> dict[str, Any]:
    """What is in it, in a few numbers: tables and segments are counted, not listed."""
    told = dict(manifest)
    if isinstance(tables := told.get("tables"), list):
        told["tables"] = len(tables)
    if isinstance(segments := told.pop("segments", None), list | tuple):
        told["events"] = sum(each["count"] for each in segments)
        told["broken_links"] = sum(each["broken"] for each in segments)
    return told
