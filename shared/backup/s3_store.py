"""Backups in a bucket, by s3fs. An upload becomes an object when it is completed, at once; drafts need no other name.

What a killed writer has left is an upload that was never completed: nobody sees it, but it is kept, and paid for.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shared.backup.names import parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

    from shared.backup.names import Name

PART_BYTES = 32 * 1024 * 1024  # of an upload, which has 10,000 parts at most: 312 GB
READ_BYTES = 8 * 1024 * 1024
FORSAKEN = timedelta(days=1)  # after so long an upload of another run of the job is nobody's any more
_CLIENT = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 5, "mode": "standard"}}


class S3Store:
    """See `stores.Store`.

    Args:
        bucket: its name.
        prefix: what the keys begin with, without slashes at its ends.
        options: endpoint_url, key, secret, region; without a key, what the environment gives.
    """

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, str]) -> None:
        import s3fs  # noqa: PLC0415 - an extra

        # s3fs keeps a client for what its options look like: a secret that shows as *** would be taken for any other.
        options = {name: str(value) for name, value in options.items()}
        client = {"endpoint_url": options.get("endpoint_url"), "region_name": options.get("region")}
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._fs = s3fs.S3FileSystem(
            key=options.get("key"),
            secret=options.get("secret"),
            client_kwargs={name: value for name, value in client.items() if value},
            config_kwargs=_CLIENT,
            use_listings_cache=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it: s3fs keeps a client for each set of options, and making one takes a second."""

    def names(self) -> list[str]:
        """Objects that are there, without those below further slashes."""
        folder = f"{self._bucket}/{self._prefix}"
        try:
            found = self._fs.ls(folder.rstrip("/"), detail=True, refresh=True)
        except FileNotFoundError:
            return []
        paths = [each["name"] for each in found if each["type"] == "file"]
        return [path.removeprefix(folder) for path in paths if path.startswith(folder)]

    def size(self, name: str) -> int | None:
        """Bytes of that object; None if there is none."""
        try:
            return int(self._fs.info(self._path(name), refresh=True)["size"])
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def read(self, name: str) -> Iterator[tuple[Any, int]]:
        """That object and its length."""
        self._fs.invalidate_cache()
        with self._fs.open(self._path(name), "rb", block_size=READ_BYTES, cache_type="readahead") as file:
            yield file, file.size

    @contextlib.contextmanager
    def draft(self, name: Name) -> Iterator[_Draft]:
        """A draft of that object."""
        file = self._fs.open(self._path(str(name)), "wb", block_size=PART_BYTES)
        draft = _Draft(self, file, str(name))
        try:
            yield draft
        finally:
            draft.end()

    def delete(self, name: str) -> None:
        """Delete that object, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def sweep(self, name: Name) -> list[str]:
        """Abort uploads of this run, and those of the job's other runs that are FORSAKEN."""
        found = self._fs.call_s3("list_multipart_uploads", Bucket=self._bucket, Prefix=self._prefix)
        left = [each for each in found.get("Uploads", ()) if self._is_left(each, name)]
        for each in left:
            self._fs.call_s3(
                "abort_multipart_upload", Bucket=self._bucket, Key=each["Key"], UploadId=each["UploadId"]
            )
        return [each["Key"].removeprefix(self._prefix) for each in left]

    def _is_left(self, upload: dict[str, Any], name: Name) -> bool:
        made = parsed(upload["Key"].removeprefix(self._prefix))
        if made is None or made.job_id != name.job_id:
            return False
        return made == name or name.at - upload["Initiated"] > FORSAKEN

    def _path(self, name: str) -> str:
        return f"{self._bucket}/{self._prefix}{name}"


class _Draft:
    """An upload. It is completed before it can be read back, as nobody reads an upload; what then isn't right goes."""

    def __init__(self, store: S3Store, file: Any, name: str) -> None:
        self._store = store
        self._file = file
        self._name = name
        self._published = False

    def write(self, data: bytes, /) -> object:
        return self._file.write(data)

    @contextlib.contextmanager
    def stored(self) -> Iterator[tuple[Any, int]]:
        self._file.close()
        with self._store.read(self._name) as stored:
            yield stored

    def publish(self) -> None:
        self._published = True

    def end(self) -> None:
        """Leave nothing of what was not published."""
        if self._published:
            return
        if self._file.closed:
            self._store.delete(self._name)
        else:
            self._file.discard()
            self._file.closed = True
