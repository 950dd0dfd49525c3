"""`email_notification`: mails somebody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from shared.handlers import Personal
from shared.job_types import mail_templates
from shared.job_types.job_type import Fault, JobType, Strict, outside
from shared.job_types.mailboxes import Address, addresses, mailbox, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shared.job_types.catalog import Catalog

RECIPIENTS_MAX = 100
RECIPIENTS_LENGTH_MAX = (
    8_000  # characters of all addresses: they stand in the result, which has a limit of its own
)
ATTACHMENTS_MAX = 20
ATTACHMENTS_BYTES_MAX = 7 * 1024 * 1024  # as mail a third more: below the 10 MiB that mail servers take
SUBJECT_MAX = 500
TEXT_MAX = 50_000
NO_SERVER = "there is no mail server to hand it to: the operator sets DAYBOOK_SMTP_URL"
_SECRET = "$secret"  # noqa: S105 - the key of a reference to one

Addresses = Annotated[list[Address], Field(max_length=RECIPIENTS_MAX), Personal]
Context = dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")], Any]
Text = Annotated[str, Field(max_length=TEXT_MAX), Personal]


def _plain(path: str) -> str:
    if not Path(path).is_absolute() or ".." in Path(path).parts or "\0" in path:
        raise ValueError("write an absolute path without '..', such as /srv/reports/weekly.pdf")
    return path


def _file_name(name: str) -> str:
    if "/" in one_line(name) or "\\" in name or name in {".", ".."}:
        raise ValueError("write a name, not a path")
    return name


class Attachment(Strict):
    """A file to attach.

    Attributes:
        path: inside DAYBOOK_FILES_ROOTS; no part of it below the root is a symbolic link.
        name: as the mail shows it; the file's own if not given.
    """

    path: Annotated[str, Field(min_length=1, max_length=4_096), AfterValidator(_plain)]
    name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_file_name)] | None = None


class EmailNotification(Strict):
    """The mail.

    Attributes:
        recipient: to whom; or `recipients`, if there are several. With cc and bcc at most RECIPIENTS_MAX.
        cc: likewise, and seen by all.
        bcc: likewise, and seen by nobody.
        reply_to: who gets the answers.
        sender: one of the operator's DAYBOOK_MAIL_FROM, the first of which it is if nothing is said; under any name.
        subject: the job's name if not given.
        body: the text. If there is neither `html` nor `template`: by default a line that says which job has run.
        html: the same for readers that show HTML.
        template: the name of a template, which makes text and HTML of `context`.
        context: values for the template, by name; nothing in them is taken for a template.
        attachments: at most ATTACHMENTS_BYTES_MAX together.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["recipient"]}, {"required": ["recipients"]}]}
    )

    recipient: Annotated[Address, Personal] | None = None
    recipients: Annotated[list[Address], Field(min_length=1, max_length=RECIPIENTS_MAX), Personal] | None = (
        None
    )
    cc: Addresses = Field(default_factory=list)
    bcc: Addresses = Field(default_factory=list)
    reply_to: Annotated[Address, Personal] | None = None
    sender: Address | None = Field(default=None, alias="from")
    subject: (
        Annotated[str, Field(min_length=1, max_length=SUBJECT_MAX), AfterValidator(one_line), Personal] | None
    ) = None
    body: Text | None = None
    html: Text | None = None
    template: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] | None = None
    context: Annotated[Context, Personal] | None = None
    attachments: Annotated[list[Attachment], Field(max_length=ATTACHMENTS_MAX)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_way(self) -> EmailNotification:
        if (self.recipient is None) == (self.recipients is None):
            raise ValueError("name a recipient, or a list of recipients: one of the two")
        if self.template is not None and not (self.body is None and self.html is None):
            raise ValueError("a template makes the text: leave body and html out")
        if self.context is not None and self.template is None:
            raise ValueError("context is for a template: name one")
        everybody = addresses([*self.to, *self.cc, *self.bcc])
        if len(everybody) > RECIPIENTS_MAX:
            raise ValueError(f"it has {len(everybody)} recipients; at most {RECIPIENTS_MAX} are taken")
        if sum(len(each.address) for each in everybody) > RECIPIENTS_LENGTH_MAX:
            raise ValueError(f"its addresses have more than {RECIPIENTS_LENGTH_MAX:,} characters in all")
        return self

    @property
    def to(self) -> list[str]:
        """Who stands in `To`."""
        return [self.recipient] if self.recipient is not None else self.recipients or []


class Attached(BaseModel):
    """A file that was attached: its name (the first 40 characters) and its size."""

    name: str
    bytes: int


class Mailed(BaseModel):
    """What became of a mail.

    Attributes:
        accepted: addresses that the mail server took it for: on its way, which is not yet arrived.
        refused: address → what the server said.
        message_id: made of the run's id: the same in each attempt, so that repeats can be told.
    """

    accepted: list[str]
    refused: dict[str, str]
    message_id: str
    attachments: list[Attached]


def _check(mail: EmailNotification, catalog: Catalog) -> Iterator[Fault]:
    if not catalog.senders:
        yield Fault(pointer="#/job_type", detail=NO_SERVER)
    elif mail.sender is not None:
        yield from _not_ours(mail.sender, catalog)
    if mail.template is not None and not mail_templates.parts(mail.template, catalog.templates):
        there = ", ".join(mail_templates.names(catalog.templates))
        yield Fault(
            pointer="#/job_data/template", detail=f"{mail.template!r} is no template here; there are {there}"
        )
    if _has_secret(mail.context):
        yield Fault(pointer="#/job_data/context", detail="names a secret: secrets are not mailed")
    for place, each in enumerate(mail.attachments):
        yield from outside(f"#/job_data/attachments/{place}/path", each.path, catalog)


def _not_ours(sender: str, catalog: Catalog) -> Iterable[Fault]:
    ours = [each.address for each in catalog.senders]
    if mailbox(sender).address not in ours:
        detail = f"mail is sent as {' or '.join(ours)} only; the operator sets DAYBOOK_MAIL_FROM"
        yield Fault(pointer="#/job_data/from", detail=detail)


def _has_secret(value: Any) -> bool:
    match value:
        case dict():
            return _SECRET in value or any(map(_has_secret, value.values()))
        case list():
            return any(map(_has_secret, value))
        case _:
            return False


EMAIL_NOTIFICATION = JobType(
    name="email_notification",
    description=(
        "Mails a text, HTML, or a template's, with files attached, to at most 100 recipients. The result lists who was "
        "accepted and who was refused. No attempt follows one in which the mail server has taken the mail for anybody."
    ),
    model=EmailNotification,
    check=_check,
    result=Mailed,
    retried=(
        "by the job's policy: MailDeferred (the server says 4xx), MailServerUnreachable (no connection, a lost one, a "
        "silent server), MailServerUntrusted (no valid certificate, or no encryption where it is required), "
        "NoMailServer (on this executor), and files that can't be read. The Message-ID stays the same."
    ),
    given_up=(
        "what the server refuses for good (5xx for the login, the sender, all recipients, or the message), a template "
        "that fails, attachments that are too large or outside DAYBOOK_FILES_ROOTS, and a sender that isn't among "
        "this executor's DAYBOOK_MAIL_FROM"
    ),
)
