"""Where the pieces of a bundle archive lie, and the hash that each must have (OTA-6).

An archive leaves nothing to choice (`contract.archive`), so from its manifest alone follows every byte of it that is not a file's
content. With the SHA-256 of the manifest from the image repository, each piece can be checked as it arrives.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from contract.archive import BLOCK, MAX_MANIFEST_BYTES, TRAILER, ArchiveReader, entry_header, padding
from contract.errors import BadBundle
from contract.manifest import MANIFEST_NAME, PIECE_BYTES, FileEntry


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `start` to `start + size` of an archive, which must have this SHA-256 (lower-case hex)."""

    start: int
    size: int
    sha256: str

    @property
    def end(self) -> int:
        """Where the next piece starts."""
        return self.start + self.size


def head_size(block: bytes) -> int:
    """Return the length of an archive's head (header, manifest, padding), given its first 512 bytes.

    Raises:
        BadBundle: it is not the header of a manifest.
    """
    try:
        size = int(block[124:135], 8)
    except ValueError as error:
        raise BadBundle("no bundle archive (the first header is not ustar)") from error
    if not 0 <= size <= MAX_MANIFEST_BYTES or entry_header(MANIFEST_NAME, size) != block:
        raise BadBundle(f"the archive does not begin with a {MANIFEST_NAME} of at most {MAX_MANIFEST_BYTES} bytes")
    return BLOCK + size + len(padding(size))


def pieces_of(head: bytes, manifest_sha256: str) -> tuple[Piece, ...]:
    """Return the pieces that make up the whole archive, in order and without a gap; the first one is `head` itself.

    A file whose entry lists no pieces is one piece, whatever its size.

    Raises:
        BadBundle: the manifest in `head` has another hash, or is no manifest.
    """
    reader = ArchiveReader(io.BytesIO(head))
    found = hashlib.sha256(reader.manifest_bytes).hexdigest()
    if found != manifest_sha256:
        raise BadBundle(
            f"the archive begins with a manifest of SHA-256 {found[:12]}..., not {manifest_sha256[:12]}...",
            hint="its pieces cannot be told right from wrong by it",
        )
    pieces = [_literal(0, head)]
    before = b""
    for entry in reader.manifest.files:
        pieces.append(_literal(pieces[-1].end, before + entry_header(entry.name, entry.size_bytes)))
        pieces += _content(pieces[-1].end, entry)
        before = padding(entry.size_bytes)
    pieces.append(_literal(pieces[-1].end, before + TRAILER))
    return tuple(pieces)


def _literal(start: int, data: bytes) -> Piece:
    return Piece(start, len(data), hashlib.sha256(data).hexdigest())


def _content(start: int, entry: FileEntry) -> list[Piece]:
    if not entry.size_bytes:
        return []
    if not entry.pieces:
        return [Piece(start, entry.size_bytes, entry.sha256)]
    return [
        Piece(start + at, min(PIECE_BYTES, entry.size_bytes - at), sha256)
        for at, sha256 in zip(range(0, entry.size_bytes, PIECE_BYTES), entry.pieces, strict=True)
    ]
