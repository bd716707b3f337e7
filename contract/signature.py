"""Signed orders, settings and order keys: DSSE envelopes with Ed25519 (DESIGN 6, the order side).

Signing needs `cryptography` (cloud only). Verifying does not: without it securesystemslib verifies Ed25519 in plain Python, so
a station carries no compiled cryptography for it.
Source: DSSE 1.0, https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

# securesystemslib exports these without __all__, which mypy --strict does not follow.
from securesystemslib.signer import Key, Signature, Signer, SSlibKey  # type: ignore[attr-defined]

from contract.errors import BadOrder
from contract.messages import WIRE_VERSION, ConfigOrder, Order, OrderKeys

ORDER_TYPE = "application/vnd.plumbline.order+json"
CONFIG_TYPE = "application/vnd.plumbline.config+json"
ORDER_KEYS_TYPE = "application/vnd.plumbline.order-keys+json"
MAX_ENVELOPE_CHARS = 64 * 1024

P = TypeVar("P", Order, ConfigOrder, OrderKeys)


class OrderKey(msgspec.Struct, frozen=True):
    """The public half of an order key, pinned at a station's provisioning. `public` is the raw Ed25519 key in hex."""

    keyid: str
    public: str


class _WireSignature(msgspec.Struct, frozen=True):
    keyid: str
    sig: str


class _WireEnvelope(msgspec.Struct, frozen=True, rename={"payload_type": "payloadType"}):
    payload: str
    payload_type: str
    signatures: tuple[_WireSignature, ...]


def sign_order(order: Order, signer: Signer) -> str:
    """Return `order` in a DSSE envelope signed by `signer`, as JSON text."""
    return _sign(order, ORDER_TYPE, signer)


def sign_configuration(order: ConfigOrder, signer: Signer) -> str:
    """Return `order` in a DSSE envelope signed by `signer`, as JSON text."""
    return _sign(order, CONFIG_TYPE, signer)


def sign_order_keys(keys: OrderKeys, signer: Signer) -> str:
    """Return `keys` in a DSSE envelope signed by `signer`, the key that stations know so far, as JSON text."""
    return _sign(keys, ORDER_KEYS_TYPE, signer)


def verify_order(envelope_text: str, keys: Sequence[OrderKey]) -> Order:
    """Return the order in `envelope_text` when one of `keys` signed it.

    Nothing of the payload is looked at before its signature holds.

    Raises:
        BadOrder: it is no envelope, of another payload type, signed by none of `keys`, or its payload is no order.
    """
    return _verify(envelope_text, ORDER_TYPE, Order, keys)


def verify_configuration(envelope_text: str, keys: Sequence[OrderKey]) -> ConfigOrder:
    """Return the settings in `envelope_text` when one of `keys` signed them; raises like `verify_order`."""
    return _verify(envelope_text, CONFIG_TYPE, ConfigOrder, keys)


def verify_order_keys(envelope_text: str, keys: Sequence[OrderKey]) -> OrderKeys:
    """Return the new order keys in `envelope_text` when one of `keys` signed them; raises like `verify_order`."""
    return _verify(envelope_text, ORDER_KEYS_TYPE, OrderKeys, keys)


def _sign(payload: msgspec.Struct, payload_type: str, signer: Signer) -> str:
    envelope = Envelope(msgspec.json.encode(payload), payload_type, {})
    signature = envelope.sign(signer)
    wire = _WireEnvelope(
        payload=b64encode(envelope.payload).decode(),
        payload_type=payload_type,
        signatures=(_WireSignature(signature.keyid, b64encode(bytes.fromhex(signature.signature)).decode()),),
    )
    return msgspec.json.encode(wire).decode()


def _verify(envelope_text: str, payload_type: str, kind: type[P], keys: Sequence[OrderKey]) -> P:
    if len(envelope_text) > MAX_ENVELOPE_CHARS:
        raise BadOrder(f"an order envelope of {len(envelope_text)} characters")
    try:
        wire = msgspec.json.decode(envelope_text, type=_WireEnvelope)
        payload = b64decode(wire.payload, validate=True)
        signatures = {
            each.keyid: Signature(each.keyid, b64decode(each.sig, validate=True).hex()) for each in wire.signatures
        }
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError) as error:
        raise BadOrder(f"no order envelope: {error}") from error
    # The type is inside what is signed, so an envelope signed for another purpose never counts as an order.
    if wire.payload_type != payload_type:
        raise BadOrder(f"payload type '{wire.payload_type[:80]}' is not '{payload_type}'")
    if len(signatures) != len(wire.signatures):
        raise BadOrder("a key signed the order twice")
    _check_signature(Envelope(payload, wire.payload_type, signatures), keys)
    try:
        signed = msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadOrder(f"a signed payload that is no order: {error}") from error
    if signed.v != WIRE_VERSION:
        raise BadOrder(f"order version {signed.v} is not {WIRE_VERSION}", hint="update the agent first")
    return signed


def _check_signature(envelope: Envelope, keys: Sequence[OrderKey]) -> None:
    public: list[Key] = [SSlibKey(key.keyid, "ed25519", "ed25519", {"public": key.public}) for key in keys]
    if not public:
        raise BadOrder("no order key is pinned", hint="provision the station with the cloud's order_key.json")
    try:
        envelope.verify(public, 1)
    except (VerificationError, ValueError) as error:
        known = ", ".join(key.keyid[:12] for key in keys)
        raise BadOrder(
            "the order carries no valid signature by a pinned key",
            hint=f"pinned here: {known}; provision the station with the order_key.json of the cloud that sent it",
        ) from error
