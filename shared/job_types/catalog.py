"""What this deployment offers to jobs: directories, data sources, storage, templates.

The API checks jobs against it when they are made, the executor works by it.

Sources and storage are the operator's, in the YAML file that DAYBOOK_SOURCES names:

```yaml
sources:
  sales: {kind: csv, path: /srv/data/sales.csv}            # csv, parquet or json: a file
  shop: {kind: postgres, url: {$secret: SHOP_URL}}         # or a URL as it stands
storage:
  backups: {url: "s3://bucket/prefix", options: {region: eu-central-1, key: {$secret: S3_KEY}, secret: {$secret: S3}}}
  archive: {url: "file:///srv/archive"}
```
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import unquote, urlsplit

from shared.job_types.job_type import inside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.job_types.secrets import SecretRef

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Kind = Literal["csv", "parquet", "json", "postgres"]


class Unknown(LookupError):  # noqa: N818 - a finding about a job's data
    """What a job names isn't offered here; the message is a sentence that lists what is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A configured data source.

    Attributes:
        path: of a file's kinds, absolute.
        url: of the kind postgres; `resources.secrets.value` takes both forms.
    """

    name: str
    kind: Kind
    path: Path | None = None
    url: str | SecretRef | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """What `s3://NAME/…` means here.

    Attributes:
        url: `file:///absolute/directory` or `s3://bucket/prefix`.
        options: of the S3 client: endpoint_url, key, secret, region.
    """

    name: str
    url: str
    options: Mapping[str, str | SecretRef] = field(default_factory=dict, repr=False)

    @property
    def directory(self) -> Path | None:
        """The directory, of a `file:` one."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Somewhere in a storage.

    Attributes:
        path: below it, in parts separated by `/`, none of them `..`; "" is the storage itself.
    """

    storage: Storage
    path: str

    @property
    def url(self) -> str:
        """As the storage's server would call it."""
        return f"{self.storage.url.rstrip('/')}/{self.path}".rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What is offered.

    Attributes:
        files_roots: the only directories in which jobs may touch files.
        sources: by name.
        storage: by name.
        templates: the operator's, by name below this directory.
        allow_sql: jobs may bring SQL of their own.
        http_networks: private networks that http_request may reach.
    """

    files_roots: tuple[Path, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    storage: Mapping[str, Storage] = field(default_factory=dict)
    templates: Path | None = None
    allow_sql: bool = False
    http_networks: tuple[Network, ...] = ()

    @property
    def roots(self) -> str:
        """The files roots, for a sentence."""
        return ", ".join(map(str, self.files_roots)) or "none; the operator sets DAYBOOK_FILES_ROOTS"

    def source(self, name: str) -> Source:
        """The source of that name.

        Raises:
            Unknown: there is none.
        """
        if name not in self.sources:
            raise Unknown(f"{name[:80]!r} is no data source here; {_there(self.sources, 'sources')}")
        return self.sources[name]

    def place(self, url: str) -> Place:
        """What a job's `s3://ALIAS/path` or `file:///path` means here.

        Raises:
            Unknown: it means nothing here.
        """
        parts = urlsplit(url)
        if parts.query or parts.fragment or "%" in url or "\\" in url or "\0" in url:
            raise Unknown("write the path plainly, without ?, #, % and backslashes")
        match parts.scheme:
            case "s3":
                return self._stored(parts.netloc, parts.path.lstrip("/"))
            case "file" if not parts.netloc:
                return self._filed(Path(parts.path))
            case _:
                raise Unknown("write s3://ALIAS/path, or file:///path inside the directories jobs may touch")

    def _stored(self, name: str, path: str) -> Place:
        if name not in self.storage:
            raise Unknown(f"s3://{name[:80]} is no storage here; {_there(self.storage, 'storage')}")
        return Place(storage=self.storage[name], path=_plain(path))

    def _filed(self, path: Path) -> Place:
        root = inside(path, self.files_roots)
        if root is None:
            raise Unknown(f"{path} lies outside the directories jobs may touch ({self.roots})")
        storage = Storage(name="file", url=root.as_uri())
        return Place(storage=storage, path=_plain(path.relative_to(root).as_posix()))


class Told(Protocol):
    """The settings that make a catalog."""

    @property
    def files_roots(self) -> tuple[Path, ...]: ...  # noqa: D102 - see `shared.settings`
    @property
    def sources(self) -> Path | None: ...  # noqa: D102
    @property
    def templates_dir(self) -> Path | None: ...  # noqa: D102
    @property
    def allow_sql(self) -> bool: ...  # noqa: D102
    @property
    def http_networks(self) -> tuple[Network, ...]: ...  # noqa: D102


def catalog_of(settings: Told) -> Catalog:
    """What the settings offer; reads the file of sources, if they name one.

    Raises:
        BadSources: it can't be read, or something in it is wrong.
    """
    from shared.job_types import sources_file  # noqa: PLC0415 - it makes values of this module

    found = sources_file.read(settings.sources) if settings.sources is not None else sources_file.Found()
    return Catalog(
        files_roots=settings.files_roots,
        sources=found.sources,
        storage=found.storage,
        templates=settings.templates_dir,
        allow_sql=settings.allow_sql,
        http_networks=settings.http_networks,
    )


def _plain(path: str) -> str:
    parts = PurePosixPath(path).parts
    if ".." in parts or path.startswith("/"):
        raise Unknown("write the path without '..'")
    return "/".join(parts)


def _there(names: Mapping[str, object], what: str) -> str:
    if not names:
        return f"there are none: the operator names {what} in the file of DAYBOOK_SOURCES"
    return f"there are {', '.join(sorted(names))}"
