"""A bundle that was unpacked into a folder, such as a station's slot, as the archive that it came from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.archive import archive_chunks
from contract.errors import BadBundle, NotFound
from contract.manifest import MANIFEST_NAME, decode_manifest

_CHUNK = 1 << 20


@contextmanager
def as_archive(path: Path) -> Iterator[Path]:
    """Give the archive at `path`; of a folder, one that is packed again, byte for byte the one that was unpacked, and kept until
    the end. Whether its files are what the manifest says is found by who reads it.

    Raises:
        NotFound: the folder holds no manifest.
        BadBundle: its manifest is none, or a file is missing, or has another length than the manifest says.
    """
    if not path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="plumbline-packed-") as scratch:
        packed = Path(scratch) / "packed.plb"
        try:
            _pack(path, packed)
        except BadBundle as error:
            raise BadBundle(f"'{path}': {error.message}", hint=error.hint or "unpack or install it again") from error
        yield packed


def _pack(folder: Path, out: Path) -> None:
    try:
        manifest = (folder / MANIFEST_NAME).read_bytes()
    except FileNotFoundError as error:
        hint = "give a .plb file, or the folder that one was unpacked into: a station's is HOME/bundles/DIGEST"
        raise NotFound(f"'{folder}' holds no {MANIFEST_NAME}", hint=hint) from error
    try:
        entries = decode_manifest(manifest).files
        with out.open("wb") as file:
            for chunk in archive_chunks(manifest, ((entry, _chunks(folder / entry.name)) for entry in entries)):
                file.write(chunk)
    except OSError as error:
        raise BadBundle(f"{error.filename or folder} cannot be read: {error.strerror or error}") from error


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
