"""Bundles: build one archive from files and a few facts, and open one to look inside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cloud.registry.blobs import sha256_of
from cloud.registry.durable_file import write_durably
from cloud.registry.tensor_table import tensors_of
from contract.archive import ArchiveReader, archive_chunks
from contract.errors import BadBundle, NotFound
from contract.manifest import (
    PIECE_BYTES,
    Artefact,
    Compatibility,
    FileEntry,
    Golden,
    Label,
    Lineage,
    Manifest,
    Resources,
    Tensor,
    Thresholds,
    decode_manifest,
    encode_manifest,
)
from contract.preprocess import PreprocessSpec

_CHUNK = 1 << 20
_DISK_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class BundleContent:
    """What a bundle is made of. `files` maps each name in the bundle to the file it is copied from.

    The artefacts' and the golden's `file` must be among the names, as must `gate_report` and `model_card` where they are not "".
    `memory_mib` is an input, not measured here: the same content must give the same bytes.
    """

    name: str
    version: str
    labels: tuple[Label, ...]
    preprocess: PreprocessSpec
    artefacts: tuple[Artefact, ...]
    thresholds: Thresholds
    files: Mapping[str, Path]
    golden: Golden | None = None
    lineage: Lineage = field(default_factory=Lineage)
    release_counter: int = 0
    simulated: bool = False
    compatibility: Compatibility = field(default_factory=Compatibility)
    memory_mib: float = 0.0
    gate_report: str = ""
    model_card: str = ""


def build_bundle(content: BundleContent, out: Path, created_at: float) -> tuple[Path, str]:
    """Write the archive of `content` to `out`; return (out, its SHA-256). The same content gives the same bytes.

    Args:
        created_at: Unix seconds, kept in the manifest.
    Raises:
        NotFound: a file is missing.
        BadBundle: the content contradicts itself, or a file changed while it was read.
    """
    entries = tuple(_entry(name, path) for name, path in sorted(content.files.items()))
    manifest = _manifest(content, entries, created_at)
    decode_manifest(manifest)  # what a station would refuse is refused here
    digest = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in archive_chunks(manifest, ((entry, _chunks(content.files[entry.name])) for entry in entries)):
            digest.update(chunk)
            yield chunk

    write_durably(out, hashed())
    _, found = open_bundle(out)
    if found != digest.hexdigest():
        raise BadBundle(f"'{out}' does not hold what was written", hint="check the disk")
    return out, found


def open_bundle(path: Path) -> tuple[Manifest, str]:
    """Return (manifest, SHA-256) of the archive at `path`, with every byte of it checked.

    Raises:
        NotFound: there is no such file.
        BadBundle: it is no bundle, or anything in it differs from what its manifest says.
    """
    try:
        with path.open("rb") as file:
            reader = ArchiveReader(file)
            for _, content in reader.files():
                for _ in content:
                    pass
    except FileNotFoundError as error:
        raise NotFound(f"no bundle '{path}'", hint="check the path") from error
    except OSError as error:
        raise BadBundle(f"'{path}' cannot be read: {error.strerror or error}") from error
    except BadBundle as error:
        raise BadBundle(f"bundle '{path}': {error.message}", hint=error.hint or "fetch or make it again") from error
    return reader.manifest, sha256_of(path)


def manifest_sha256(path: Path) -> str:
    """Return the SHA-256 of the manifest that the archive at `path` begins with.

    Raises:
        BadBundle: it is no bundle.
    """
    with path.open("rb") as file:
        return hashlib.sha256(ArchiveReader(file).manifest_bytes).hexdigest()


def unpack_bundle(path: Path, into: Path) -> Manifest:
    """Unpack the archive at `path` into the folder `into` (made when missing); return its manifest.

    Raises:
        NotFound: there is no such file.
        BadBundle: it is no bundle, or anything in it differs from what its manifest says.
    """
    manifest, _ = open_bundle(path)  # nothing is written before all of it holds
    with path.open("rb") as file:
        reader = ArchiveReader(file)
        for entry, content in reader.files():
            write_durably(into / entry.name, content)
        write_durably(into / "manifest.json", (reader.manifest_bytes,))
    return manifest


def read_file(path: Path, name: str) -> bytes:
    """Return the file `name` of the archive at `path`; meant for small ones.

    Raises:
        NotFound: there is no such archive, or no such file in it.
        BadBundle: it is no bundle, or the file differs from what the manifest says.
    """
    try:
        with path.open("rb") as file:
            for entry, content in ArchiveReader(file).files():
                chunks = [chunk for chunk in content if entry.name == name]
                if entry.name == name:
                    return b"".join(chunks)
    except OSError as error:
        raise NotFound(f"no bundle '{path}': {error.strerror or error}", hint="check the path") from error
    raise NotFound(f"'{path}' holds no '{name}'")


def _manifest(content: BundleContent, entries: tuple[FileEntry, ...], created_at: float) -> bytes:
    manifest = Manifest(
        name=content.name,
        version=content.version,
        created_at=created_at,
        labels=content.labels,
        preprocess=content.preprocess,
        artefacts=content.artefacts,
        thresholds=content.thresholds,
        files=entries,
        golden=content.golden,
        release_counter=content.release_counter,
        lineage=content.lineage,
        simulated=content.simulated,
        tensors=_tensors(content),
        compatibility=content.compatibility,
        resources=Resources(content.memory_mib, 0),
        gate_report=content.gate_report,
        model_card=content.model_card,
    )
    on_disk = sum(_on_disk(entry.size_bytes) for entry in entries) + _on_disk(len(encode_manifest(manifest)) + 20)
    return encode_manifest(msgspec.structs.replace(manifest, resources=Resources(content.memory_mib, on_disk)))


def _entry(name: str, path: Path) -> FileEntry:
    whole, pieces, size_bytes = hashlib.sha256(), [], 0
    try:
        with path.open("rb") as file:
            # A buffered reader gives all it is asked for, but at the end.
            while piece := file.read(PIECE_BYTES):
                whole.update(piece)
                pieces.append(hashlib.sha256(piece).hexdigest())
                size_bytes += len(piece)
    except FileNotFoundError as error:
        raise NotFound(f"no file '{path}'", hint="check the path") from error
    return FileEntry(name, whole.hexdigest(), size_bytes, tuple(pieces))


def _tensors(content: BundleContent) -> tuple[Tensor, ...]:
    tables = [
        tensors_of(content.files[artefact.file], artefact.file, artefact.runtime)
        for artefact in content.artefacts
        if artefact.file in content.files
    ]
    return tuple(tensor for table in tables for tensor in table)


def _on_disk(size_bytes: int) -> int:
    return -(-size_bytes // _DISK_BLOCK) * _DISK_BLOCK


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
