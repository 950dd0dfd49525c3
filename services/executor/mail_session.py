"""One connection to the mail server: opened, logged in, and then one mail after the other handed in.

```
 open: connect → [TLS] → EHLO → [STARTTLS → EHLO] → [AUTH]      hand_in: MAIL → RCPT … → DATA
```
Each step has a timeout. After a refusal the connection is reset and can be used again; after anything else it is
dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiosmtplib import (
    SMTP,
    SMTPConnectResponseError,
    SMTPException,
    SMTPHeloError,
    SMTPRecipientRefused,
    SMTPResponseException,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from shared.job_types.mail_server import MailServer

UNAVAILABLE = 421  # "closing transmission channel" (RFC 5321, 3.8): nothing of the mail counts
SAID_MAX = 300  # characters of what a server says


class MailDeferred(Exception):  # noqa: N818 - its name is what people read as the failure's class
    """The mail server doesn't take the mail now (a reply of 4xx); it may later."""


class MailRefused(Exception):  # noqa: N818 - likewise
    """The mail server doesn't take the mail (a reply of 5xx), now or later."""


class MailServerUnreachable(ConnectionError):  # noqa: N818 - likewise
    """There is no talking to the mail server: no connection, a lost one, silence, or something that isn't SMTP.

    Attributes:
        before_data: it is certain that the server has not taken the mail.
    """

    def __init__(self, message: str, *, before_data: bool = False) -> None:
        super().__init__(message)
        self.before_data = before_data


class MailServerUntrusted(MailServerUnreachable):
    """The connection isn't safe: a certificate that can't be verified, or no encryption where it is required."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long the server may take, in seconds.

    Attributes:
        connect: to accept the connection, shake hands and greet.
        command: to answer a command.
        data: to take in the message and answer.
    """

    connect: float = 20.0
    command: float = 60.0
    data: float = 300.0


class Session:
    """A connection.

    Args:
        server: whose.
        trust: whom it must prove to be.
        times: of its steps.
        host_name: what we call ourselves.
    """

    def __init__(
        self, server: MailServer, trust: ssl.SSLContext | None, *, times: Times, host_name: str
    ) -> None:
        self.mails = 0  # that it has carried
        self._server = server
        self._trust = trust
        self._times = times
        self._smtp = SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.security == "tls",
            start_tls=False,  # done below, where what it means to fail can be said
            tls_context=trust,
            local_hostname=host_name,
            timeout=times.connect,
        )

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed, as far as is known."""
        return self._smtp.is_connected

    async def open(self) -> None:
        """Connect, encrypt and log in.

        Raises:
            MailDeferred, MailRefused, MailServerUnreachable, MailServerUntrusted: the connection is closed.
        """
        try:
            with _explained(f"{self._server.host}:{self._server.port}"):
                await self._smtp.connect()
                self._smtp.timeout = self._times.command
                await self._greet()
                await self._encrypt()
                await self._log_in()
        except BaseException:
            self.drop()
            raise

    async def hand_in(
        self,
        sender: str,
        recipients: Sequence[str],
        content: bytes,
        progress: Callable[[float, str], None],
    ) -> dict[str, str]:
        """Hand in one mail.

        Args:
            sender: who is told of what can't be delivered.
            recipients: addresses, all different, at least one.
            content: the message, lines ending in CR LF.
            progress: is told how far it is, from 0 to 1.

        Returns:
            address → reason, of recipients that were refused; the others' mail is the server's now.

        Raises:
            MailDeferred, MailRefused: nobody gets it; the session is as before.
            MailServerUnreachable: the session is over. Unless `before_data`, the server may have taken the mail.
        """
        self.mails += 1
        async with self._reset_after_refusal():
            with _explained("MAIL", before_data=True):
                await self._begin(sender, len(content))
                refused = await self._address(recipients, progress)
            progress(0.5, f"handing in {len(content):,} bytes for {len(recipients) - len(refused)}")
            with _explained("DATA"):
                await self._smtp.data(content, timeout=self._times.data)
        return {address: str(reason) for address, reason in refused.items()}

    def drop(self) -> None:
        """Close it without a word."""
        self._smtp.close()

    async def quit(self) -> None:
        """Close it as one should."""
        with contextlib.suppress(SMTPException, OSError):
            await self._smtp.quit(timeout=2)
        self.drop()

    async def _greet(self) -> None:
        try:
            await self._smtp.ehlo()
        except SMTPHeloError as error:
            if error.code < 500 or not self._smtp.is_connected:  # noqa: PLR2004 - SMTP's
                raise
            await self._smtp.helo()  # for servers that know no extensions

    async def _encrypt(self) -> None:
        if self._server.security not in {"required", "auto"}:
            return
        if self._smtp.supports_extension("starttls"):
            await self._smtp.starttls(tls_context=self._trust)
            await self._greet()
        elif self._server.security == "required":
            raise MailServerUntrusted(f"{self._server.host} offers no STARTTLS, which is required")

    async def _log_in(self) -> None:
        if not self._server.username:
            return
        encrypted = self._smtp.get_transport_info("sslcontext") is not None
        if not encrypted and self._server.security != "off":
            raise MailServerUntrusted(f"{self._server.host} offers no STARTTLS to protect the password")
        if not self._smtp.supported_auth_methods:
            raise MailRefused(f"{self._server.host} offers no login that we know")
        await self._smtp.login(self._server.username, self._server.password)

    async def _begin(self, sender: str, size: int) -> None:
        options = [f"SIZE={size}"] if self._smtp.supports_extension("size") else []
        await self._smtp.mail(sender, options=options)

    async def _address(
        self, recipients: Sequence[str], progress: Callable[[float, str], None]
    ) -> dict[str, MailDeferred | MailRefused]:
        refused: dict[str, MailDeferred | MailRefused] = {}
        for number, address in enumerate(recipients):
            progress(0.5 * number / len(recipients), f"recipient {number + 1} of {len(recipients)}")
            try:
                await self._smtp.rcpt(address)
            except SMTPRecipientRefused as error:
                if error.code == UNAVAILABLE:
                    raise
                refused[address] = _verdict(error.code, error.message)
        if len(refused) == len(recipients):
            raise _of_all(refused)
        return refused

    @contextlib.asynccontextmanager
    async def _reset_after_refusal(self) -> AsyncIterator[None]:
        try:
            yield
        except (MailDeferred, MailRefused):
            try:
                await self._smtp.rset()
            except (SMTPException, OSError):
                self.drop()
            raise
        except BaseException:
            self.drop()
            raise


def _of_all(refused: dict[str, MailDeferred | MailRefused]) -> MailDeferred | MailRefused:
    said = "; ".join(f"{address}: {reason}" for address, reason in refused.items())
    if any(isinstance(reason, MailDeferred) for reason in refused.values()):
        return MailDeferred(f"no recipient was accepted: {said}")
    return MailRefused(f"no recipient was accepted: {said}")


def _verdict(code: int, said: str) -> MailDeferred | MailRefused:
    told = f"{code} {_readable(said)}"
    return MailDeferred(told) if 400 <= code < 500 else MailRefused(told)  # noqa: PLR2004 - SMTP's


def _readable(said: str) -> str:
    """In ASCII and in one line, whatever the server has sent."""
    return " ".join(said.encode("ascii", "backslashreplace").decode().split())[:SAID_MAX]


@contextlib.contextmanager
def _explained(step: str, *, before_data: bool = False) -> Iterator[None]:
    """Turn what the library raises into our four kinds."""
    try:
        yield
    except (MailServerUnreachable, MailDeferred, MailRefused):
        raise
    except SMTPResponseException as error:
        raise _of_reply(step, error, before_data=before_data) from error
    except (SMTPException, OSError, asyncio.IncompleteReadError) as error:
        raise _of_failure(step, error, before_data=before_data) from error


def _of_reply(step: str, error: SMTPResponseException, *, before_data: bool) -> Exception:
    if error.code < 400:  # noqa: PLR2004 - a reply out of place, or no reply at all
        return MailServerUnreachable(
            f"{step}: {error.code} {_readable(error.message)}", before_data=before_data
        )
    verdict = _verdict(error.code, f"{error.message} ({step})")
    if error.code == UNAVAILABLE and before_data and not isinstance(error, SMTPConnectResponseError):
        return MailServerUnreachable(f"the connection was closed: {verdict}", before_data=True)
    return verdict


def _of_failure(step: str, error: BaseException, *, before_data: bool) -> Exception:
    said = f"{step}: {_readable(str(error)) or type(error).__name__}"
    causes = (error, error.__cause__)
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in causes):
        return MailServerUntrusted(said)
    return MailServerUnreachable(said, before_data=before_data)
