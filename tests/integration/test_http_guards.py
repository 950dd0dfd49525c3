"""What keeps `http_request` from where it must not go: addresses, resolvers, redirects, certificates."""

import asyncio
import socket
import threading
from ipaddress import ip_network

import pytest

from services.executor import web, web_guard
from services.executor.handlers.http_request_answer import UnexpectedStatus
from services.executor.handlers.http_request_question import RedirectRefused
from services.executor.web import NotConnected, NotPublic, UnfitRequest, UntrustedCertificate
from services.executor.web_guard import NameNotFound, look_up
from services.executor.webhook_signature import signature
from shared.testing import wait_until
from tests.integration.web_kit import LOOPBACK, Authority, answer, ask, names, serving

ONE = ("127.0.0.2/32",)


def networks(*texts):
    return tuple(map(ip_network, texts))


# Addresses.


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "localhost.", "[::1]", "0.0.0.0"],  # noqa: S104
)
async def test_a_server_of_this_machine_is_not_asked(host):
    async with serving(answer(200, b"treasure")) as treasure:
        with pytest.raises(UnfitRequest, match="not public"):
            await ask(f"http://{host}:{treasure.port}/", networks=())
    assert treasure.connections == 0


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fe80::1%1", "fd00::1", "100.64.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "0.0.0.0", "224.0.0.1",  # noqa: S104
    ],
)  # fmt: skip
async def test_a_name_that_leads_inward_is_refused_after_it_was_looked_up(address):
    async with serving(answer(200, b"treasure")) as treasure:
        with pytest.raises(NotPublic, match=r"evil.example leads to an address that is not public"):
            await ask(f"http://evil.example:{treasure.port}/", networks=(), resolve=names(evil=[address]))
    assert treasure.connections == 0


async def test_a_refusal_tells_no_address(caplog):
    with pytest.raises(NotPublic) as refused:
        await ask("http://intern.example/", networks=(), resolve=names(intern=["10.20.30.40"]))
    assert "10.20" not in str(refused.value)


async def test_one_inward_address_among_public_ones_spoils_all():
    mixed = names(evil=["127.0.0.2", "127.0.0.1"])
    async with serving(answer(200, b"treasure")) as treasure:
        with pytest.raises(NotPublic):
            await ask(f"http://evil.example:{treasure.port}/", networks=networks(*ONE), resolve=mixed)
    assert treasure.connections == 0


async def test_what_the_operator_allows_is_reached_by_its_name():
    async with serving(answer(200, b"inside")) as site:
        told = {"networks": LOOPBACK, "resolve": names(intern=["127.0.0.1"])}
        assert (await ask(f"http://intern.example:{site.port}/", **told))["body"] == "inside"
    assert site.heard[0].headers["host"] == f"intern.example:{site.port}"


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_an_ipv6_address_is_asked_in_brackets():
    async with serving(answer(200, b"six"), host="::1") as site:
        result = await ask(f"http://[::1]:{site.port}/", networks=networks("::1/128"))
    assert (result["body"], site.heard[0].headers["host"]) == ("six", f"[::1]:{site.port}")


async def test_a_name_without_an_address_is_retried():
    with pytest.raises(NameNotFound):
        await ask("http://nobody.example/", resolve=names(nobody=[]))


# A resolver that changes its answer.


async def test_a_resolver_that_changes_its_answer_leads_nowhere(monkeypatch):
    """Whoever looks the name up again for the connection is led to the treasure: nobody does."""
    async with (
        serving(answer(200, b"allowed"), host="127.0.0.2") as allowed,
        serving(answer(200, b"treasure"), host="127.0.0.1", port=allowed.port) as treasure,
    ):
        really, asked = socket.getaddrinfo, []

        def rebinding(host, *args, **options):
            if host not in {"rebind.example", b"rebind.example"}:
                return really(host, *args, **options)
            asked.append(host)
            return really("127.0.0.2" if len(asked) == 1 else "127.0.0.1", *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        url = f"http://rebind.example:{allowed.port}/"
        assert (await ask(url, networks=networks(*ONE)))["body"] == "allowed"
        with pytest.raises(NotPublic):  # the next attempt looks it up anew, and judges anew
            await ask(url, networks=networks(*ONE))
    assert asked == ["rebind.example"] * 2
    assert (allowed.connections, treasure.connections) == (1, 0)


async def test_a_redirect_to_the_same_name_is_judged_anew_when_it_connects_anew():
    def again(_):
        return answer(307, location="/again", connection="close")

    async with (
        serving(again, host="127.0.0.2") as allowed,
        serving(answer(200, b"treasure"), port=allowed.port) as treasure,
    ):
        rebinding = names(rebind=[["127.0.0.2"], ["127.0.0.1"]])
        with pytest.raises(NotPublic):
            await ask(
                f"http://rebind.example:{allowed.port}/",
                networks=networks(*ONE),
                resolve=rebinding,
                follow_redirects=True,
            )
    assert (len(rebinding.asked), allowed.connections, treasure.connections) == (2, 1, 0)


async def test_the_machines_own_resolver_is_asked():
    assert {str(each) for each in await look_up("localhost")} & {"127.0.0.1", "::1"}
    with pytest.raises(NameNotFound, match=r"no-such-name.invalid was not found"):
        await look_up("no-such-name.invalid")


async def test_a_silent_resolver_holds_up_neither_the_timeout_nor_those_with_a_thread(monkeypatch):
    silent, really = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host, *args, **options):
        if host == "silent.example":
            silent.wait(30)
        return really("127.0.0.1" if host.endswith(".example") else host, *args, **options)

    monkeypatch.setattr(web_guard.socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(web_guard, "_lookups", threading.BoundedSemaphore(2))
    try:
        with pytest.raises(TimeoutError, match=r"did not answer within 0\.2 s"):
            await ask("http://silent.example/", timeout_seconds=0.2)
        assert [str(each) for each in await look_up("quick.example")] == ["127.0.0.1"]
        stuck = asyncio.create_task(look_up("silent.example"))
        await wait_until(lambda: not web_guard._lookups._value, "both threads wait")
        waits = asyncio.create_task(look_up("quick.example"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waits), 0.2)
    finally:
        silent.set()
    assert [str(each) for each in await waits] == [str(each) for each in await stuck] == ["127.0.0.1"]


# Redirects.


async def test_a_redirect_is_not_followed_unless_the_job_says_so():
    async with serving(answer(302, location="/there?t=1")) as site:
        with pytest.raises(
            UnexpectedStatus, match=r"answered 302 .*leads on to /there: follow_redirects is off"
        ):
            await ask(site.url)
    assert len(site.heard) == 1


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET"), (301, "PUT", "PUT"),
        (307, "POST", "POST"), (308, "POST", "POST"), (302, "GET", "GET"), (303, "HEAD", "HEAD"),
    ],
)  # fmt: skip
async def test_a_redirect_is_followed_as_the_standard_says(status, method, then):
    def say(heard):
        return answer(status, location="there") if heard.target == "/a/here" else answer()

    async with serving(say) as site:
        body = {"body": "text"} if method in {"POST", "PUT"} else {}
        result = await ask(f"{site.url}/a/here", method=method, follow_redirects=True, **body)
    first, second = site.heard
    assert (second.method, second.target) == (then, "/a/there")
    assert second.body == (first.body if then == method else b"")
    assert ("content-type" in second.headers) == bool(second.body)
    assert second.headers["idempotency-key"] == "run-1"
    assert (result["redirects"], result["url"]) == (1, f"{site.url}/a/there")


async def test_five_redirects_are_followed_and_no_sixth():
    def say(heard):
        n = int(heard.target[1:])
        return answer(302, location=f"/{n + 1}") if n < end else answer()

    async with serving(say) as site:
        end = 5
        assert (await ask(f"{site.url}/0", follow_redirects=True))["redirects"] == 5
        end = 6
        with pytest.raises(RedirectRefused, match="more than 5 times"):
            await ask(f"{site.url}/0", follow_redirects=True)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http://localhost:{port}/", "http://2130706433:{port}/",
        "http://0x7f.1:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://evil.example:{port}/",
        "http:\\\\127.0.0.1:{port}/", "/\\127.0.0.1:{port}/", "http://a@127.0.0.1:{port}/", "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/", "http://169.254.169.254/latest/meta-data/", "", "http://[::1", "http://a b/",
    ],
)  # fmt: skip
async def test_a_redirect_does_not_lead_inward(location):
    async with serving(answer(200, b"treasure")) as treasure:
        lead = answer(302, location=location.format(port=treasure.port))
        async with serving(lead, host="127.0.0.2") as allowed:
            with pytest.raises((NotPublic, RedirectRefused)):
                await ask(
                    allowed.url,
                    networks=networks(*ONE),
                    resolve=names(evil=["127.0.0.1"], localhost=["127.0.0.1"]),
                    follow_redirects=True,
                )
    assert (allowed.connections, treasure.connections) == (1, 0)


SECRETS = {
    "headers": {
        "X-Token": {"$secret": "KEY"},
        "X-Plain": "p",
        "Accept-Language": "pl",
        "Accept": {"$secret": "KEY"},
    },
    "auth": {"bearer": {"$secret": "KEY"}},
    "signing": {"key": {"$secret": "KEY"}},
    "query": {"token": {"$secret": "KEY"}},
}


async def test_nothing_secret_goes_to_another_server_nor_comes_back_from_it():
    async with (
        serving(
            lambda heard: answer() if heard.target == "/end" else answer(307, location=f"{two.url}/x")
        ) as one,
        serving(lambda _: answer(307, location=f"{one.url}/end")) as two,
    ):
        await ask(
            one.url, secrets={"KEY": "k-1234"}, method="POST", body="b", follow_redirects=True, **SECRETS
        )
    first, last = one.heard
    (other,) = two.heard
    assert "k-1234" in first.headers["authorization"]
    assert "webhook-signature" in first.headers
    for heard in (other, last):
        assert set(heard.headers) == {
            "host", "accept-encoding", "accept-language", "content-length", "content-type", "idempotency-key",
            "user-agent",
        }  # fmt: skip
        assert "k-1234" not in repr(heard)
        assert heard.body == b"b"


async def test_to_the_same_server_all_goes_along():
    say = lambda heard: answer() if heard.target == "/end" else answer(307, location="/end")  # noqa: E731
    async with serving(say) as site:
        await ask(
            site.url, secrets={"KEY": "k-1234"}, method="POST", body="b", follow_redirects=True, **SECRETS
        )
    first, second = site.heard
    assert first.headers == second.headers


@pytest.mark.parametrize("body", [{"json": {"a": [{"$secret": "KEY"}]}}, {"body": {"$secret": "KEY"}}])
async def test_a_body_with_a_secret_stays_with_its_server(body):
    async with serving(answer()) as other, serving(answer(308, location=other.url)) as site:
        with pytest.raises(RedirectRefused, match="the body holds a secret"):
            await ask(site.url, secrets={"KEY": "k-1234"}, method="POST", follow_redirects=True, **body)
    assert other.connections == 0


@pytest.mark.parametrize(("status", "signed"), [(303, b""), (307, b"text")])
async def test_what_a_redirect_makes_of_the_request_is_signed(status, signed):
    def say(heard):
        return answer() if heard.target == "/end" else answer(status, location="/end")

    async with serving(say) as site:
        signing = {"key": {"$secret": "KEY"}}
        await ask(
            site.url, secrets={"KEY": "k"}, method="POST", body="text", signing=signing, follow_redirects=True
        )
    sent = site.heard[1].headers
    told = {"message_id": "run-1", "timestamp": int(sent["webhook-timestamp"]), "body": signed}
    assert (site.heard[1].body, sent["webhook-signature"]) == (signed, signature("k", **told))


# TLS.


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


async def test_a_name_is_asked_by_tls_at_its_judged_address_with_its_own_certificate(authority):
    async with serving(answer(200, b"safe"), tls=authority.tls("shop.example")) as site:
        result = await ask(
            f"https://shop.example:{site.port}/",
            resolve=names(shop=["127.0.0.1"]),
            ca_file=authority.file,
        )
    assert result["body"] == "safe"
    assert site.server_names == ["shop.example"]
    assert site.heard[0].headers["host"] == f"shop.example:{site.port}"


async def test_an_address_may_have_a_certificate_too(authority):
    async with serving(answer(), tls=authority.tls("127.0.0.1")) as site:
        assert (await ask(site.url, ca_file=authority.file))["status"] == 200


@pytest.mark.parametrize(
    ("name", "days", "trusted"),
    [("other.example", 1, True), ("shop.example", -1, True), ("shop.example", 1, False)],
)
async def test_a_certificate_that_is_not_right_is_given_up(authority, name, days, trusted):
    async with serving(answer(), tls=authority.tls(name, days=days)) as site:
        with pytest.raises(UntrustedCertificate, match=r"the certificate of shop.example"):
            await ask(
                f"https://shop.example:{site.port}/",
                resolve=names(shop=["127.0.0.1"]),
                ca_file=authority.file if trusted else None,
            )
    assert site.heard == []


async def test_a_file_of_certificates_that_is_none_is_named(tmp_path):
    (tmp_path / "none.pem").write_text("none")
    for file in (tmp_path / "none.pem", tmp_path / "missing.pem"):
        with pytest.raises(OSError, match=f"DAYBOOK_HTTP_CA_FILE {file} can't be read"):
            await ask("https://127.0.0.1:9999/", ca_file=file)


async def test_a_server_that_speaks_no_tls_is_retried():
    async def plain(_, writer):
        writer.write(answer(400))
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotConnected, match="can't be reached"):
            await ask(f"https://127.0.0.1:{port}/")


async def test_a_server_that_says_nothing_to_tls_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(web, "CONNECT_S", 0.1)
    async with serving(answer()) as site:
        with pytest.raises(NotConnected, match="it does not answer"):
            await ask(site.url.replace("http:", "https:"), timeout_seconds=10)


async def test_a_redirect_does_not_lead_from_tls_to_plain_http(authority):
    async with serving(answer(), host="127.0.0.1") as plain:
        lead = answer(302, location=plain.url)
        async with serving(lead, tls=authority.tls("127.0.0.1")) as site:
            with pytest.raises(RedirectRefused, match="plain http"):
                await ask(site.url, ca_file=authority.file, follow_redirects=True)
    assert plain.connections == 0
