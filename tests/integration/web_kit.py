"""Web servers for tests: real sockets on loopback, answers written by hand, TLS by a CA made on the spot."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.executor.handlers import http_request
from services.executor.secrets import Secrets
from shared.handlers import Nobody
from shared.testing import a_told_run, resources

LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass
class Heard:
    """A request, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)


def answer(status=200, body=b"", **headers):
    """An answer's bytes; `retry_after=7` makes a header Retry-After."""
    lines = [f"HTTP/1.1 {status} Whatever"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "transfer_encoding" not in headers and "content_length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Site:
    """A server on loopback that answers what `say(request)` returns, or writes by itself."""

    def __init__(self, say: Any) -> None:
        self.heard: list[Heard] = []
        self.connections = 0
        self.server_names: list[str | None] = []
        self._say = say if callable(say) else lambda _: say

    async def __call__(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while request := await self._request(reader, writer):
                self.heard.append(request)
                said = self._say(request)
                said = await said if asyncio.iscoroutine(said) else said
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
        writer.close()

    async def _request(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Heard(method, target, headers, body, reader, writer)


@contextlib.asynccontextmanager
async def serving(say, *, host="127.0.0.1", port=0, tls=None):
    """A Site at `site.port`, and `site.url` if its host is loopback."""
    site = Site(say)
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: site.server_names.append(name)
    server = await asyncio.start_server(site, host, port, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    site.url = f"http{'s' if tls else ''}://{host}:{site.port}"
    try:
        yield site
    finally:
        server.close()


def names(**answers):
    """A resolver: each name's addresses, or a list of them for one call after the other."""

    asked = []

    async def resolve(name):
        asked.append(name)
        found = answers[name.split(".")[0]]
        if found and isinstance(found[0], list):
            found = found.pop(0)
        return [ip_address(each) for each in found]

    resolve.asked = asked
    return resolve


class Notes(Nobody):
    """Keeps what a handler says."""

    def __init__(self):
        self.lines = []

    def log(self, text):
        self.lines.append(text)


async def ask(
    url, *, secrets=None, networks=LOOPBACK, resolve=None, ca_file=None, notes=None, run_id="run-1", **data
):
    """Call the handler as the executor does: references become values just before."""
    kept = Secrets(environ={f"DAYBOOK_SECRET__{name}": value for name, value in (secrets or {}).items()})
    run = a_told_run("http_request", **kept.revealed({"url": url} | data))
    run = replace(run, run_id=run_id, reporter=notes or Nobody())
    offered = resources(secrets=kept, http_networks=networks, http_ca_file=ca_file)
    if resolve is None:
        return await http_request.handle(run, offered)
    return await http_request.ask(run, offered, resolve=resolve)


# Certificates.


@cache
def _key():
    return ec.generate_private_key(ec.SECP256R1())


def _certificate(subject, issuer, *, names=(), days=1, ca=False):
    now = datetime.now(UTC)  # noqa: TID251 - certificates are of today
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(_key().public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(_key().public_key()), critical=False
        )
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    return made.sign(_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Authority:
    """A CA of its own, in a directory."""

    def __init__(self, directory):
        self._directory = directory
        self.file = directory / "ca.pem"
        self.file.write_bytes(_certificate("Test CA", "Test CA", ca=True))

    def tls(self, *names, days=1):
        """A server's context, with a certificate for these names and addresses."""
        subjects = [
            x509.IPAddress(ip_address(each)) if each[0].isdigit() else x509.DNSName(each) for each in names
        ]
        file = self._directory / f"{names[0]}-{days}.pem"
        private = _key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + _certificate("server", "Test CA", names=subjects, days=days))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context
