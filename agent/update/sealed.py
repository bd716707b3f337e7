"""A CRC around what is kept on the disk, so that a torn or rotten file reads as absent and never as something else."""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


def seal(value: msgspec.Struct) -> bytes:
    """Return `value` as bytes to be kept: eight hex digits of CRC-32, a newline, JSON, a newline."""
    body = msgspec.json.encode(value)
    return b"%08x\n%s\n" % (zlib.crc32(body), body)


def unseal(data: bytes, kind: type[S]) -> S | None:
    """Return the value of type `kind` sealed in `data`; None when it is torn, changed or of another kind."""
    crc, _, rest = data.partition(b"\n")
    body, end = rest[:-1], rest[-1:]
    if end != b"\n" or crc != b"%08x" % zlib.crc32(body):
        return None
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
