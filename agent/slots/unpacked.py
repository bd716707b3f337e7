"""Bundles as folders: unpack an archive, check a folder against the digest it must have, open what a path names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from agent.ports.slots import InstalledBundle
from agent.slots.disk import Disk, is_absence
from contract.archive import ArchiveReader, archive_chunks
from contract.errors import BadBundle, NotFound, TransientError
from contract.manifest import MANIFEST_NAME, FileEntry, Manifest, decode_manifest

_CHUNK = 1 << 20


def open_archive(path: Path, into: Path, *, digest: str | None = None, disk: Disk | None = None) -> InstalledBundle:
    """Unpack the bundle archive at `path` into the folder `into` (made when missing) and return it, durable.

    Args:
        digest: the SHA-256 the archive must have; None takes what it has.
    Raises:
        NotFound: there is no such file.
        BadBundle: it is no bundle, or anything in it differs from what its manifest, or `digest`, says.
        StorageFull: no room.
    """
    disk = disk or Disk()
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise NotFound(f"no bundle '{path}'", hint="check the path") from error
    except OSError as error:
        raise unreadable(f"'{path}'", error) from error
    with file, _readable(path):
        hashed = _HashedReader(file)
        reader = ArchiveReader(hashed)
        disk.make_folder(into)
        _write(disk, into / MANIFEST_NAME, iter((reader.manifest_bytes,)))
        for entry, content in reader.files():
            _write(disk, into / entry.name, content)
    disk.fsync_folder(into)
    found = hashed.sha256.hexdigest()
    if digest is not None and found != digest:
        raise BadBundle(f"'{path.name}' has SHA-256 {found[:12]}..., not {digest[:12]}...", hint="fetch it again")
    return InstalledBundle(found, into, reader.manifest)


def open_folder(folder: Path, *, digest: str | None = None) -> InstalledBundle:
    """Return the bundle unpacked in `folder`, with every byte read again and hashed.

    Args:
        digest: the SHA-256 of the archive it must have come from; None takes what the folder amounts to.
    Raises:
        NotFound: the folder holds no manifest.
        BadBundle: a file is missing or changed, or the whole does not amount to `digest`.
    """
    manifest_bytes = _read_manifest(folder)
    manifest = decode_manifest(manifest_bytes)
    whole = hashlib.sha256()
    for chunk in archive_chunks(manifest_bytes, _contents(folder, manifest)):
        whole.update(chunk)
    found = whole.hexdigest()
    if digest is not None and found != digest:
        raise BadBundle(f"'{folder}' holds bundle {found[:12]}..., not {digest[:12]}...", hint="install it again")
    return InstalledBundle(found, folder, manifest)


def open_bundle(path: Path, scratch: Path) -> InstalledBundle:
    """Return the bundle at `path`, a .plb archive (unpacked below `scratch`) or an unpacked folder, every hash checked.

    Raises:
        NotFound: there is none.
        BadBundle: it is torn, or does not match its hashes.
    """
    try:
        return open_folder(path) if path.is_dir() else open_archive(path, scratch / "bundle")
    except BadBundle as error:
        raise BadBundle(f"bundle '{path}': {error.message}", hint=error.hint or "fetch or make it again") from error


class _HashedReader:
    """A stream that hashes what is read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def _write(disk: Disk, path: Path, content: Iterator[bytes]) -> None:
    disk.write(path, content)
    disk.fsync(path)


def _read_manifest(folder: Path) -> bytes:
    try:
        return (folder / MANIFEST_NAME).read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"'{folder}' holds no {MANIFEST_NAME}", hint="give a .plb archive or an unpacked one") from error
    except OSError as error:
        raise unreadable(f"'{folder}'", error) from error


def _contents(folder: Path, manifest: Manifest) -> Iterator[tuple[FileEntry, Iterator[bytes]]]:
    for entry in manifest.files:
        yield entry, _content(folder, entry)


def _content(folder: Path, entry: FileEntry) -> Iterator[bytes]:
    digest = hashlib.sha256()
    try:
        with (folder / entry.name).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                yield chunk
    except OSError as error:
        raise unreadable(f"'{entry.name}' in '{folder}'", error) from error
    if digest.hexdigest() != entry.sha256:
        raise BadBundle(f"'{entry.name}' in '{folder}' has changed", hint="install the bundle again")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unreadable(f"'{path}'", error) from error


def unreadable(what: str, error: OSError) -> BadBundle | TransientError:
    """Return whose fault it is that `what` cannot be read: the bundle's, or that of a disk that does not give it just now."""
    said = f"{what} cannot be read: {error.strerror or error}"
    if is_absence(error) or isinstance(error, PermissionError):
        return BadBundle(said)
    # A disk that fails says nothing about the bundle, which must not be banned for it.
    return TransientError(said, hint="check the disk and its mount")
