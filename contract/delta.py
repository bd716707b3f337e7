"""The byte form of a delta between two bundles, `FROM-TO.pld` (OTA-7): a header, and four compressed sections.

A delta says how to write the archive of TO from the archive of FROM, front to back: copy these bytes of FROM, add this residual to
those, or take new ones. Model tensors are what is subtracted; the base is read at the places the ops name, so a device needs no
tensor table and no model format. What an op may reach is bounded here, and the SHA-256 of the outcome is TO's name.

    header     _HEADER, then (packed, unpacked) bytes of each section, then (offset, size) of each prefix range
    OPS        one op after the other: kind and width in one byte, its length, and for COPY and SUBTRACT where in FROM
    TEXT       new bytes that are not tensors; its zstd frame has the prefix ranges of FROM as raw dictionary
    BYTES      residuals and new bytes of tensors of one byte an element
    PLANES     the same of wider elements: blocks of up to BLOCK bytes, in each all lowest bytes first, highest bytes last
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from contract.archive import Readable
from contract.errors import BadBundle
from contract.ids import is_digest

DELTA_SUFFIX = ".pld"
MAX_WINDOW_LOG = 20
"""A decompressor of the largest window takes little more than 1 MiB."""
MAX_OPS = 1 << 16
MAX_PREFIX_BYTES = 512 << 10
MAX_PREFIX_RANGES = 64
BLOCK = 1 << 16
"""Bytes of wide elements that are split into planes at a time."""
_MAGIC = b"PLDELTA\x01"
_HEADER = struct.Struct("<8sBBH32s32sQQI")
_PAIR = struct.Struct("<QQ")
_WIDTHS = (1, 2, 4, 8)


class Section(IntEnum):
    """The sections, in their order."""

    OPS = 0
    TEXT = 1
    BYTES = 2
    PLANES = 3


class OpKind(IntEnum):
    """What an op writes: bytes of FROM, bytes of FROM plus a residual, a tensor's new bytes, other new bytes."""

    COPY = 0
    SUBTRACT = 1
    RAW = 2
    TEXT = 3


@dataclass(frozen=True, slots=True)
class Op:
    """Write `size` bytes. `base` is where in FROM's archive (COPY, SUBTRACT), `width` the bytes of an element (SUBTRACT, RAW)."""

    kind: OpKind
    size: int
    base: int = 0
    width: int = 1


@dataclass(frozen=True, slots=True)
class DeltaHeader:
    """What a delta is. `sections`: (packed, unpacked) bytes; `prefix`: (offset, size) in FROM."""

    from_digest: str
    to_digest: str
    from_size: int
    to_size: int
    n_ops: int
    window_log: int
    sections: tuple[tuple[int, int], ...]
    prefix: tuple[tuple[int, int], ...] = ()


class Ranges(Protocol):
    """Bytes that can be read anywhere."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the `size` bytes at `offset`, or fewer where they end."""


def delta_target(from_digest: str, to_digest: str) -> str:
    """Return the TUF target path of the delta that makes bundle `to_digest` of bundle `from_digest`."""
    return f"deltas/{from_digest}-{to_digest}{DELTA_SUFFIX}"


def delta_ends(target: str) -> tuple[str, str] | None:
    """Return (from digest, to digest) of a delta's target path; None when `target` is no delta."""
    name = target.removeprefix("deltas/").removesuffix(DELTA_SUFFIX)
    ends = name[:64], name[65:]
    return ends if all(map(is_digest, ends)) and delta_target(*ends) == target else None


def encode_header(header: DeltaHeader) -> bytes:
    """Return the bytes a delta begins with."""
    head = _HEADER.pack(
        _MAGIC,
        header.window_log,
        len(header.sections),
        len(header.prefix),
        bytes.fromhex(header.from_digest),
        bytes.fromhex(header.to_digest),
        header.from_size,
        header.to_size,
        header.n_ops,
    )
    return head + b"".join(_PAIR.pack(*pair) for pair in (*header.sections, *header.prefix))


def read_header(delta: Ranges) -> tuple[DeltaHeader, int]:
    """Return (header, its size in bytes); everything in it is within bounds, and the sections end where the delta does.

    Raises:
        BadBundle: it is no delta, of a newer form, or asks for more than an applier gives.
    """
    head = delta.read_at(0, _HEADER.size)
    if len(head) < _HEADER.size or not head.startswith(_MAGIC[:-1]):
        raise BadBundle("no delta", hint="fetch the full bundle")
    magic, window_log, n_sections, n_prefix, origin, goal, from_size, to_size, n_ops = _HEADER.unpack(head)
    if magic != _MAGIC:
        raise BadBundle(f"a delta of version {magic[-1]} is not version {_MAGIC[-1]}", hint="update the agent")
    if window_log > MAX_WINDOW_LOG or n_ops > MAX_OPS or n_sections != len(Section) or n_prefix > MAX_PREFIX_RANGES:
        raise BadBundle("a delta that asks for more than an applier gives", hint="fetch the full bundle")
    table = delta.read_at(_HEADER.size, (n_sections + n_prefix) * _PAIR.size)
    if len(table) != (n_sections + n_prefix) * _PAIR.size:
        raise BadBundle("the delta ends in its header", hint="fetch it again")
    pairs = tuple(_PAIR.iter_unpack(table))
    sections, prefix = pairs[:n_sections], pairs[n_sections:]
    whole = len(head) + len(table) + sum(packed for packed, _ in sections)
    if whole != delta.size:
        raise BadBundle(f"a delta of {whole} bytes is {delta.size} bytes long", hint="fetch it again")
    if any(offset + size > from_size for offset, size in prefix) or sum(s for _, s in prefix) > MAX_PREFIX_BYTES:
        raise BadBundle("a delta whose prefix lies outside its base")
    header = DeltaHeader(origin.hex(), goal.hex(), from_size, to_size, n_ops, window_log, sections, prefix)
    return header, len(head) + len(table)


def encode_ops(ops: Iterable[Op]) -> bytes:
    """Return the OPS section. Where in FROM is told from where the last op that read it ended: 0 when all goes in step."""
    out, at = bytearray(), 0
    for op in ops:
        out.append(op.kind | _WIDTHS.index(op.width) << 4)
        out += _varint(op.size)
        if op.kind in (OpKind.COPY, OpKind.SUBTRACT):
            step = op.base - at
            out += _varint(step << 1 if step >= 0 else (-step << 1) - 1)
            at = op.base + op.size
    return bytes(out)


def read_ops(stream: Readable, header: DeltaHeader) -> Iterator[Op]:
    """Yield the ops, each within FROM and all of them together exactly TO's size.

    Raises:
        BadBundle: one reaches outside, or their sum does.
    """
    at, left = 0, header.to_size
    for _ in range(header.n_ops):
        code = _exactly(stream, 1)[0]
        if code & 15 >= len(OpKind) or code >> 4 >= len(_WIDTHS):
            raise BadBundle("a delta with an op that is none")
        kind, width, size, base = OpKind(code & 15), _WIDTHS[code >> 4], _read_varint(stream), 0
        if not 0 < size <= left or size % width:
            raise BadBundle(f"a delta with an op of {size} bytes, where {left} are to come")
        if kind in (OpKind.COPY, OpKind.SUBTRACT):
            step = _read_varint(stream)
            base = at + (step >> 1 if step & 1 == 0 else -(step + 1 >> 1))
            if base < 0 or base + size > header.from_size:
                raise BadBundle("a delta that reads outside its base")
            at = base + size
        left -= size
        yield Op(kind, size, base, width)
    if left:
        raise BadBundle(f"a delta that ends {left} bytes early")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(stream: Readable) -> int:
    value = 0
    for shift in range(0, 63, 7):
        byte = _exactly(stream, 1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise BadBundle("a delta with a number that does not end")


def _exactly(stream: Readable, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise BadBundle("a delta whose section ends early", hint="fetch it again")
    return data
