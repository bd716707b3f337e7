"""Bundles: build one archive from files and a few facts, and open one to look inside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cloud.registry.blobs import sha256_of
from cloud.registry.durable_file import write_durably
from contract.archive import ArchiveReader, archive_chunks
from contract.errors import BadBundle, NotFound
from contract.manifest import (
    Artefact,
    FileEntry,
    Golden,
    Label,
    Lineage,
    Manifest,
    Thresholds,
    decode_manifest,
    encode_manifest,
)
from contract.preprocess import PreprocessSpec

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class BundleContent:
    """What a bundle is made of. `files` maps each name in the bundle to the file it is copied from.

    The artefacts' and the golden's `file` must be among the names; others (a gate report, a model card) travel along.
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


def build_bundle(content: BundleContent, out: Path, created_at: float) -> tuple[Path, str]:
    """Write the archive of `content` to `out`; return (out, its SHA-256). The same content gives the same bytes.

    Args:
        created_at: Unix seconds, kept in the manifest.
    Raises:
        NotFound: a file is missing.
        BadBundle: the content contradicts itself, or a file changed while it was read.
    """
    entries = tuple(
        FileEntry(name, sha256_of(path), path.stat().st_size) for name, path in sorted(content.files.items())
    )
    manifest = encode_manifest(
        Manifest(
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
        )
    )
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


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
