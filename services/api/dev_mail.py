"""What jobs have mailed, where `daybook up` catches it: for whoever tries a job out.

Mail is made by others, so nothing of it is executed: all of it stands as text in pages that load and run nothing (the
Content-Security-Policy of `browsers` holds here, too), HTML parts as their source.
"""

from __future__ import annotations

import asyncio
import json
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from quart import Response, request

from services.api import answers, caught_mail
from services.api.caught_mail import HEAD_BYTES
from services.api.problems import Problem
from shared.mail_folder import MailFolder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quart import Quart

    from services.api.caught_mail import Caught
    from services.api.deps import Deps

NOT_CAUGHT = (
    "No mail is caught here: `daybook up` does it in development, unless DAYBOOK_SMTP_URL names a server."
)
_KINDS = ("text/html", "application/json")  # the first is for whoever doesn't mind


class DevMail:
    """The routes under /dev/mail."""

    def __init__(self, deps: Deps) -> None:
        path = deps.settings.mail_dir
        self._folder = None if path is None else MailFolder(path)

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        app.add_url_rule("/dev/mail", "list_dev_mail", self.list, methods=["GET"])
        app.add_url_rule("/dev/mail/<name>", "get_dev_mail", self.get, methods=["GET"])

    async def list(self) -> Response:
        """GET /dev/mail: the messages there are, newest first."""
        items = await asyncio.to_thread(_summaries, self._caught())
        if _wants_json():
            return answers.answer(json.dumps({"items": items}))
        return _page("Caught mail", _listed(items))

    async def get(self, name: str) -> Response:
        """GET /dev/mail/{name}: one of them."""
        found = await asyncio.to_thread(_message, self._caught(), name)
        if found is None:
            raise Problem("not-found", "There is no such mail; the newest 200 are kept.")
        if _wants_json():
            parts = {"headers": found.headers, "text": found.text, "html": found.html}
            return answers.answer(
                json.dumps({**found.summary, **parts, "attachments": list(found.attachments)})
            )
        return _page(found.summary["subject"] or "(no subject)", _shown(found))

    def _caught(self) -> MailFolder:
        if self._folder is None:
            raise Problem("not-found", NOT_CAUGHT)
        return self._folder


def _wants_json() -> bool:
    return request.accept_mimetypes.best_match(_KINDS, default=_KINDS[0]) == "application/json"


def _summaries(folder: MailFolder) -> list[dict[str, Any]]:
    found = []
    for name in folder.names():
        head = folder.read(name, HEAD_BYTES)
        if head is not None:  # it may just have been dropped
            found.append(caught_mail.summary(name, head, folder.size(name)))
    return found


def _message(folder: MailFolder, name: str) -> Caught | None:
    content = folder.read(name)
    return None if content is None else caught_mail.read(name, content)


def _page(title: str, lines: Iterable[str]) -> Response:
    said = escape(title)
    text = "\n".join(
        (
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{said} - Daybook</title></head><body>',
            f"<h1>{said}</h1>",
            *lines,
            "</body></html>",
            "",
        )
    )
    return Response(text, content_type="text/html; charset=utf-8")


def _listed(items: list[dict[str, Any]]) -> Iterator[str]:
    if not items:
        yield "<p>Nothing was mailed yet.</p>"
        return
    yield "<table><tr><th>Received</th><th>To</th><th>Subject</th><th>Bytes</th></tr>"
    for each in items:
        link = f'<a href="/dev/mail/{quote(each["name"])}">{escape(each["subject"] or "(no subject)")}</a>'
        to = escape(", ".join(each["envelope_to"][:5]) or each["to"])
        yield f"<tr><td>{each['received_at']}</td><td>{to}</td><td>{link}</td><td>{each['bytes']:,}</td></tr>"
    yield "</table>"


def _shown(mail: Caught) -> Iterator[str]:
    yield '<p><a href="/dev/mail">All caught mail</a></p>'
    yield "<table>"
    for name, value in mail.headers:
        yield f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
    yield "</table>"
    if mail.text is not None:
        yield f"<h2>Text</h2><pre>{escape(mail.text)}</pre>"
    if mail.html is not None:
        yield f"<h2>HTML, its source</h2><pre>{escape(mail.html)}</pre>"
    if mail.attachments:
        yield "<h2>Attachments</h2><ul>"
        for each in mail.attachments:
            told = f"{each['name'] or '(no name)'} ({each['content_type']}, {each['bytes']:,} bytes)"
            yield f"<li>{escape(told)}</li>"
        yield "</ul>"
