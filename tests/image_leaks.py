"""Finds images, or pieces of known ones, in recorded traffic: through chunked bodies, zstd, gzip, zlib, base64 and hex.

Known are a frame's pixels, its file, and what is made small of it: the station's thumbnail and its projection (as numbers of 1, 2,
4 or 8 bytes) and the frame itself at some sizes. What is written out in decimals, or changed in a way of its own, is not
recognised.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
import zstandard
from numpy.typing import NDArray
from PIL import Image

from contract.sketches.enrolment import DEFAULT_SEED
from contract.sketches.frame_stats import frame_stats
from contract.sketches.projection import project

RUN = 32
# Any run of 32 bytes holds a block of 16 at a multiple of 16.
_BLOCK = 16
_DEEPEST = 4
_MOST = 64 << 20
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*", b"GIF8", b"BM")
_HEADERS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"\xff\xd8\xff\xdb\0\x43", b"\0\0\0\rIHDR")
_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b\x08"
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{64,}")
_HEX = re.compile(rb"[0-9a-fA-F]{64,}")
_CHUNKS = re.compile(rb"(?i)transfer-encoding: chunked\r\n(?:[^\r\n]+\r\n)*\r\n")


class KnownImages:
    """Frames u8[H,W] and the files they came from, and what of them is found in bytes."""

    def __init__(self, frames: Iterable[NDArray[np.uint8]], files: Iterable[bytes]) -> None:
        self._frames = [np.ascontiguousarray(frame) for frame in frames]
        sources = [*(frame.tobytes() for frame in self._frames), *(f.T.tobytes() for f in self._frames), *files]
        sources += [small for frame in self._frames for small in likenesses(frame)]
        self._runs = {
            source[at : at + _BLOCK]
            for source in sources
            for at in range(len(source) - _BLOCK + 1)
            # A run of one or two values, as every file's head and every table of zeros has, says nothing.
            if len(set(source[at : at + _BLOCK])) >= _BLOCK // 2
        }

    def leaks(self, streams: Iterable[bytes]) -> list[str]:
        """Return what was found, in words; [] is what the policy "never" promises."""
        found: list[str] = []
        for stream in streams:
            for way, layer in layers(stream):
                if any(layer[at : at + _BLOCK] in self._runs for at in range(0, len(layer) - _BLOCK + 1, _BLOCK)):
                    found.append(f"{way or 'plain'}: {RUN} bytes in a row of a frame or its file")
                found += [f"{way or 'plain'}: {header!r}" for header in _HEADERS if header in layer]
                found += [f"{way or 'plain'}: {self._name(image)}" for image in images_in(layer)]
        return found

    def _name(self, image: NDArray[np.uint8]) -> str:
        kind = "an image" if not any(np.array_equal(image, frame) for frame in self._frames) else "a whole frame"
        return f"{kind} of {image.shape[1]} x {image.shape[0]}"


def likenesses(frame: NDArray[np.uint8]) -> Iterator[bytes]:
    """Yield what is made small of one frame u8[H,W], in the forms in which it could be sent."""
    thumbnail = frame_stats(frame).thumbnail
    for numbers in (thumbnail.reshape(-1), project(thumbnail.reshape(1, -1), DEFAULT_SEED)[0]):
        yield from (numbers.astype(kind).tobytes() for kind in ("<f2", "<f4", "<f8", ">f4", ">f8"))
    yield from ((thumbnail * 255.0 + up).astype(np.uint8).tobytes() for up in (0.0, 0.5))
    for side in (8, 12, 16, 24, 32, 48, 64):
        for way in (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.NEAREST):
            yield Image.fromarray(frame).resize((side, side), way).tobytes()


def layers(data: bytes, way: str = "", depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield (how it was reached, bytes): the data itself, and whatever unpacks from it, from that again, and so on."""
    yield way, data
    if depth >= _DEEPEST:
        return
    for name, inner in _unpacked(data):
        yield from layers(inner, f"{way}>{name}" if way else name, depth + 1)


def images_in(data: bytes) -> Iterator[NDArray[np.uint8]]:
    """Yield the pixels of every image file that begins anywhere in `data`."""
    for signature in _SIGNATURES:
        at = data.find(signature)
        while at >= 0:
            try:
                with Image.open(io.BytesIO(data[at:])) as image:
                    image.load()
                    yield np.asarray(image.convert("L"))
            except Exception:  # noqa: BLE001 - two bytes that look like the head of an image are none; Pillow throws all kinds
                pass
            at = data.find(signature, at + 1)


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    for match in _CHUNKS.finditer(data):
        yield "chunked", _dechunked(data[match.end() :])
    yield from _at_each(data, _ZSTD, "zstd", lambda part: zstandard.ZstdDecompressor().decompressobj().decompress(part))
    yield from _at_each(data, _GZIP, "gzip", lambda part: zlib.decompressobj(31).decompress(part, _MOST))
    for match in _ZLIB.finditer(data):
        if inner := _tried(lambda part: zlib.decompressobj().decompress(part, _MOST), data[match.start() :]):
            yield "zlib", inner
    for match in _BASE64.finditer(data):
        text = match[0].translate(bytes.maketrans(b"-_", b"+/"))
        for skipped in range(4):
            part = text[skipped:]
            yield f"base64+{skipped}", base64.b64decode(part[: len(part) // 4 * 4])
    for match in _HEX.finditer(data):
        for skipped in range(2):
            part = match[0][skipped:]
            yield f"hex+{skipped}", binascii.unhexlify(part[: len(part) // 2 * 2])


def _at_each(data: bytes, magic: bytes, name: str, unpack: object) -> Iterator[tuple[str, bytes]]:
    at = data.find(magic)
    while at >= 0:
        if inner := _tried(unpack, data[at:]):
            yield name, inner
        at = data.find(magic, at + 1)


def _tried(unpack: object, part: bytes) -> bytes:
    try:
        inner: bytes = unpack(part)  # type: ignore[operator]
    except (zstandard.ZstdError, zlib.error):
        return b""
    return inner


def _dechunked(data: bytes) -> bytes:
    whole = bytearray()
    while True:
        size, _, rest = data.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            return bytes(whole)
        if length == 0:
            return bytes(whole)
        whole += rest[:length]
        data = rest[length + 2 :]
