"""Bytes to messages and back: msgpack for summaries, JSON for control.

Typed msgspec maps: unknown fields are skipped (a newer sender is understood), a missing, ill-typed or out-of-bounds one is
BadMessage.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from contract.bounds import Count
from contract.errors import BadMessage
from contract.messages import WIRE_VERSION, Summary

M = TypeVar("M", bound=msgspec.Struct)

# RecursionError: "[[[[..." in a field that nobody even reads.
_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


class SummaryKey(msgspec.Struct, frozen=True):
    """Which summary of whom: the part of a header that an acknowledgement is made of."""

    station: str
    boot: str
    seq: Count
    v: int = WIRE_VERSION


class _Keyed(msgspec.Struct):
    header: SummaryKey


_pack = msgspec.msgpack.Encoder()
_unpack_summary = msgspec.msgpack.Decoder(Summary)
_unpack_key = msgspec.msgpack.Decoder(_Keyed)
_to_json = msgspec.json.Encoder()


def encode_summary(summary: Summary) -> bytes:
    """Return `summary` as msgpack."""
    return _pack.encode(summary)


def decode_summary(payload: bytes) -> Summary:
    """Return the summary in `payload`.

    Raises:
        BadMessage: it is no summary, or its version is newer than this reader understands.
    """
    try:
        summary = _unpack_summary.decode(payload)
    except _UNREADABLE as error:
        raise BadMessage(f"{len(payload)} bytes are no summary: {error}") from error
    _check_version(summary.header.v)
    return summary


def decode_summary_key(payload: bytes) -> SummaryKey | None:
    """Return which summary `payload` is, though the rest of it be unreadable; None where even that cannot be told.

    Of another version it is never told: a station keeps what this side cannot read yet, until it is updated.
    """
    try:
        key = _unpack_key.decode(payload).header
    except _UNREADABLE:
        return None
    return key if key.v == WIRE_VERSION else None


def encode_control(message: msgspec.Struct) -> bytes:
    """Return a control message as JSON."""
    return _to_json.encode(message)


def decode_control(payload: bytes, kind: type[M]) -> M:
    """Return the control message of type `kind` in `payload`.

    Raises:
        BadMessage: it is none, or its version is newer than this reader understands.
    """
    try:
        message = msgspec.json.decode(payload, type=kind)
    except _UNREADABLE as error:
        raise BadMessage(f"{len(payload)} bytes are no {kind.__name__}: {error}") from error
    _check_version(getattr(message, "v", WIRE_VERSION))
    return message


def _check_version(version: int) -> None:
    if version != WIRE_VERSION:
        raise BadMessage(f"message version {version} is not {WIRE_VERSION}", hint="update this side first")
