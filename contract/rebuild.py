"""From a base and a delta to the archive of the new bundle, in chunks, within bounds (OTA-7).

The server rebuilds from each delta it makes before it offers it, and a station by the same function. Nothing is held but a block
or so of each stream and the decompressors' windows, whatever the delta says: each read of a decompressor gives what was asked for
and no more, so a frame that expands without end costs nothing.

Of the contract only this file needs zstandard, which the extras [agent] and [cloud] bring.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np
import zstandard
from numpy.typing import NDArray

from contract.archive import Readable
from contract.delta import BLOCK, Op, OpKind, Ranges, Section, read_header, read_ops
from contract.errors import BadBundle

_READ = 32 << 10


def rebuild(delta: Ranges, base: Ranges, *, origin: str, goal: str, size: int) -> Iterator[bytes]:
    """Yield the archive of bundle `goal` in chunks of at most BLOCK bytes. Only when all are taken without an error is it that.

    Args:
        base: the archive of bundle `origin`.
        goal: the SHA-256 that the outcome has, else BadBundle is raised after the last chunk.
        size: how many bytes the outcome has, as announced by whom the caller trusts.
    Raises:
        BadBundle: the delta is damaged, is of other bundles, or was made to do harm. What was yielded is worth nothing then.
    """
    header, at = read_header(delta)
    if (header.from_digest, header.from_size) != (origin, base.size):
        raise BadBundle("a delta for another base", hint="fetch the full bundle")
    if (header.to_digest, header.to_size) != (goal, size):
        raise BadBundle("a delta that makes another bundle", hint="fetch the full bundle")
    prefix = b"".join(base.read_at(offset, length) for offset, length in header.prefix)
    streams = []
    for section, (packed, unpacked) in zip(Section, header.sections, strict=True):
        dictionary = prefix if section is Section.TEXT else b""
        streams.append(_Section(_Window(delta, at, packed), header.window_log, dictionary, unpacked))
        at += packed
    found = hashlib.sha256()
    for op in read_ops(streams[Section.OPS], header):
        for chunk in _carry_out(op, base, streams):
            found.update(chunk)
            yield chunk
    for stream in streams:
        stream.end()
    if found.hexdigest() != goal:
        raise BadBundle(
            f"the delta makes a bundle {found.hexdigest()[:12]}..., not {goal[:12]}...", hint="fetch the full bundle"
        )


def _carry_out(op: Op, base: Ranges, streams: list[_Section]) -> Iterator[bytes]:
    new = streams[Section.TEXT if op.kind is OpKind.TEXT else Section.BYTES if op.width == 1 else Section.PLANES]
    for begin in range(0, op.size, BLOCK):
        size = min(BLOCK, op.size - begin)
        if op.kind is OpKind.COPY:
            yield _base_bytes(base, op.base + begin, size)
        elif op.kind is OpKind.TEXT:
            yield new.read(size)
        else:
            residual = np.frombuffer(new.read(size), np.uint8)
            old = _base_bytes(base, op.base + begin, size) if op.kind is OpKind.SUBTRACT else None
            yield joined(residual, old, op.width)


def split(new: bytes, old: bytes | None, width: int) -> bytes:
    """Return a tensor's bytes as its section holds them: less `old` where given, wide elements as planes.

    Differences are taken modulo 2^(8 width), those of wide elements as zigzag (0, -1, 1, -2, ... to 0, 1, 2, 3, ...), so that the
    high planes of small ones are zeros.
    """
    kind = np.dtype(f"<u{width}")
    values = np.frombuffer(new, kind)
    if old is not None:
        values = values - np.frombuffer(old, kind)
        if width > 1:
            values = (values << 1) ^ (0 - (values >> (8 * width - 1)))
    if width == 1:
        return values.tobytes()
    blocks = [values[i : i + BLOCK // width] for i in range(0, len(values), BLOCK // width)]
    return b"".join(block.view(np.uint8).reshape(-1, width).T.tobytes() for block in blocks)


def joined(block: NDArray[np.uint8], old: bytes | None, width: int) -> bytes:
    """Return the tensor's bytes of one block (u8[at most BLOCK]) as `split` wrote it."""
    kind = np.dtype(f"<u{width}")
    values = block if width == 1 else np.ascontiguousarray(block.reshape(width, -1).T).view(kind).reshape(-1)
    if old is not None:
        if width > 1:
            values = (values >> 1) ^ (0 - (values & 1))
        values = values + np.frombuffer(old, kind)
    return values.tobytes()


def _base_bytes(base: Ranges, offset: int, size: int) -> bytes:
    data = base.read_at(offset, size)
    if len(data) != size:
        raise BadBundle("the delta's base ends early", hint="fetch the full bundle")
    return data


class _Window:
    """Part of a delta as a stream."""

    def __init__(self, source: Ranges, at: int, size: int) -> None:
        self._source, self._at, self._left = source, at, size

    def read(self, size: int, /) -> bytes:
        data = self._source.read_at(self._at, min(size, self._left) if size >= 0 else self._left)
        self._at += len(data)
        self._left -= len(data)
        return data


class _Section:
    """A section decompressed, giving exactly as much as the header announced."""

    def __init__(self, packed: Readable, window_log: int, dictionary: bytes, size: int) -> None:
        raw = (
            zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if dictionary else None
        )
        machine = zstandard.ZstdDecompressor(dict_data=raw, max_window_size=1 << window_log)
        self._plain, self._left = machine.stream_reader(cast(BinaryIO, packed), read_size=_READ), size

    def read(self, size: int, /) -> bytes:
        if size > self._left:
            raise BadBundle("a delta that takes more from a section than it holds")
        self._left -= size
        parts = []
        while size:
            part = self._some(size)
            if not part:
                raise BadBundle("a delta whose section ends early", hint="fetch it again")
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def end(self) -> None:
        if self._left or self._some(1):
            raise BadBundle("a delta with more in a section than it uses")

    def _some(self, size: int) -> bytes:
        try:
            return self._plain.read(size)
        except zstandard.ZstdError as error:
            raise BadBundle(f"a delta that cannot be decompressed: {error}", hint="fetch the full bundle") from error
