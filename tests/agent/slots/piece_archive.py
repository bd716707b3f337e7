"""Bundle archives of any size, with the hashes of their pieces."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import msgspec

from contract.archive import archive_chunks
from contract.manifest import PIECE_BYTES, FileEntry, encode_manifest
from tests.tiny_bundle import manifest_of


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive's bytes, its SHA-256 and that of its manifest."""

    body: bytes
    digest: str
    manifest_sha256: str


def archive_of(*sizes: int, seed: int = 0, by_piece: bool = True) -> Archive:
    """Return an archive of files of these sizes, the first of them its model."""
    contents = [random.Random(seed + n).randbytes(size) for n, size in enumerate(sizes)]
    names = ["model.onnx", *(f"file{n}" for n in range(1, len(sizes)))]
    entries = tuple(
        FileEntry(name, _sha256(data), len(data), _pieces(data) if by_piece else ())
        for name, data in zip(names, contents, strict=True)
    )
    manifest = encode_manifest(msgspec.structs.replace(manifest_of(contents[0]), files=entries))
    body = b"".join(archive_chunks(manifest, [(e, [data]) for e, data in zip(entries, contents, strict=True)]))
    return Archive(body, _sha256(body), _sha256(manifest))


def _pieces(data: bytes) -> tuple[str, ...]:
    return tuple(_sha256(data[at : at + PIECE_BYTES]) for at in range(0, len(data), PIECE_BYTES))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
