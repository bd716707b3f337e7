"""Signed gap records: a station's word that it gave something up (DESIGN 5).

Both sides know SHA-256(token): the station has the token, the cloud keeps the digest. From it comes a key of its own for gap
records, and HMAC-SHA-256 (RFC 2104) over what the record says. Nobody who only speaks on the broker can make one.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from contract.messages import Summary

_PURPOSE = b"plumbline gap record v1"
_canonical = msgspec.msgpack.Encoder(order="deterministic")


def gap_key(token: str) -> bytes:
    """Return the key, bytes[32], by which a station with `token` signs its gap records."""
    return gap_key_of_digest(hashlib.sha256(token.encode()).hexdigest())


def gap_key_of_digest(token_sha256: str) -> bytes:
    """Return the same key from the lower-case hex SHA-256 of the token."""
    return hmac.digest(token_sha256.encode(), _PURPOSE, "sha256")


def sign_gap(summary: Summary, key: bytes) -> Summary:
    """Return `summary` with its gap signed; one without a gap comes back as it is."""
    if summary.gap is None:
        return summary
    return msgspec.structs.replace(
        summary, gap=msgspec.structs.replace(summary.gap, signature=_signature(summary, key))
    )


def is_gap_signed(summary: Summary, key: bytes) -> bool:
    """Return whether the gap of `summary` was signed with `key`, as it stands."""
    return summary.gap is not None and hmac.compare_digest(
        summary.gap.signature.encode(), _signature(summary, key).encode()
    )


def _signature(summary: Summary, key: bytes) -> str:
    gap, header = summary.gap, summary.header
    assert gap is not None
    said = (
        (header.station, header.boot, header.seq, header.camera, header.started_at, header.ended_at),
        summary.covers,
        summary.accounting,
        (gap.windows, gap.why),
    )
    return hmac.digest(key, _canonical.encode(said), "sha256").hex()
