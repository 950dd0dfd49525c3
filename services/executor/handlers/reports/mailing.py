"""A report by mail: a few lines about it, and the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.executor import mail
from services.executor.handlers.email_notification import NoMailServer
from services.executor.handlers.reports.shown import clean, shown
from services.executor.mail import Enclosure, Letter
from shared.clock import SystemClock
from shared.job_types.email_notification import ATTACHMENTS_BYTES_MAX, NO_SERVER
from shared.job_types.mailboxes import addresses
from shared.job_types.report_generation import Mailed

if TYPE_CHECKING:
    from services.executor.handlers.reports.report import Report
    from services.executor.resources import Resources
    from shared.handlers import Run


def mailed(
    recipients: list[str], run: Run, resources: Resources, report: Report, name: str, content: bytes
) -> Mailed:
    """Mail the file to all of them, in one letter.

    Args:
        recipients: mailboxes.
        run: whose.
        resources: has the mail server.
        report: what is in the file.
        name: of the file.
        content: of the file.

    Raises:
        NoMailServer: there is nobody to hand it to.
        GiveUp, MailDeferred, MailServerUnreachable: as `mail.deliver` says.
    """
    if resources.mail is None:
        raise NoMailServer(NO_SERVER)
    if len(content) > ATTACHMENTS_BYTES_MAX:
        run.give_up(
            f"TooLarge: the report has {len(content):,} bytes, a mail takes {ATTACHMENTS_BYTES_MAX:,}; "
            f"it is kept as {name}"
        )
    letter = Letter(
        sender=resources.mail.sender,
        to=addresses(recipients),
        subject=report.title,
        text=_text(report),
        enclosures=(Enclosure(name=clean(name), content=content),),
    )
    delivery = mail.deliver_from_a_process(run, resources.mail, letter, now=SystemClock().now())
    return Mailed(accepted=list(delivery.accepted), refused=dict(delivery.refused))


def _text(report: Report) -> str:
    figures = [f"{figure.label}: {shown(figure.value, figure.kind)}" for figure in report.totals]
    return "\n".join([report.title, report.subtitle, report.period.words(), "", *figures, ""])
