"""`daybook audit key | sign | check`: checkpoints of all chain heads that others can check years later."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from services.cli.database import archived_in
from services.cli.key_files import key_of
from services.cli.operating import finished, settings_of
from shared.clock import SystemClock
from shared.eventlog.envelope import rfc3339
from shared.faults import Fatal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from shared.readmodel.cold.proving import Proof
    from shared.readmodel.signing import Checkpoint
    from shared.settings import Settings

SECRET = "audit_key"  # noqa: S105 - its name
STATEMENT_TIMEOUT_S = 3600  # the archive is read whole
_data_dir = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Of a running `up` (DAYBOOK_DATA_DIR)."
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def key(*, file: Path) -> None:
    """Make a key that signs: FILE, which nobody else may read, and FILE.pub, for those who check.

    \b
    daybook audit key /etc/daybook/secrets/audit_key
    """  # noqa: D301 - click's mark
    from shared.readmodel.signing import new_key  # noqa: PLC0415

    private, public = new_key()
    try:
        for path, data, mode in ((file, private, 0o600), (file.with_name(f"{file.name}.pub"), public, 0o644)):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
                opened.write(data)
            click.echo(f"made {path}")
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error


@click.command()
@click.option("--to", "target", type=click.Path(path_type=Path, dir_okay=False), help="A file; else stdout.")
@click.option(
    "--key-file", type=click.Path(path_type=Path), help=f"The key that signs; else the secret `{SECRET}`."
)
@_data_dir
def sign(*, target: Path | None, key_file: Path | None, **options: Any) -> None:
    """Sign where the chain of each partition stands now: a small JSON document, to be kept by somebody else.

    \b
    daybook audit sign --key-file audit_key --to checkpoint.json
    """  # noqa: D301 - click's mark
    told = settings_of(options, "audit")

    async def make() -> int:
        from shared.job_types.secrets import SecretRef  # noqa: PLC0415
        from shared.readmodel import signing  # noqa: PLC0415
        from shared.readmodel.cold.heads import heads  # noqa: PLC0415

        pem = key_of(told, key_file, SecretRef.model_validate({"$secret": SECRET}))
        if pem is None:
            raise Fatal(f"There is no key: name one by --key-file, or make the secret `{SECRET}` of it.")
        private = signing.private_key(pem)
        async with (
            archived_in(told, statement_timeout_s=STATEMENT_TIMEOUT_S) as pool,
            pool.acquire() as connection,
        ):
            deployment, found = await heads(connection)
        checkpoint = signing.signed(
            found,
            deployment=deployment.prefix,
            partitions=deployment.partitions,
            signed_at=rfc3339(SystemClock().now()),
            key=private,
        )
        _say(json.dumps(signing.document(checkpoint), indent=2), target)
        return 0

    _do(make)


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--public-key", type=click.Path(path_type=Path), required=True, help="Whose signature it is.")
@click.option(
    "--against",
    metavar="PATH|database",
    help="A cold copy, or `database` (DAYBOOK_DATABASE_URL), or postgresql://…",
)
@_data_dir
def check(*, checkpoint: Path, public_key: Path, against: str | None, **options: Any) -> None:
    """Check a signed checkpoint with the public key alone; and that an archive, or a copy, still leads through it.

    Every link is followed, also after the checkpoint. What was changed is named; the status is 1 then.

    \b
    daybook audit check checkpoint.json --public-key audit_key.pub
    daybook audit check checkpoint.json --public-key audit_key.pub --against /srv/cold
    daybook audit check checkpoint.json --public-key audit_key.pub --against database
    """  # noqa: D301 - click's mark
    told = settings_of(options, "audit")

    async def look() -> int:
        from shared.readmodel import signing  # noqa: PLC0415

        signed = signing.checked(_content(checkpoint), signing.public_key(_content(public_key)))
        click.echo(
            f"signed at {signed.signed_at} for {signed.deployment}, {len(signed.heads)} heads: the signature holds"
        )
        if against is None:
            return 0
        proof = await _proof(told, signed, against)
        for each in proof.wrong:
            click.echo(f"WRONG {each}")
        held = (
            f"{len(proof.wrong)} findings"
            if proof.wrong
            else "they lead through the heads, and all links hold"
        )
        click.echo(f"{proof.events} events of {against.rpartition('@')[2]}: {held}")
        return 1 if proof.wrong else 0

    _do(look)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}.") from error


def _say(text: str, target: Path | None) -> None:
    if target is None:
        click.echo(text)
    else:
        target.write_text(f"{text}\n")


async def _proof(told: Settings, signed: Checkpoint, against: str) -> Proof:
    from shared.readmodel.cold.directory import Directory  # noqa: PLC0415
    from shared.readmodel.cold.heads import against_archive, against_copy  # noqa: PLC0415

    is_url = urlsplit(against).scheme in {"postgresql", "postgres"}
    if against != "database" and not is_url:
        return against_copy(Directory.read(Path(against)), signed.deployment, signed.heads)
    async with (
        archived_in(told, url=against if is_url else None, statement_timeout_s=STATEMENT_TIMEOUT_S) as pool,
        pool.acquire() as connection,
    ):
        return await against_archive(connection, signed.deployment, signed.heads)


def _do(command: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Run a command to its end; what is wrong with a checkpoint, a key, a copy is said in a sentence."""

    async def done() -> int:
        from shared.readmodel.cold.manifest import BadSegment  # noqa: PLC0415
        from shared.readmodel.signing import BadCheckpoint  # noqa: PLC0415

        try:
            return await command()
        except BadCheckpoint as error:
            raise Fatal(str(error)) from error
        except BadSegment as error:
            raise Fatal(f"{error}.") from error

    sys.exit(finished(done))
