"""`daybook secrets DIR`: the passwords, the key and the certificate of a deployment, made where there are none yet.

DIR has a directory for each that reads from it, so that each can be given its own and no other (deploy/compose.yaml):

daybook/    secret_key, redis_url, database_url
redis/      password, users.conf
postgres/   superuser_password, daybook_password, exporter_password
exporters/  redis_password, redis.json, postgres_password
grafana/    admin_password
tls/        tls.crt, tls.key

A file that is there is kept, so one's own can be put there first. What is made of passwords (addresses, Redis' users)
follows them at each start.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PASSWORDS = (
    "daybook/secret_key",
    "redis/password",
    "postgres/superuser_password",
    "postgres/daybook_password",
    "postgres/exporter_password",
    "exporters/redis_password",
    "grafana/admin_password",
)
CERTIFICATE, KEY = "tls/tls.crt", "tls/tls.key"
BYTES = 32
# The directories are the walls: in a container of its own each reader is another user, of whom nobody here knows.
READABLE = 0o444
LOOKS = "-@all +ping +info +config|get +client|setname +slowlog|get +slowlog|len +latency|latest +latency|histogram"
"""What redis_exporter asks, and no more: it reads no key."""


@click.command("secrets")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--host", "hosts", multiple=True, help="Whom the certificate is for, beside localhost.")
def make_secrets(directory: Path, hosts: Sequence[str]) -> None:
    """Make what a deployment needs of passwords, keys and certificates in DIRECTORY.

    What is there already is kept: put your own files there first, to have them used. Nothing is shown but names.
    """
    try:
        for name in made(directory, hosts=["localhost", *hosts]):
            click.echo(f"made {name}")
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error


def made(directory: Path, *, hosts: Sequence[str]) -> Iterator[str]:
    """Make what is missing, and yield its names.

    Args:
        directory: made, for its owner only, if it isn't there.
        hosts: names and addresses, for the certificate.

    Raises:
        ClickException: a file that was given is empty, or is half of a pair.
        OSError: a file can't be read or written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    passwords = {}
    for name in PASSWORDS:
        if not (directory / name).exists():
            _write(directory / name, secrets.token_urlsafe(BYTES))
            yield name
        passwords[name] = _read(directory / name)
    for name, text in _derived(passwords).items():
        if not (directory / name).exists() or (directory / name).read_text() != text:
            _write(directory / name, text)
            yield name
    yield from _tls(directory, hosts)


def _derived(passwords: Mapping[str, str]) -> dict[str, str]:
    """What is made of the passwords, by its name: for the services `redis` and `postgres` of deploy/compose.yaml."""
    redis, exporter = passwords["redis/password"], passwords["exporters/redis_password"]
    archive = passwords["postgres/daybook_password"]
    addresses = ("redis://redis:6379", "redis://exporter@redis:6379")  # the exporter looks for the latter
    return {
        "daybook/redis_url": f"redis://:{quote(redis, safe='')}@redis:6379/0\n",
        "daybook/database_url": f"postgresql://daybook:{quote(archive, safe='')}@postgres:5432/daybook\n",
        "redis/users.conf": f"user default on #{_digest(redis)} ~* &* +@all\n"
        f"user exporter on #{_digest(exporter)} {LOOKS}\n",
        "exporters/redis.json": json.dumps(dict.fromkeys(addresses, exporter)) + "\n",
        "exporters/postgres_password": passwords["postgres/exporter_password"],
    }


def _tls(directory: Path, hosts: Sequence[str]) -> Iterator[str]:
    """Have a certificate and its key: both as given, or both self-made."""
    certificate, key = directory / CERTIFICATE, directory / KEY
    if certificate.exists() != key.exists():
        raise click.ClickException(
            f"{directory} has only one of {CERTIFICATE} and {KEY}: give both, or none."
        )
    if certificate.exists():
        return
    from services.cli.self_signed import self_signed  # noqa: PLC0415 - loads cryptography

    pem, key_pem = self_signed(hosts)
    _write(key, key_pem)
    _write(certificate, pem)
    yield from (CERTIFICATE, KEY)


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _read(file: Path) -> str:
    text = file.read_text().rstrip("\r\n")
    if not text:
        raise click.ClickException(f"{file} is empty: remove it to have one made, or give it a value.")
    return text


def _write(file: Path, text: str) -> None:
    """Have `text` in `file`, whole or not at all: a crash must not leave half a password."""
    file.parent.mkdir(exist_ok=True)
    draft = file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)
    draft.write_text(text)
    draft.chmod(READABLE)
    draft.replace(file)
