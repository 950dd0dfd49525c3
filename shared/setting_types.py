"""Kinds of values that settings have, beyond pydantic's own."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

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
    # Only where it is set: it brings the models of all job types, a quarter of what a timer needs to start.
    from shared.job_types.mail_server import mail_server  # noqa: PLC0415

    mail_server(url.get_secret_value())
    return url


def _mail_from(text: str) -> str:
    from shared.job_types.mail_server import senders  # noqa: PLC0415 - as above

    senders(text)
    return text


def _rate_of(value: object) -> object:
    return rate.parse(value) if isinstance(value, str) else value


def _type_rates(value: object) -> object:
    parts = comma_separated(value)
    if not isinstance(parts, list) or not all(isinstance(each, str) for each in parts):
        return parts
    rates = [_type_rate(each) for each in parts]
    if len(dict(rates)) < len(rates):
        raise ValueError("a job type has two rates")
    return rates


def _type_rate(text: str) -> tuple[str, Rate]:
    job_type, _, said = text.partition("=")
    found = rate.parse(said)
    if not re.fullmatch(r"[\w.:/-]{1,200}", job_type) or found == rate.OFF:
        raise ValueError("not a job type and its rate")
    return job_type, found


Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(comma_separated)]
SmtpUrl = Annotated[SecretStr, AfterValidator(_smtp)]
MailFrom = Annotated[str, AfterValidator(_mail_from)]
TypeRates = Annotated[tuple[tuple[str, Rate], ...], BeforeValidator(_type_rates)]
RateText = Annotated[Rate, BeforeValidator(_rate_of)]
RATE_RIGHT = (
    "so many requests at once, earned back within a second, minute or hour: 100/s, 6000/m, 9999/h; or off"
)
