"""A real mail server on loopback (aiosmtpd) that a test can make say what it likes, and certificates for it."""

from __future__ import annotations

import asyncio
import datetime
import email
import email.policy
import ipaddress
import ssl
from types import SimpleNamespace

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.executor.mail_pool import close_pools
from shared.job_types.mail_server import mail_server

USER, PASSWORD = "post", "p@ss/wörd %"
TAKEN = "250 OK"


class Talk(SMTP):
    """One connection; its greeting is the mail server's to choose."""

    def __init__(self, post, *args, **options):
        super().__init__(*args, **options)
        self._post = post

    def connection_made(self, transport):
        self._post.transports.append(transport)
        super().connection_made(transport)

    async def push(self, status):
        if self._post.greeting and isinstance(status, str) and status.startswith("220 ") and "SMTP" in status:
            status = self._post.greeting
        await super().push(status)


class Post:
    """The server. `says` maps a command, or a recipient's address, to the reply it gets instead of 250.

    Attributes:
        mails: what was taken: sender, recipients, content (bytes), message (parsed), tls, user.
        connections: how many were made.
    """

    def __init__(self, *, tls=None, starttls=None, login=False, **options):
        self._tls, self._starttls = tls, starttls
        self._options = options
        if login:
            self._options |= {"authenticator": self._authenticate, "auth_required": True}
            self._options |= {"auth_require_tls": starttls is not None}
        self.greeting = ""
        self.says = {}
        self.mails, self.logins, self.transports, self.asked = [], [], [], []
        self._server = None

    @property
    def connections(self):
        return len(self.transports)

    @property
    def port(self):
        return self._server.sockets[0].getsockname()[1]

    async def start(self):
        loop = asyncio.get_running_loop()
        make = lambda: Talk(  # noqa: E731
            self, self, loop=loop, hostname="post.test", tls_context=self._starttls, **self._options
        )
        self._server = await loop.create_server(make, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def stop(self):
        await close_pools()
        self._server.close()
        self.hang_up()
        await self._server.wait_closed()

    def hang_up(self):
        """Close every connection."""
        for transport in self.transports:
            transport.close()

    def server(
        self, query="", *, user="", scheme="smtp", host="127.0.0.1", mail_from="Daybook <jobs@daybook.test>"
    ):
        return mail_server(f"{scheme}://{user}{host}:{self.port}{query}", mail_from)

    def _authenticate(self, server, session, envelope, mechanism, auth_data):  # noqa: ARG002
        self.logins.append(auth_data.login.decode())
        good = auth_data.login.decode() == USER and auth_data.password.decode() == PASSWORD
        said = None if good else self.says.get("AUTH")
        return AuthResult(success=good, handled=False, message=said, auth_data=auth_data)

    def _said(self, *keys):
        for key in keys:
            if (reply := self.says.get(key)) is not None:
                return reply() if callable(reply) else reply
        return None

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: ARG002, N802 - aiosmtpd's names
        self.asked.append(("MAIL", address, options))
        if reply := self._said("MAIL"):
            return reply
        envelope.mail_from = address
        return TAKEN

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: ARG002, N802 - aiosmtpd's names
        self.asked.append(("RCPT", address, options))
        if reply := self._said(address, "RCPT"):
            return reply
        envelope.rcpt_tos.append(address)
        return TAKEN

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        reply = self._said("DATA")
        if reply is not None:
            return await reply if asyncio.iscoroutine(reply) else reply
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append(
            SimpleNamespace(
                sender=envelope.mail_from,
                recipients=list(envelope.rcpt_tos),
                content=envelope.content,
                message=message,
                tls=server.transport.get_extra_info("sslcontext") is not None,
                user=session.auth_data and session.auth_data.login.decode(),
            )
        )
        return TAKEN


# Certificates.


class Authority:
    """Signs certificates; its own is in the file `ca`."""

    def __init__(self, folder, name="Test CA"):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.BasicConstraints(ca=True, path_length=0)
        made = _builder(self._name, self._name, self._key).add_extension(usage, critical=True)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def server_context(self, *names, address="127.0.0.1", ended=False):
        """TLS as a server that goes by these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        known_as = [x509.DNSName(each) for each in names]
        if address:
            known_as.append(x509.IPAddress(ipaddress.ip_address(address)))
        builder = _builder(_named("post.test"), self._name, key, ended=ended)
        builder = builder.add_extension(x509.SubjectAlternativeName(known_as), critical=False)
        chain = self._folder / f"server-{'-'.join(names) or 'ip'}-{ended}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


def _builder(subject, issuer, key, *, ended=False):
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - what the TLS library compares with
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * day)
        .not_valid_after(now - day if ended else now + day)
    )


def _named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)
