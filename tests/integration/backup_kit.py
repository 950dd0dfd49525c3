"""What tests of backups begin with: places on disk and on a real S3 server, a key, a run that is called directly."""

import contextlib
import io
import os
import secrets
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import boto3
from moto.server import ThreadedMotoServer

from services.executor.handlers import backup_task
from services.executor.secrets import Secrets
from shared.backup import stores
from shared.backup.container import Writer
from shared.backup.payload import Payload
from shared.job_types.catalog import Storage
from shared.testing import NOON, a_told_run, resources

SECRET = "a key of chance, for tests alone"  # noqa: S105
METHODS = ((False, False), ("zstd", True), ("gzip", True), ("zstd", False), ("none", "aes-256-gcm"))
JOB, RUN = "0193-job", "0193-run"


@contextlib.contextmanager
def a_bucket():
    """The options of a client of an S3 server of its own, with a bucket `bucket`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "endpoint_url": f"http://{host}:{port}",
        "key": "testing",
        "secret": "testing",
        "region": "us-east-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=options["endpoint_url"],
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="bucket")
    try:
        yield SimpleNamespace(options=options, client=client)
    finally:
        server.stop()


class Desk:
    """Where backups of one test go to, and the handler over it.

    Attributes:
        destination: as a job says it.
        root: the only directory that jobs may touch.
    """

    def __init__(self, tmp_path, kind, options=None, **offered):
        self.root = tmp_path / "root"
        self.root.mkdir(exist_ok=True)
        self.secrets = tmp_path / "secrets"
        self.secrets.mkdir(exist_ok=True)
        (self.secrets / "backup_key").write_text(SECRET + "\n")
        self.folder = tmp_path / "folder"
        self.folder.mkdir(exist_ok=True)
        self.prefix = f"t{secrets.token_hex(4)}/db"  # in a bucket that tests share
        aliases = {
            "s3": Storage(name="backups", url=f"s3://bucket/{self.prefix[:-3]}", options=options or {}),
            "alias": Storage(name="backups", url=self.folder.as_uri()),
        }
        storage = {"backups": aliases["s3" if kind == "s3" else "alias"]}
        self.destination = (self.root / "kept").as_uri() if kind == "file" else "s3://backups/db/"
        self.resources = resources(
            files_roots=(self.root,), storage=storage, secrets=Secrets(directory=self.secrets), **offered
        )

    def run(self, run_id=RUN, job_id=JOB, later=0, **data):
        """What the handler answers."""
        given = {name: value for name, value in data.items() if value is not None}
        told = a_told_run("backup_task", **{"destination": self.destination} | given)
        run = replace(told, run_id=run_id, job_id=job_id, scheduled_for=NOON + timedelta(seconds=later))
        return backup_task.handle(run, self.resources)

    def store(self):
        place = self.resources.catalog.place(self.destination)
        options = {key: str(value) for key, value in place.storage.options.items()}
        return stores.opened(place.storage.url, options, place.path, make=False)

    def names(self):
        with self.store() as store:
            return sorted(store.names())

    def bytes(self, name):
        with self.store() as store, store.read(name) as (stored, size):
            return stored.read(size)


def sealed(fill, *, secret=None, compression="none", about=None):
    """A backup's bytes whose payload `fill(payload)` has put members into."""
    buffer = io.BytesIO()
    writer = Writer(buffer.write, compression=compression, secret=secret)
    payload = Payload(writer, {"backup_type": "files", "job_id": JOB, "run_id": RUN} | (about or {}))
    payload.finish(fill(payload) or {})
    writer.finish()
    return buffer.getvalue()


def a_tree(root):
    """A directory with what is hard to carry."""
    root.mkdir(parents=True)
    (root / "plain").write_bytes(b"hello\n" * 1000)
    (root / "empty").write_bytes(b"")
    (root / "random").write_bytes(os.urandom(700_001))
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / ("n" * 200 + " łódź €")).write_text("x")
    os.close(os.open(os.fsencode(root) + b"/not \xff utf-8", os.O_CREAT, 0o600))
    (root / "deep" / "run").write_text("#!/bin/sh\n")
    (root / "deep" / "run").chmod(0o750)
    (root / "inner").symlink_to("deep/er")
    (root / "deep" / "up").symlink_to("../plain")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    os.utime(root / "plain", ns=(1, 1_234_567_890_123_456_789))
    os.utime(root / "inner", ns=(1, 987_654_321_000_000_001), follow_symlinks=False)
    os.utime(root / "deep", ns=(1, 1_111_111_111_222_222_222))
    (root / "deep" / "er").chmod(0o500)
    return root


def facts(root):
    """All that a restored directory must share with what was backed up."""
    found = {}
    for path in sorted(root.rglob("*")):
        told = path.lstat()
        if path.is_fifo():
            continue
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        mode = None if path.is_symlink() else told.st_mode
        time = told.st_mtime_ns if path.is_symlink() or not path.is_dir() else None
        found[os.fsencode(path.relative_to(root))] = (content, mode, time)
    return found
