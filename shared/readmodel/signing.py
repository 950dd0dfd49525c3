"""Signed checkpoints: where the chain of each partition stood at a time, signed with Ed25519 (RFC 8032).

Whoever has a checkpoint and the public key finds any later change of what was before it: each link is a hash over all
events up to it. The signature is over CONTEXT and the document without its `signature`, as JSON in ASCII with sorted
keys and no blanks. Never change that: checkpoints are kept for years, and checked by others.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTEXT = b"daybook checkpoint 1\n"
FORMAT = 1


class BadCheckpoint(ValueError):  # noqa: N818 - a finding
    """A checkpoint isn't what its signer signed, or a key is none; the message says which."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where the chain of a partition stands: its last event, and that one's link, hex."""

    partition: int
    epoch: int
    pos: int
    id: str
    chain: str

    @property
    def place(self) -> str:
        """`<partition>:<epoch>-<pos>`."""
        return f"{self.partition}:{self.epoch}-{self.pos}"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All heads of a deployment at a time.

    Attributes:
        deployment: its prefix.
        partitions: how many it has; one that was never opened has no head.
        signed_at: RFC 3339, by the signer's clock.
        public_key: of the signer, raw, base64: to find the right one, not to trust it.
        signature: base64.
    """

    format: int = FORMAT
    algorithm: Literal["Ed25519"] = "Ed25519"
    deployment: str
    partitions: int
    signed_at: str
    heads: tuple[Head, ...]
    public_key: str
    signature: str = ""


def signed(
    heads: Sequence[Head], *, deployment: str, partitions: int, signed_at: str, key: Ed25519PrivateKey
) -> Checkpoint:
    """A checkpoint of these heads."""
    bare = Checkpoint(
        deployment=deployment,
        partitions=partitions,
        signed_at=signed_at,
        heads=tuple(heads),
        public_key=_base64(key.public_key().public_bytes_raw()),
    )
    return msgspec.structs.replace(bare, signature=_base64(key.sign(_canonical(bare))))


def checked(data: bytes, public_key: Ed25519PublicKey) -> Checkpoint:
    """The checkpoint in `data`, if the owner of the key has signed it.

    Raises:
        BadCheckpoint: it is none, or was changed, or somebody else has signed it.
    """
    try:
        checkpoint = msgspec.json.decode(data, type=Checkpoint)
        signature = base64.b64decode(checkpoint.signature, validate=True)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadCheckpoint(f"This is no signed checkpoint: {error}") from None
    if checkpoint.format != FORMAT:
        raise BadCheckpoint(f"The checkpoint has format {checkpoint.format}; this build reads {FORMAT}.")
    try:
        public_key.verify(signature, _canonical(checkpoint))
    except InvalidSignature:
        other = checkpoint.public_key != _base64(public_key.public_bytes_raw())
        reason = "it says it was signed with another key" if other else "it was changed after it was signed"
        raise BadCheckpoint(f"The signature is not that of this key: {reason}.") from None
    return checkpoint


def document(checkpoint: Checkpoint) -> dict[str, Any]:
    """As JSON."""
    made: dict[str, Any] = msgspec.to_builtins(checkpoint)
    return made


def _canonical(checkpoint: Checkpoint) -> bytes:
    told = {name: value for name, value in document(checkpoint).items() if name != "signature"}
    return CONTEXT + json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Keys, in PEM files.


def new_key() -> tuple[bytes, bytes]:
    """A private key and its public one, as PEM: PKCS 8, and SubjectPublicKeyInfo."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """The private key in a PEM file without a password.

    Raises:
        BadCheckpoint: there is none of Ed25519.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadCheckpoint(f"The key that signs is no PEM of a private key: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadCheckpoint("The key that signs is not one of Ed25519: `daybook audit key` makes one.")
    return key


def public_key(pem: bytes) -> Ed25519PublicKey:
    """The public key in a PEM file.

    Raises:
        BadCheckpoint: there is none of Ed25519.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadCheckpoint(f"The public key is no PEM of one: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadCheckpoint("The public key is not one of Ed25519.")
    return key
