"""Mail: a letter is written, and handed to the mail server through the pool. For handlers of all types.

What is promised: as soon as the server has taken a letter for anybody, `deliver` returns, and says who was refused; so
no attempt that mails again follows by itself. It raises only if nobody gets the letter, or if it can't be known because
the connection was lost in the middle of it. Then, and after a crash, another attempt may hand the letter in a second
time, with the same Message-ID, by which mail systems recognise repeats.
"""

from __future__ import annotations

import asyncio
import mimetypes
import unicodedata
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

from services.executor.mail_pool import close_pools, pool_of
from services.executor.mail_session import MailRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from shared.handlers import Run
    from shared.job_types.mail_server import MailServer
    from shared.job_types.mailboxes import Mailbox

REASONS_MAX = 3_000  # characters of all refusals in a result, which has a limit of its own
_POLICY = SMTP.clone(cte_type="7bit")  # any server takes it
_LIKE_BREAKS = {"Cc", "Cs", "Zl", "Zp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosure:
    """A file that goes with a letter; its name must have no control characters."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is to be mailed.

    Attributes:
        to: at least one.
        bcc: get it, too, but stand nowhere in it.
        text: may be "" if there is `html`.
        html: "" for none.
    """

    sender: Mailbox
    to: tuple[Mailbox, ...]
    subject: str
    text: str = ""
    html: str = ""
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    reply_to: Mailbox | None = None
    enclosures: tuple[Enclosure, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of all who get it, each once."""
        return tuple(dict.fromkeys(each.address for each in (*self.to, *self.cc, *self.bcc)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What the server has taken.

    Attributes:
        refused: address → the server's reason.
    """

    message_id: str
    accepted: tuple[str, ...]
    refused: Mapping[str, str]


async def deliver(run: Run, server: MailServer, letter: Letter, *, now: datetime, part: str = "") -> Delivery:
    """Mail a letter of a run.

    Args:
        run: whose; gives up what the server refuses for good.
        server: takes it.
        letter: what is mailed.
        now: stands in it as its date.
        part: tells letters of one run apart: letters, digits, dots, dashes.

    Raises:
        GiveUp: the server said 5xx, to all recipients or to all of the mail.
        MailDeferred: it said 4xx.
        MailServerUnreachable, MailServerUntrusted: nothing was said that counts; see above.
    """
    message_id = message_id_of(run, letter.sender, part)
    content = await asyncio.to_thread(written, letter, message_id, now)
    addresses = letter.addresses
    run.progress(0.1, f"connecting to {server.host}")
    try:
        refused = await pool_of(server).hand_in(
            letter.sender.address,
            addresses,
            content,
            lambda ratio, said: run.progress(0.2 + 0.7 * ratio, said),
        )
    except MailRefused as error:
        run.give_up(f"MailRefused: {error}")
    for address, reason in refused.items():
        run.log(f"{address} was refused: {reason}")
    return Delivery(
        message_id=message_id,
        accepted=tuple(address for address in addresses if address not in refused),
        refused=_shortened(refused),
    )


def deliver_from_a_process(
    run: Run, server: MailServer, letter: Letter, *, now: datetime, part: str = ""
) -> Delivery:
    """`deliver`, for handlers that block: over a connection of its own, closed at the end."""

    async def once() -> Delivery:
        try:
            return await deliver(run, server, letter, now=now, part=part)
        finally:
            await close_pools()

    return asyncio.run(once())


def message_id_of(run: Run, sender: Mailbox, part: str = "") -> str:
    """The same in each attempt at a run."""
    return f"<{'.'.join(filter(None, (run.run_id, part)))}@{sender.domain}>"


def written(letter: Letter, message_id: str, now: datetime) -> bytes:
    """The letter as the server gets it: ASCII, lines of at most 78 characters where it can be, CR LF."""
    message = EmailMessage(policy=_POLICY)
    message["From"] = _address(letter.sender)
    message["To"] = [_address(each) for each in letter.to]
    if letter.cc:
        message["Cc"] = [_address(each) for each in letter.cc]
    if letter.reply_to is not None:
        message["Reply-To"] = _address(letter.reply_to)
    message["Subject"] = one_line(letter.subject)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: so that nobody's absence answers
    if letter.text or not letter.html:
        message.set_content(_whole(letter.text))
        if letter.html:
            message.add_alternative(_whole(letter.html), subtype="html")
    else:
        message.set_content(_whole(letter.html), subtype="html")
    for each in letter.enclosures:
        main, _, sub = _kind(each.name).partition("/")
        message.add_attachment(each.content, maintype=main, subtype=sub, filename=each.name)
    return message.as_bytes()


def one_line(text: str) -> str:
    """The text with spaces where it has line breaks, other control characters, or half characters."""
    return "".join(" " if unicodedata.category(each) in _LIKE_BREAKS else each for each in text)


def _whole(text: str) -> str:
    """The text without half characters (lone surrogates), which JSON may have and mail can't."""
    return text.encode(errors="replace").decode()


def _address(each: Mailbox) -> Address:
    return Address(each.name, addr_spec=each.address)


def _kind(name: str) -> str:
    """The media type that the name tells; a compressed file is just bytes, as is what has a nature of its own."""
    kind, coding = mimetypes.guess_type(name)
    if kind is None or coding is not None or kind.startswith(("multipart/", "message/")):
        return "application/octet-stream"
    return kind


def _shortened(refused: Mapping[str, str]) -> Mapping[str, str]:
    each_max = max(20, REASONS_MAX // max(1, len(refused)))
    return {address: reason[:each_max] for address, reason in refused.items()}


def addresses_of(mailboxes: Iterable[Mailbox]) -> list[str]:
    """Their addresses."""
    return [each.address for each in mailboxes]
