"""What our handlers work with beside their run: what the deployment offers, secrets, the mail server, the stores."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import parse_qs, unquote, urlsplit

from services.executor import secrets as secrets_
from services.executor.secrets import Secrets
from shared.job_types.catalog import Catalog
from shared.job_types.secrets import Revealed

if TYPE_CHECKING:
    from services.executor.masking import Mask
    from shared.settings import Settings

_PORTS = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Who takes mail.

    Attributes:
        tls: from the first byte on; else STARTTLS is asked for, as `starttls` says.
        user: "" for no login.
        sender: whom mail is from unless a job says so.
    """

    host: str
    port: int
    tls: bool = False
    starttls: Literal["required", "auto", "off"] = "auto"
    user: str = ""
    password: Revealed = field(default=Revealed(""), repr=False)
    sender: str = "daybook@localhost"

    @classmethod
    def of(cls, url: str, sender: str) -> MailServer:
        """That of DAYBOOK_SMTP_URL, which the settings have checked."""
        parts = urlsplit(url)
        starttls = parse_qs(parts.query).get("starttls", ["auto"])[0]
        return cls(
            host=parts.hostname or "",
            port=parts.port or _PORTS[parts.scheme],
            tls=parts.scheme == "smtps",
            starttls=cast("Literal['required', 'auto', 'off']", starttls),
            user=unquote(parts.username or ""),
            password=Revealed(unquote(parts.password or "")),
            sender=sender,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a handler of ours gets as its second argument; it travels to the processes of the pool.

    Attributes:
        catalog: what the deployment offers.
        secrets: `value(ref)` reveals one, and masks it in what the run says.
        mail: None if DAYBOOK_SMTP_URL isn't set.
        database_url: of Daybook's own archive.
        redis_url: of Daybook's own log.
        secret_key: signs what others must be able to check.
    """

    catalog: Catalog = field(default_factory=Catalog)
    secrets: Secrets = field(default_factory=Secrets)
    mail: MailServer | None = None
    database_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    secret_key: Revealed | None = field(default=None, repr=False)

    def for_run(self, mask: Mask) -> Resources:
        """The same for one run, which says nothing of the deployment's own passwords."""
        for each in (self.database_url, self.redis_url, self.secret_key, self.mail and self.mail.password):
            if each:
                mask.hide(each)
        return replace(self, secrets=self.secrets.told_to(mask))


def of_settings(settings: Settings, catalog: Catalog) -> Resources:
    """Those of an executor."""
    mail, key = settings.smtp_url, settings.secret_key
    return Resources(
        catalog=catalog,
        secrets=secrets_.of_environment(settings.secrets_dir),
        mail=None if mail is None else MailServer.of(mail.get_secret_value(), settings.mail_from),
        database_url=settings.database_url,
        redis_url=settings.redis_url,
        secret_key=None if key is None else Revealed(key.get_secret_value()),
    )
