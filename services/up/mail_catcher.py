"""A mail server for trying things out: what jobs mail is kept in a folder, and leaves this machine nowhere."""

import asyncio
import logging
from pathlib import Path
from typing import Any

from shared.clock import SystemClock
from shared.mail_folder import MESSAGE_BYTES_MAX, MailFolder

CONNECTIONS_MAX = 20  # each may have a whole message in memory
RECIPIENTS_MAX = 1_000
IDLE_S = 120.0
HOST = "127.0.0.1"
LOGGER = "mail.log"  # aiosmtpd's: a line for each command, a traceback for each client that speaks nonsense


class MailCatcher:
    """An SMTP server on a free port of the loopback interface.

    Args:
        folder: where messages are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = MailFolder(folder)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.BaseTransport] = set()

    @property
    def environment(self) -> dict[str, str]:
        """What lets a child hand its mail in here, and read what came; once it is started."""
        if self._server is None:
            return {}
        port = self._server.sockets[0].getsockname()[1]
        return {
            "DAYBOOK_SMTP_URL": f"smtp://{HOST}:{port}?starttls=off",
            "DAYBOOK_MAIL_DIR": str(self._folder.path),
        }

    @property
    def line(self) -> str:
        """What a person should know."""
        return f"what jobs mail goes no further: /dev/mail shows it, {self._folder.path} keeps it"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: there is no port, or the folder can't be made.
        """
        logging.getLogger(LOGGER).setLevel(logging.CRITICAL)
        await asyncio.to_thread(self._folder.prepare)
        talk = await asyncio.to_thread(_talk)
        loop = asyncio.get_running_loop()

        def made() -> asyncio.BaseProtocol:
            if len(self._open) >= CONNECTIONS_MAX:
                return _Full()
            protocol: asyncio.BaseProtocol = talk(self._open, _Keeping(self._folder), loop)
            return protocol

        self._server = await loop.create_server(made, HOST, 0)

    async def stop(self) -> None:
        """Hang up, and listen no more."""
        if self._server is None:
            return
        self._server.close()
        for transport in list(self._open):
            transport.close()
        self._server = None


class _Full(asyncio.Protocol):
    """Sends a client away."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - as TCP's are
        transport.write(b"421 too many connections; come back later\r\n")
        transport.close()


class _Keeping:
    """What aiosmtpd asks of us."""

    def __init__(self, folder: MailFolder) -> None:
        self._folder = folder

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if len(envelope.rcpt_tos) >= RECIPIENTS_MAX:
            return "452 too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - likewise
        """Keep the message, with what the envelope says before it: who gets it stands nowhere else."""
        lines = [f"X-Envelope-From: {envelope.mail_from}"]
        lines += [f"X-Envelope-To: {address}" for address in envelope.rcpt_tos]
        head = "".join(f"{line}\r\n" for line in lines).encode("ascii", "backslashreplace")
        try:
            name = await asyncio.to_thread(
                self._folder.store, head + envelope.original_content, SystemClock().now()
            )
        except OSError as error:
            return f"452 it can't be kept: {error.strerror or 'no room'}"
        return f"250 kept as {name}"


def _talk() -> Any:
    """What makes the protocol of a connection; aiosmtpd is imported only where mail is caught."""
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415 - see above

    class Talk(SMTP):
        def __init__(self, open_: set[asyncio.BaseTransport], handler: Any, loop: Any) -> None:
            super().__init__(
                handler,
                hostname="daybook.localhost",
                ident="keeps what it gets",
                data_size_limit=MESSAGE_BYTES_MAX,
                enable_SMTPUTF8=True,
                timeout=IDLE_S,
                loop=loop,
            )
            self._open = open_
            self._own: asyncio.BaseTransport | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._own = transport
            self._open.add(transport)
            super().connection_made(transport)

        def connection_lost(self, error: Exception | None) -> None:
            if self._own is not None:
                self._open.discard(self._own)
            super().connection_lost(error)

    return Talk
