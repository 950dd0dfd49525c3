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
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

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
    port = _port(parts)
    is_plain = parts.path in {"", "/"} and not parts.fragment
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or not is_plain:
        raise BadMailSettings("DAYBOOK_SMTP_URL must be smtp://host:port or smtps://host:port")
    options = _options(parts.query)
    security = _security(parts.scheme, options.get("starttls"), has_user=bool(parts.username))
    return MailServer(
        host=parts.hostname,
        port=port or PORTS[security],
        security=security,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        ca_file=Path(options["ca_file"]) if "ca_file" in options else None,
        senders=senders(mail_from or NOBODY),
    )


def _port(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise BadMailSettings("DAYBOOK_SMTP_URL: its port is no number from 1 to 65535")
    return port


def _options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs) or options.keys() - {"starttls", "ca_file"}:
        raise BadMailSettings("DAYBOOK_SMTP_URL takes the options starttls and ca_file, each once")
    if "ca_file" in options and not Path(options["ca_file"]).is_absolute():
        raise BadMailSettings("DAYBOOK_SMTP_URL: ca_file must be an absolute path")
    return options


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


def senders(text: str) -> tuple[Mailbox, ...]:
    """What DAYBOOK_MAIL_FROM means: mailboxes separated by commas, at least one.

    Raises:
        BadMailSettings: it means nothing.
    """
    try:
        return tuple(mailbox(each) for each in text.split(","))
    except ValueError as error:
        raise BadMailSettings(f"DAYBOOK_MAIL_FROM: {error}") from None
