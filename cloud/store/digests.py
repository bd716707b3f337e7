"""What a stored payload is told by, once it is gone or merged."""

from __future__ import annotations

import hashlib
import zlib


def digest_of(payload: bytes) -> bytes:
    """Return eight bytes that tell contents of one name apart: CRC-32 and Adler-32, half the work of a cryptographic hash.

    They need not withstand an attacker: only who speaks for a station chooses the contents of its names, and harms nobody else.
    """
    return zlib.crc32(payload).to_bytes(4, "big") + zlib.adler32(payload).to_bytes(4, "big")


def first_digest(payload: bytes) -> bytes:
    """Return the digest that revision 0002 put into `seen`."""
    return hashlib.blake2b(payload, digest_size=8).digest()
