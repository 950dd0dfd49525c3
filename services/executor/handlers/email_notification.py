"""`email_notification`: a letter is written of a job's data, and handed in (see `services.executor.mail`)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.executor import mail
from services.executor.files import OutsideFilesRoots, open_file
from services.executor.handlers.email_notification_templates import BadTemplate, rendered
from shared.clock import SystemClock
from shared.job_types.email_notification import ATTACHMENTS_BYTES_MAX, NO_SERVER, EmailNotification
from shared.job_types.mailboxes import addresses, mailbox

if TYPE_CHECKING:
    from services.executor.resources import Resources
    from shared.handlers import Run
    from shared.job_types.mail_server import MailServer
    from shared.job_types.mailboxes import Mailbox

ATTACHED_NAME_MAX = 40  # characters, in the result


class NoMailServer(LookupError):  # noqa: N818 - its name is what people read as the failure's class
    """This executor has no DAYBOOK_SMTP_URL; another one may have it."""


class TooLarge(ValueError):  # noqa: N818 - only seen in a sentence
    """The attachments are larger than a mail may be."""


async def handle(run: Run, resources: Resources) -> dict[str, Any]:
    """Mail what the job says; returns what `Mailed` describes.

    Raises:
        NoMailServer: there is nobody to hand it to.
        GiveUp: a template that fails, attachments too large or outside the files roots, a server that says 5xx.
        OSError: an attachment can't be read.
        MailDeferred, MailServerUnreachable, MailServerUntrusted: see `mail.deliver`.
    """
    if resources.mail is None:
        raise NoMailServer(NO_SERVER)
    task = EmailNotification.model_validate(run.job_data)
    run.progress(0.0, "writing")
    try:
        letter = await asyncio.to_thread(_letter, run, task, resources, resources.mail)
    except (BadTemplate, TooLarge, OutsideFilesRoots) as error:
        run.give_up(f"{type(error).__name__}: {error}")
    delivery = await mail.deliver(run, resources.mail, letter, now=SystemClock().now())
    return {
        "accepted": list(delivery.accepted),
        "refused": dict(delivery.refused),
        "message_id": delivery.message_id,
        "attachments": [
            {"name": each.name[:ATTACHED_NAME_MAX], "bytes": len(each.content)} for each in letter.enclosures
        ],
    }


def _letter(run: Run, task: EmailNotification, resources: Resources, server: MailServer) -> mail.Letter:
    subject = mail.one_line(task.subject or run.job_name)
    text, html = _texts(run, task, resources, subject)
    return mail.Letter(
        sender=_sender(run, task, server),
        to=addresses(task.to),
        cc=addresses(task.cc),
        bcc=addresses(task.bcc),
        reply_to=None if task.reply_to is None else mailbox(task.reply_to),
        subject=subject,
        text=text,
        html=html,
        enclosures=_enclosures(task, resources.catalog.files_roots),
    )


def _sender(run: Run, task: EmailNotification, server: MailServer) -> Mailbox:
    if task.sender is None:
        return server.sender
    sender = mailbox(task.sender)
    if not server.allows(sender):
        run.give_up(f"{sender.address} is not among this executor's DAYBOOK_MAIL_FROM")
    return sender


def _texts(run: Run, task: EmailNotification, resources: Resources, subject: str) -> tuple[str, str]:
    """Text and HTML; of each "" if there is none."""
    if task.template is None:
        by_default = (
            "" if task.html else f"The job “{mail.one_line(run.job_name)}” has run: execution {run.run_id}.\n"
        )
        return task.body if task.body is not None else by_default, task.html or ""
    facts = {
        "subject": subject,
        "job_name": run.job_name,
        "run_id": run.run_id,
        "scheduled_for": run.scheduled_for,
    }
    made = rendered(task.template, facts | (task.context or {}), resources.catalog.templates)
    return made.get("txt", ""), made.get("html", "")


def _enclosures(task: EmailNotification, roots: tuple[Path, ...]) -> tuple[mail.Enclosure, ...]:
    read, room = [], ATTACHMENTS_BYTES_MAX
    for each in task.attachments:
        path = Path(each.path)
        content = _content(path, roots, room)
        room -= len(content)
        read.append(mail.Enclosure(name=mail.one_line(each.name or path.name), content=content))
    return tuple(read)


def _content(path: Path, roots: tuple[Path, ...], room: int) -> bytes:
    with os.fdopen(open_file(path, roots), "rb") as file:
        content = file.read(room + 1)  # not what stat says: the file may be growing
    if len(content) > room:
        raise TooLarge(
            f"with {path.name} the attachments have more than {ATTACHMENTS_BYTES_MAX:,} bytes in all"
        )
    return content
