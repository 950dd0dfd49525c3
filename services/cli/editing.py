"""A job changed as a text, on the revision that was read: what others have changed meanwhile is not overwritten."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import click

from services.api.json_patch import merged
from services.cli.failures import Failed, Refused
from services.cli.files import one_job_in
from services.cli.show import say

if TYPE_CHECKING:
    import httpx

    from services.cli.session import Session

_STALE = 412
_HEAD = """\
# {name}, revision {revision}. What you leave out takes its default; an empty file changes nothing.
"""


def edited(
    session: Session, found: httpx.Response, *, patch: dict[str, Any] | None, name_of_file: str | None
) -> dict[str, Any]:
    """The job as it is afterwards.

    Args:
        session: to send it by.
        found: the answer that shows it, with its ETag.
        patch: to be merged over it; None: what the file has, or else an editor leaves.
        name_of_file: of the job as it is to be.

    Raises:
        Failed: see there; the text is kept in a file, which is named.
    """
    job = found.json()
    if patch is not None:
        return _sent(session, found, patch=patch)
    from services.api.requests import JobBody  # noqa: PLC0415

    read_only = JobBody.READ_ONLY
    old = {name: value for name, value in job.items() if name not in read_only}
    if name_of_file is not None:
        new = one_job_in(name_of_file)
        new = {name: value for name, value in new.items() if name not in read_only}  # as `jobs get` prints it
        return job if new == old else _sent(session, found, whole=new)
    text = _text(job, old)
    left = click.edit(text, extension=".yaml", require_save=False)
    if left is None or left == text or not _content(left):
        say("Nothing was changed.")
        return dict(job)
    try:
        new = _read(left)
        return job if new == old else _sent(session, found, old=old, whole=new)
    except Failed as failure:
        path = _kept(left)
        raise Failed(
            f"{failure.format_message()}\nWhat you have written is in {path}: daybook jobs edit {job['id']} -f {path}",
            failure.exit_code,
        ) from None


def patch_of(old: Any, new: Any) -> Any:
    """The merge patch (RFC 7396) that makes `new` of `old`, as far as there is one."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    patch: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    for name, value in new.items():
        if name not in old or old[name] != value:
            patch[name] = patch_of(old.get(name), value)
    return patch


def _sent(
    session: Session,
    found: httpx.Response,
    *,
    old: dict[str, Any] | None = None,
    whole: dict[str, Any] | None = None,
    patch: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """By PATCH; where a null is meant as a value, which no merge patch can say, by PUT."""
    path, etag = f"/jobs/{found.json()['id']}", found.headers.get("ETag")
    method, body = "PATCH", patch
    if patch is None and whole is not None:
        difference = None if old is None else patch_of(old, whole)
        is_sayable = old is not None and merged(old, difference) == whole
        method, body = ("PATCH", difference) if is_sayable else ("PUT", whole)
    try:
        return dict(session.client.send(method, path, body, if_match=etag).json())
    except Refused as problem:
        if problem.status != _STALE:
            raise
        raise Failed(
            "Somebody else has changed the job meanwhile; nothing was overwritten. Look at it, and edit again.",
            problem.exit_code,
        ) from None


def _text(job: dict[str, Any], old: dict[str, Any]) -> str:
    from services.cli.yaml_text import dump  # noqa: PLC0415

    name = " ".join(str(job["name"]).split())
    return _HEAD.format(name=name, revision=job["revision"]) + dump(old)


def _read(text: str) -> dict[str, Any]:
    from services.cli.failures import USAGE  # noqa: PLC0415
    from services.cli.yaml_text import BadYaml, load  # noqa: PLC0415

    try:
        found = load(text)
    except BadYaml as error:
        raise Failed(f"That is no YAML: {error}.", USAGE) from None
    if not isinstance(found, dict):
        raise Failed("That is no job.", USAGE)
    return found


def _content(text: str) -> str:
    """What is no comment."""
    return "".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).strip()


def _kept(text: str) -> str:
    handle, path = tempfile.mkstemp(prefix="daybook-", suffix=".yaml")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return path
