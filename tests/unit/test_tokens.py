"""Tokens: what is believed, and what is not. Real keys and signatures; only the clock is ours."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from services.api import jwks as module
from services.api.jwks import Jwks
from services.api.principal import Principal
from services.api.tokens import BadToken, Claims, KeysAway, Tokens

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
SECRET = "s" * 64
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
GOOD = {
    "sub": "ann",
    "tenant": "acme",
    "role": "editor",
    "iss": "daybook",
    "aud": "daybook",
    "exp": NOW_S + 60,
}
ANN = Claims("ann", "acme", "editor", "")


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def monotonic(self):
        return self.now_s


def public(algorithm, key, kid, **more):
    return json.loads(algorithm.to_jwk(key.public_key())) | {"kid": kid, "use": "sig"} | more


SET = [
    public(RSAAlgorithm, RSA, "r"),
    public(ECAlgorithm, EC, "e"),
    public(ECAlgorithm, P384, "p384"),
    {"kty": "oct", "k": "c2VjcmV0", "kid": "o"},
]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": SET}))
    return path


@pytest.fixture
def tokens(file, clock):
    return Tokens(secret=SECRET, jwks=Jwks(str(file), clock), issuer="daybook", audience="daybook")


def signed(key=SECRET, algorithm="HS256", kid=None, /, **changes):
    told = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return jwt.encode(told, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def part(tree):
    return base64.urlsafe_b64encode(json.dumps(tree).encode()).rstrip(b"=").decode()


async def refused(tokens, text):
    with pytest.raises(BadToken) as caught:
        await tokens.claims(text, NOW)
    return str(caught.value)


async def test_each_algorithm_is_checked_with_its_own_key(tokens):
    assert await tokens.claims(signed(), NOW) == ANN
    assert await tokens.claims(signed(RSA, "RS256", "r"), NOW) == ANN
    assert await tokens.claims(signed(EC, "ES256", "e"), NOW) == ANN


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None])
async def test_an_unsigned_token_is_refused(tokens, algorithm):
    assert "is not accepted" in await refused(tokens, f"{part({'alg': algorithm})}.{part(GOOD)}.")


async def test_a_public_key_is_no_secret(tokens):
    pem = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for kid in ("r", None):
        head = part({"alg": "HS256", "typ": "JWT"} | ({"kid": kid} if kid else {}))
        text = f"{head}.{part(GOOD)}"
        mac = hmac.new(pem, text.encode(), hashlib.sha256).digest()
        sealed = f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert "InvalidSignature" in await refused(tokens, sealed)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        ("t" * 40, "HS256", None),
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256", "r"),
        (RSA, "RS256", "e"),
        (EC, "ES256", "r"),
        (RSA, "RS256", "nobody's"),
        (RSA, "RS256", None),
        (RSA, "RS512", "r"),
        (RSA, "PS256", "r"),
        (P384, "ES384", "p384"),
        (SECRET, "HS512", None),
    ],
)
async def test_another_key_or_algorithm_is_refused(tokens, key, algorithm, kid):
    await refused(tokens, signed(key, algorithm, kid))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": NOW_S - 30},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1e300},
        {"nbf": NOW_S + 31},
        {"iat": NOW_S + 31},
        {"iss": "others"},
        {"iss": None},
        {"aud": "others"},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "timer"},
        {"sub": "a\nb"},
        {"tenant": None},
        {"tenant": 7},
        {"tenant": "a/b"},
        {"role": None},
        {"role": "root"},
        {"role": ["admin"]},
        {"key": 7},
    ],
)
async def test_what_a_token_says_must_be_whole_and_for_us(tokens, changes):
    await refused(tokens, signed(**changes))


@pytest.mark.parametrize("changes", [{"exp": NOW_S - 29}, {"nbf": NOW_S + 30}, {"aud": ["x", "daybook"]}])
async def test_clocks_may_differ_by_half_a_minute(tokens, changes):
    assert await tokens.claims(signed(**changes), NOW) == ANN


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "x" * 9000, f"{part([])}.{part(GOOD)}.x", "é.é.é"])
async def test_what_is_no_token_is_refused(tokens, text):
    await refused(tokens, text)


async def test_without_a_secret_or_a_key_set_nothing_is_believed():
    tokens = Tokens(secret=None, jwks=None, issuer="daybook", audience="daybook")
    for text in (signed(), signed(RSA, "RS256", "r"), signed(EC, "ES256", "e")):
        assert "is not accepted" in await refused(tokens, text)


async def test_a_token_of_ours_is_believed_for_15_minutes(tokens):
    principal = Principal(id="ann", tenant="acme", role="editor", kind="key", key_hash="ab")
    text = tokens.issue(principal, NOW)
    assert await tokens.claims(text, NOW + timedelta(minutes=15)) == Claims("ann", "acme", "editor", "ab")
    with pytest.raises(BadToken, match="expired"):
        await tokens.claims(text, NOW + timedelta(minutes=15, seconds=30))


async def test_a_new_key_is_found_and_unknown_ones_are_not_asked_for_each_time(
    tokens, file, clock, monkeypatch
):
    asked = []
    read = module.parsed
    monkeypatch.setattr(module, "parsed", lambda text: asked.append(1) or read(text))
    text = signed(RSA, "RS256", "new")
    for _ in range(20):
        await refused(tokens, text)
    assert len(asked) == 1
    file.write_text(json.dumps({"keys": [public(RSAAlgorithm, RSA, "new")]}))
    await refused(tokens, text)
    clock.now_s += module.ASK_AGAIN_S
    assert await tokens.claims(text, NOW) == ANN
    assert len(asked) == 2


async def test_a_key_that_its_issuer_withdrew_is_not_believed_for_long(tokens, file, clock):
    text = signed(RSA, "RS256", "r")
    assert await tokens.claims(text, NOW) == ANN
    file.write_text(json.dumps({"keys": []}))
    clock.now_s += module.KEPT_S + 1
    await refused(tokens, text)


async def test_a_key_set_that_can_not_be_read_is_trouble_and_no_judgement(tokens, file, clock):
    text = signed(RSA, "RS256", "r")
    await tokens.claims(text, NOW)
    file.unlink()
    clock.now_s += module.ASK_AGAIN_S
    await refused(tokens, signed(RSA, "RS256", "other"))
    assert await tokens.claims(text, NOW) == ANN  # what is known is good for a while
    clock.now_s += module.KEPT_S
    with pytest.raises(KeysAway):
        await tokens.claims(text, NOW)


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
async def test_a_short_rsa_key_is_refused(tokens, file):
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - on purpose
    file.write_text(json.dumps({"keys": [public(RSAAlgorithm, short, "r")]}))
    await refused(tokens, signed(short, "RS256", "r"))


@pytest.mark.parametrize("more", [{"use": "enc"}, {"alg": "RS512"}])
async def test_a_key_for_something_else_is_not_used(tokens, file, more):
    file.write_text(json.dumps({"keys": [public(RSAAlgorithm, RSA, "r", **more)]}))
    await refused(tokens, signed(RSA, "RS256", "r"))
