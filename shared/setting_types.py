"""Kinds of values that settings have, beyond pydantic's own."""

import ipaddress
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from shared import rate
from shared.rate import Rate


def comma_separated(value: object) -> object:
    """The parts of a text, each once; anything else as it is."""
    if not isinstance(value, str):
        return value
    return list(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> Network:
    network = ipaddress.ip_network(text)
    if network.prefixlen == 0:
        raise ValueError("everybody is no proxy")
    return network


def _networks(value: object) -> object:
    parts = comma_separated(value)
    return (
        [_network(each) if isinstance(each, str) else each for each in parts]
        if isinstance(parts, list)
        else parts
    )


def _origin(text: str) -> str:
    parts = urlsplit(text)
    port = parts.port  # raises ValueError where it is no number
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    plain = f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
    if parts.scheme not in {"http", "https"} or not parts.hostname or text != plain or "*" in text:
        raise ValueError("not an origin as browsers send it")
    return text


def _smtp(url: SecretStr) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    said = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    starttls = said.pop("starttls", ["auto"])
    wrong = (
        parts.scheme not in {"smtp", "smtps"}
        or not parts.hostname
        or parts.path not in {"", "/"}
        or parts.fragment
        or said
        or starttls[1:]
        or starttls[0] not in {"required", "auto", "off"}
        or (parts.scheme == "smtps" and "starttls" in parts.query)
    )
    if wrong or parts.port == 0:
        raise ValueError("no such address")  # without its text, which may hold a password
    return url


def _rate_of(value: object) -> object:
    return rate.parse(value) if isinstance(value, str) else value


Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(comma_separated)]
SmtpUrl = Annotated[SecretStr, AfterValidator(_smtp)]
MailAddress = Annotated[str, Field(pattern=r"^[^\s@<>,;:\"()\[\]\\]+@[A-Za-z0-9.-]+$", max_length=254)]
RateText = Annotated[Rate, BeforeValidator(_rate_of)]
RATE_RIGHT = (
    "so many requests at once, earned back within a second, minute or hour: 100/s, 6000/m, 9999/h; or off"
)
