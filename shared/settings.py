"""What a process can be told from outside: one frozen value, parsed at the door from the environment.

Lists are comma separated. An empty variable counts as not set. A setting that is wrong, unknown, or part of
something that isn't built yet stops the start with a sentence: a typo must not quietly mean the default.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from shared import environment
from shared.environment import PREFIX
from shared.logs import MASK, masked
from shared.rate import Rate
from shared.redis_url import is_cluster, seeds
from shared.setting_types import (
    RATE_RIGHT,
    MailFrom,
    Networks,
    Origins,
    RateText,
    SmtpUrl,
    TypeRates,
    comma_separated,
)

ALIASES = frozenset(
    {"database_url", "redis_url", "secret_key", "log_level", "jobs_per_page", "max_jobs_per_user"}
)
"""Settings that are also read without `DAYBOOK_`, as many platforms set them."""

NO_PRODUCTION = (
    "DAYBOOK_ENV=production is refused with DAYBOOK_AUTH=off: everyone would be an admin. Set DAYBOOK_AUTH=on, "
    "and make the first key with `daybook keys create`."
)
SHORT_KEY = (
    "DAYBOOK_SECRET_KEY is refused with DAYBOOK_AUTH=on: it must have at least 32 characters, or whoever has seen a "
    "token can find it by trying."
)
SECRET_MIN = 32
CLUSTER_PARTITIONS = 64  # as many as there can be: a Cluster may grow, and the number can't

Source = Literal["default", "environment", "file", "alias", "argument"]


class BadSettings(ValueError):  # noqa: N818 - it is read aloud: "raise BadSettings"
    """Some settings are wrong: which, what was given (secrets masked) and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One line of `daybook config`: a variable's name, its value as text (secrets masked), whence."""

    name: str
    value: str
    source: Source
    meaning: str


def _setting(default: object, meaning: str, right: str, **bounds: Any) -> Any:
    """Declare a field; `right` completes "it must be …"."""
    return Field(default, description=meaning, json_schema_extra={"right": right}, **bounds)


def _whole(default: int, meaning: str, least: int, most: int) -> Any:
    return _setting(default, meaning, f"a whole number from {least} to {most}", ge=least, le=most)


def _seconds(default: float, meaning: str, least: float, most: float) -> Any:
    right = f"a number of seconds from {least:g} to {most:g}"
    return _setting(default, meaning, right, ge=least, le=most, allow_inf_nan=False)


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _of_scheme(url: str, *schemes: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not (parts.netloc or parts.path):
        raise ValueError("no such address")  # without its text, which may hold a password
    return parts


def _postgres_url(url: str) -> str:
    parts = _of_scheme(url, "postgresql", "postgres")
    if "," not in parts.netloc:  # it may be given several hosts
        _ = parts.port  # raises ValueError where it is no number
    return url


def _redis_url(url: str) -> str:
    if is_cluster(url):
        seeds(url)
    else:
        _ = _of_scheme(url, "redis", "rediss", "unix").port  # likewise
    return url


def _key_set(source: str) -> str:
    parts = urlsplit(source)
    if parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}:
        return source
    if parts.scheme == "https" and parts.hostname:
        return source
    if "://" in source:
        raise ValueError("whoever stands between could put keys of their own")
    return source


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("not absolute")
    return path


Names = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")], ...], BeforeValidator(comma_separated)
]
Roots = Annotated[tuple[Annotated[Path, AfterValidator(_absolute)], ...], BeforeValidator(comma_separated)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Modules = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", max_length=200)], ...],
    BeforeValidator(comma_separated),
]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]
KeySet = Annotated[str, AfterValidator(_key_set)]
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)]


class Settings(BaseSettings):
    """All settings; `load` makes them. An argument wins over `DAYBOOK_X` (or its file), and that over the alias `X`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        enable_decoding=False,  # lists are comma separated, not JSON
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    env: Literal["development", "production"] = _setting(
        "development", "what the system is for", "development or production"
    )
    auth: Literal["off", "on"] = _setting(
        "off", "whether requests must say who sends them; off: everyone is an admin", "off or on"
    )
    metrics_open: Literal["off", "on"] = _setting(
        "off", "whether the API's /metrics can be read without a key where auth is on", "off or on"
    )
    jwks: KeySet | None = _setting(
        None,
        "the public keys that tokens are signed with (RS256, ES256)",
        "the path of a file, https://host/path, or http:// on this machine",
    )
    jwt_issuer: str = _setting(
        "daybook",
        "who must have issued a token (iss)",
        "a text of 1 to 200 characters",
        min_length=1,
        max_length=200,
    )
    jwt_audience: str = _setting(
        "daybook",
        "for whom a token must be (aud)",
        "a text of 1 to 200 characters",
        min_length=1,
        max_length=200,
    )
    redis_url: RedisUrl | None = _setting(
        None,
        "the Redis or Valkey server, or Cluster, that keeps the log; started by `daybook up` if not set",
        "redis://host:6379/0, rediss://host:6379/0, unix:///path, or redis+cluster://host:7001,host:7002 (also "
        "rediss+cluster://)",
    )
    database_url: PostgresUrl | None = _setting(
        None,
        "the Postgres database that keeps the archive; started by `daybook up` if not set",
        "postgresql://user:password@host:5432/database",
    )
    database_read_url: PostgresUrl | None = _setting(
        None,
        "a streaming replica of that database, for lists of jobs and executions; the database itself if not set",
        "postgresql://user:password@host:5432/database",
    )
    prefix: str = _setting(
        "daybook",
        "what every Redis key begins with, so that systems can share a server",
        "1 to 40 letters, digits, dots, dashes or underscores",
        pattern=r"^[A-Za-z0-9_.-]{1,40}$",
    )
    partitions: int = _whole(
        4, "into how many parts the log is cut; fixed at the first start; 64 on a Cluster if not set", 1, 64
    )
    data_dir: Path = _setting(
        Path(".daybook"), "where `daybook up` keeps data, secret and endpoints", "a path"
    )
    host: str = _setting(
        "127.0.0.1", "the interface the API listens on", "an address or a name", min_length=1
    )
    port: int = _whole(8080, "the API's port; 0 for a free one", 0, 65535)
    ops_port: int = _whole(
        0, "the port of /metrics, /livez and /readyz of the other services; 0 for a free one", 0, 65535
    )
    executors: int = _whole(1, "how many executors `daybook up` starts", 1, 64)
    apis: int = _whole(1, "how many API processes `daybook up` starts", 1, 64)
    log_level: Level = _setting(
        "INFO", "the least important lines that are logged", "DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )
    log_format: Literal["auto", "json", "console"] = _setting(
        "auto", "how lines are logged; auto means console on a terminal, else JSON", "auto, json or console"
    )
    tracing: Literal["off", "otlp"] = _setting(
        "off",
        "whether traces are made and sent, by OpenTelemetry's protocol to where OTEL_EXPORTER_OTLP_ENDPOINT says",
        "off or otlp",
    )
    jobs_per_page: int = _whole(20, "how many items a page of a list has unless asked", 1, 200)
    max_jobs_per_user: int = _whole(
        100, "how many jobs a named user may have, where auth is on", 1, 1_000_000
    )
    streams_max: int = _whole(500, "how many streams of events an API process serves at a time", 1, 100_000)
    streams_per_principal: int = _whole(
        20, "how many of them a named principal may have, where auth is on", 1, 100_000
    )
    secret_key: SecretStr | None = _setting(
        None, "signs what clients are given; made once in the data dir if not set", "a long random text"
    )
    concurrency: int = _whole(100, "how many runs an executor has at a time", 1, 10_000)
    queues: Names = _setting(
        ("default",),
        "which queues an executor serves, comma separated",
        "names of letters, digits, dots, dashes or underscores, separated by commas",
        min_length=1,
    )
    type_rates: TypeRates = _setting(
        (),
        "how often runs of a job type may start, over all executors, comma separated; as often as they can if not set",
        "job types with so many starts a second, minute or hour: http_request=10/s,email_notification=100/m",
    )
    lease_seconds: float = _seconds(15, "how long a run stays its worker's without a sign of life", 1, 3600)
    wait_seconds: float = _seconds(
        1, "how long a write waits for the archive before it is answered with 202", 0, 60
    )
    rate_limit: RateText = _setting(
        Rate(100, 1),
        "how many requests somebody may send, whichever key they use, where auth is on",
        RATE_RIGHT,
    )
    rate_limit_per_address: RateText = _setting(
        Rate(1000, 1),
        "how many requests may come from one address (IPv6: one /64), where auth is on",
        RATE_RIGHT,
    )
    trusted_proxies: Networks = _setting(
        (),
        "whose X-Forwarded-For and X-Forwarded-Proto are believed, comma separated; nobody's if not set",
        "networks or addresses of your own proxies (10.0.0.0/8, ::1), not everybody",
    )
    cors_origins: Origins = _setting(
        (),
        "which web pages may call the API from a browser, comma separated; none if not set",
        "origins as browsers send them: https://app.example.com, http://localhost:3000",
    )
    head_seconds: float = _seconds(
        10,  # many clients drop an idle connection after 5 s: who does it at the same instant resets a request
        "how long a client may take to send the head of a request, and may be idle before it",
        0.1,
        3600,
    )
    body_seconds: float = _seconds(30, "how long a client may take to send a body", 0.1, 3600)
    backlog_max: int = _whole(
        1_000_000, "how many events may wait for the archive before new work is refused", 1, 1_000_000_000
    )
    memory_max_percent: int = _whole(
        90, "how much of Redis' maxmemory may be used before new work is refused", 1, 100
    )
    require_if_match: bool = _setting(
        False,
        "whether edits of a job must say by If-Match which revision they were made up from",
        "true or false",
    )
    drain_seconds: float = _seconds(
        30, "how long a stopping service may take to finish what it has begun", 0, 3600
    )
    files_roots: Roots = _setting(
        (),
        "the only directories in which jobs may touch files, comma separated; none if not set",
        "absolute paths separated by commas",
    )

    sources: AbsolutePath | None = _setting(
        None,
        "the YAML file that names the data sources and the storage jobs may use; none if not set",
        "an absolute path",
    )
    secrets_dir: AbsolutePath | None = _setting(
        None,
        "where the secrets that jobs name are, a file each; DAYBOOK_SECRET__NAME is looked at after it",
        "an absolute path",
    )
    templates_dir: AbsolutePath | None = _setting(
        None, "your own templates of mails and reports, by name", "an absolute path"
    )
    allow_sql: bool = _setting(False, "whether jobs may bring SQL of their own", "true or false")
    http_networks: Networks = _setting(
        (),
        "private networks that http_request may reach, comma separated; none if not set",
        "networks or addresses of your own (10.0.0.0/8, ::1), not everybody's",
    )
    http_ca_file: AbsolutePath | None = _setting(
        None,
        "certificates (PEM) that http_request trusts beside the public ones; it has no way to trust without",
        "an absolute path",
    )
    smtp_url: SmtpUrl | None = _setting(
        None,
        "the server that takes mail",
        "smtp://user:password@host:587 or smtps://host:465; with ?starttls=required, auto or off, and "
        "?ca_file=/path/of/authorities.pem, if they must be said",
    )
    mail_from: MailFrom = _setting(
        "Daybook <daybook@localhost>",
        "whom mail is from; of several, separated by commas, jobs may choose, and the first is for all others",
        "an address such as jobs@example.com or Reports <reports@example.com>, or several",
    )
    mail_dir: Path | None = _setting(
        None, "where `daybook up` keeps the mail that it catches; <data-dir>/mail if not set", "a path"
    )
    handlers: Modules = _setting(
        (),
        "modules whose handlers are job types as well, comma separated",
        "names of modules, as Python imports them, separated by commas",
    )

    _arguments: frozenset[str] = PrivateAttr(default=frozenset())

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._arguments = frozenset(arguments)

    def source_of(self, field: str) -> Source:
        """Tell where the value of `field` is from."""
        return _source(field, self._arguments)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then `DAYBOOK_…`, then the files of what may hold a password, then plain names."""
        return init_settings, env_settings, _Files(settings_cls), _PlainNames(settings_cls, env_prefix="")


class _Files(PydanticBaseSettingsSource):
    """What stands in the files that `DAYBOOK_…_FILE` name; `load` says which of them can't be had."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - as above
        return environment.in_file(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: environment.in_file(name) for name in environment.IN_FILES}
        return {name: value for name, value in found.items() if value is not None}


class _PlainNames(EnvSettingsSource):
    """`DATABASE_URL` and its like: only the aliases, as `PORT` or `HOST` may well be somebody else's."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field_name not in ALIASES:
            return None, field_name, False
        return super().get_field_value(field, field_name)


def load(**overrides: Any) -> Settings:
    """Read the settings of this process.

    Args:
        overrides: values by field name that win over the environment (options of the command line); None
            means not given.

    Raises:
        BadSettings: with one sentence, on a line of its own, for each thing that is wrong.
    """
    arguments = {name: value for name, value in overrides.items() if value is not None}
    refusals = [*environment.strangers(Settings.model_fields), *environment.bad_files()]
    try:
        settings = Settings(**arguments)
    except ValidationError as error:
        wrong = dict.fromkeys(str(each["loc"][0]) for each in error.errors())
        refusals += [_refusal(name, arguments) for name in wrong]
        raise BadSettings("\n".join(refusals)) from None  # the cause shows what the sentences mask
    if settings.env == "production" and settings.auth == "off":
        refusals.append(NO_PRODUCTION)
    if is_cluster(settings.redis_url) and settings.source_of("partitions") == "default":
        settings = settings.model_copy(update={"partitions": CLUSTER_PARTITIONS})
    secret = settings.secret_key
    if settings.auth == "on" and secret is not None and len(secret.get_secret_value()) < SECRET_MIN:
        refusals.append(SHORT_KEY)
    if refusals:
        raise BadSettings("\n".join(refusals))
    return settings


def describe(settings: Settings) -> list[Described]:
    """Return what `daybook config` prints, in the order of declaration."""
    return [
        Described(
            name=PREFIX + name.upper(),
            value=_shown(name, getattr(settings, name)),
            source=settings.source_of(name),
            meaning=field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _source(name: str, arguments: Collection[str]) -> Source:
    if name in arguments:
        return "argument"
    if environment.lookup(PREFIX + name) is not None:
        return "environment"
    if environment.in_file(name) is not None:
        return "file"
    return "alias" if name in ALIASES and environment.lookup(name) is not None else "default"


def _refusal(name: str, arguments: Mapping[str, Any]) -> str:
    field = Settings.model_fields.get(name)
    if field is None:
        return f"{name} is not a setting."
    said, value = _said(name, arguments)
    extra = field.json_schema_extra
    right = extra["right"] if isinstance(extra, dict) else ""
    return f"{said}={_shown(name, value)} is refused: it must be {right} ({field.description})."


def _said(name: str, arguments: Mapping[str, Any]) -> tuple[str, Any]:
    """Return what the user called the setting, and the value they gave it."""
    match _source(name, arguments):
        case "argument":
            return name, arguments[name]
        case "environment":
            return PREFIX + name.upper(), environment.lookup(PREFIX + name)
        case "file":
            return f"{PREFIX}{name.upper()} (in {environment.file_of(name)})", environment.in_file(name)
        case _:
            return name.upper(), environment.lookup(name)


def _shown(name: str, value: object) -> str:
    match value:
        case None:
            return ""
        case tuple() | list():
            return ",".join(
                "=".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value
            )
        case SecretStr() if name != "secret_key":
            return _address_shown(name, value.get_secret_value())
        case _:
            return MASK if name == "secret_key" else _address_shown(name, str(value))


def _address_shown(name: str, text: str) -> str:
    # Somebody who forgot the scheme may not have forgotten the password.
    if name.endswith("_url") and "://" not in text and "@" in text:
        return f"{MASK}@{text.rpartition('@')[2]}"
    return masked(text)
