"""The byte form of a bundle archive: an uncompressed ustar tar in which nothing is left to choice.

manifest.json first, then the manifest's files in its order, each header holding name, size and constants only, then two zero
blocks and the end. One bundle has one form, so its SHA-256 can be recomputed from an unpacked slot, and a reader that accepts
only that form has no links, paths, duplicates, sparse files or trailing bytes to be tricked with. `tar tf` lists it.
Streams are passed in; this module opens nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from contract.errors import BadBundle
from contract.manifest import MANIFEST_NAME, PIECE_BYTES, FileEntry, Manifest, decode_manifest

BLOCK = 512
TRAILER = bytes(2 * BLOCK)
MAX_MANIFEST_BYTES = 4 << 20
_MAX_FILE_BYTES = 8**11 - 1  # what eleven octal digits hold


class Readable(Protocol):
    """A binary stream, read from its beginning."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; b"" at the end."""


def entry_header(name: str, size_bytes: int) -> bytes:
    """Return the 512-byte ustar header of a file.

    Raises:
        BadBundle: the name is not 1 to 100 printable ASCII characters, or the size is out of range.
    """
    if not 1 <= len(name) <= 100 or not name.isascii() or not name.isprintable():
        raise BadBundle(f"'{name[:120]}' is no file name for a bundle", hint="use 1 to 100 printable ASCII characters")
    if not 0 <= size_bytes <= _MAX_FILE_BYTES:
        raise BadBundle(f"'{name}' would be {size_bytes} bytes")
    head = (
        name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size_bytes + b"00000000000\0"
    )
    tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
    checksum = sum(head) + sum(tail) + 8 * 0x20
    return head + b"%06o\0 " % checksum + tail


def padding(size_bytes: int) -> bytes:
    """Return the zeros that fill a file of `size_bytes` up to a whole block."""
    return bytes(-size_bytes % BLOCK)


def archive_chunks(manifest: bytes, files: Iterable[tuple[FileEntry, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield the archive of `manifest` (its bytes) and `files` (entries in manifest order, each with its content).

    Raises:
        BadBundle: a name cannot be stored, or a content's length is not its entry's.
    """
    yield entry_header(MANIFEST_NAME, len(manifest)) + manifest + padding(len(manifest))
    for entry, content in files:
        yield entry_header(entry.name, entry.size_bytes)
        written = 0
        for chunk in content:
            written += len(chunk)
            yield chunk
        if written != entry.size_bytes:
            raise BadBundle(f"'{entry.name}' holds {written} bytes, not {entry.size_bytes}")
        yield padding(written)
    yield TRAILER


class ArchiveReader:
    """Reads an archive once, front to back, checking everything it says against what it holds.

    `manifest` and `manifest_bytes` are there after construction; then `files()` must be read to its end.

    Raises:
        BadBundle: here and while reading, for anything but the one form above.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        name, size = self._header()
        if name != MANIFEST_NAME:
            raise BadBundle(f"the archive begins with '{name}', not {MANIFEST_NAME}", hint="is this a .plb bundle?")
        if size > MAX_MANIFEST_BYTES:
            raise BadBundle(f"a manifest of {size} bytes is over {MAX_MANIFEST_BYTES}")
        self.manifest_bytes = self._exactly(size)
        self._padding(size)
        self.manifest: Manifest = decode_manifest(self.manifest_bytes)

    def files(self) -> Iterator[tuple[FileEntry, Iterator[bytes]]]:
        """Yield each file's entry and its content in chunks; a content must be read to its end before the next."""
        for entry in self.manifest.files:
            name, size = self._header()
            if (name, size) != (entry.name, entry.size_bytes):
                raise BadBundle(
                    f"the archive holds '{name}' ({size} bytes) where its manifest lists '{entry.name}'"
                    f" ({entry.size_bytes} bytes)"
                )
            yield entry, self._content(entry)
            self._padding(size)
        if self._exactly(len(TRAILER)) != TRAILER or self._stream.read(1):
            raise BadBundle("the archive holds more than its manifest lists")

    def _content(self, entry: FileEntry) -> Iterator[bytes]:
        digest, left, pieces = hashlib.sha256(), entry.size_bytes, iter(entry.pieces)
        while left:
            chunk = self._exactly(min(left, PIECE_BYTES), f"inside '{entry.name}', within its last {left} bytes")
            left -= len(chunk)
            digest.update(chunk)
            # A wrong piece is told before the rest is read, and before anyone writes it.
            if entry.pieces and hashlib.sha256(chunk).hexdigest() != next(pieces):
                number = -(-(entry.size_bytes - left) // PIECE_BYTES)
                raise BadBundle(
                    f"'{entry.name}' does not match its hash in the manifest (piece {number} of {len(entry.pieces)})",
                    hint="fetch the bundle again",
                )
            yield chunk
        if digest.hexdigest() != entry.sha256:
            raise BadBundle(f"'{entry.name}' does not match its hash in the manifest", hint="fetch the bundle again")

    def _header(self) -> tuple[str, int]:
        block = self._exactly(BLOCK)
        try:
            name = block[:100].rstrip(b"\0").decode("ascii")
            size = int(block[124:135], 8)
        except ValueError as error:
            raise BadBundle("no bundle archive (a header is not ustar)", hint="is this a .plb bundle?") from error
        if entry_header(name, size) != block:
            raise BadBundle(f"the archive's header of '{name}' is not that of a plain file in a bundle")
        return name, size

    def _padding(self, size_bytes: int) -> None:
        expected = padding(size_bytes)
        if self._exactly(len(expected)) != expected:
            raise BadBundle("the archive's padding is not zero")

    def _exactly(self, size: int, where: str = "early") -> bytes:
        parts, left = [], size
        while left:
            part = self._stream.read(left)
            if not part:
                raise BadBundle(f"the archive ends {where}", hint="fetch the bundle again")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
