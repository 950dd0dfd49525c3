"""The mail server of a deployment: what DAYBOOK_SMTP_URL and DAYBOOK_MAIL_FROM mean.

```
smtp://user:password@mail.example.com:587            STARTTLS, as there is a password to protect
smtp://relay.internal:25                             STARTTLS if it is offered
smtp://relay.internal:25?starttls=off                never
smtps://user:password@mail.example.com:465           TLS from the first byte
smtps://mail.internal?ca_file=/etc/ssl/internal.pem  trusts these authorities instead of the system's
```
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from shared.job_types.mailboxes import Mailbox, mailbox

Security = Literal["tls", "required", "auto", "off"]
PORTS: dict[Security, int] = {"tls": 465, "required": 587, "auto": 25, "off": 25}
NOBODY = "Daybook <daybook@localhost>"


class BadMailSettings(ValueError):  # noqa: N818 - read aloud
    """DAYBOOK_SMTP_URL or DAYBOOK_MAIL_FROM can't be used; the message says why, and has no password in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mail is handed in, and as whose.

    Attributes:
        security: `tls` from the first byte; STARTTLS `required`, used if offered (`auto`), or `off`.
        username: "" logs in nowhere. Nobody logs in without encryption, unless it is `off`.
        ca_file: authorities to trust instead of the system's.
        senders: the first is the sender of all mail that names none; jobs may name the others.
    """

    host: str
    port: int
    security: Security = "auto"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    senders: tuple[Mailbox, ...] = (mailbox(NOBODY),)

    @property
    def sender(self) -> Mailbox:
        """Whose mail it is unless said otherwise."""
        return self.senders[0]

    def allows(self, sender: Mailbox) -> bool:
        """Whether jobs may send as `sender`: under any name, but only from an address of the operator's."""
        return any(each.address == sender.address for each in self.senders)


def mail_server(url: str, mail_from: str | None = None) -> MailServer:
    """What the settings mean.

    Args:
        url: as above.
        mail_from: one mailbox or several, separated by commas; None: NOBODY.

    Raises:
        BadMailSettings: they mean nothing.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise BadMailSettings("DAYBOOK_SMTP_URL: its port is no number from 0 to 65535") from None
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.path not in {"", "/"}:
        raise BadMailSettings("DAYBOOK_SMTP_URL must be smtp://host:port or smtps://host:port")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    security = _security(parts.scheme, options.pop("starttls", None), has_user=bool(parts.username))
    ca_file = options.pop("ca_file", None)
    if options:
        raise BadMailSettings(f"DAYBOOK_SMTP_URL has no option {', '.join(sorted(options))}")
    return MailServer(
        host=parts.hostname,
        port=port or PORTS[security],
        security=security,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        ca_file=None if ca_file is None else Path(ca_file),
        senders=_senders(mail_from or NOBODY),
    )


def _security(scheme: str, starttls: str | None, *, has_user: bool) -> Security:
    if scheme == "smtps":
        if starttls is not None:
            raise BadMailSettings("DAYBOOK_SMTP_URL: smtps:// is encrypted from the start, without starttls")
        return "tls"
    if starttls is None:
        return "required" if has_user else "auto"
    if starttls not in {"required", "auto", "off"}:
        raise BadMailSettings("DAYBOOK_SMTP_URL: starttls must be required, auto or off")
    return cast("Security", starttls)


def _senders(text: str) -> tuple[Mailbox, ...]:
    try:
        return tuple(mailbox(each) for each in text.split(",") if each.strip())
    except ValueError as error:
        raise BadMailSettings(f"DAYBOOK_MAIL_FROM: {error}") from None
