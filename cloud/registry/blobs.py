"""Content by hash in a folder: written once, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from cloud.registry.durable_file import remove_durably, write_durably
from contract.errors import BadBundle, NotFound
from contract.ids import is_digest

_CHUNK = 1 << 20


class Blobs:
    """Blobs in `folder`, each under its SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: str) -> Path:
        """Return where the blob is kept.

        Raises:
            NotFound: it is not here.
        """
        path = self._place(digest)
        if not path.is_file():
            raise NotFound(f"no blob {digest[:12]} in '{self._folder}'")
        return path

    def put(self, content: bytes) -> str:
        """Keep `content` durably; return its SHA-256."""
        digest = hashlib.sha256(content).hexdigest()
        place = self._place(digest)
        if not place.is_file():
            write_durably(place, (content,))
        return digest

    def put_file(self, source: Path) -> str:
        """Keep a copy of a file durably; return its SHA-256.

        Raises:
            NotFound: there is no such file.
            BadBundle: it changed while it was copied.
        """
        digest = sha256_of(source)
        place = self._place(digest)
        if not place.is_file():
            write_durably(place, _chunks(source))
            if sha256_of(place) != digest:
                place.unlink()
                raise BadBundle(f"'{source}' changed while it was being stored", hint="store it again")
        return digest

    def size_of(self, digest: str) -> int:
        """Return a blob's size in bytes, 0 when it is not here."""
        place = self._place(digest)
        return place.stat().st_size if place.is_file() else 0

    def delete(self, digest: str) -> None:
        """Forget a blob that nothing names any more, durably.

        Raises:
            StorageFull: it cannot be deleted.
        """
        remove_durably(self._place(digest))

    def _place(self, digest: str) -> Path:
        if not is_digest(digest):
            raise NotFound(f"'{digest[:80]}' is no SHA-256")
        return self._folder / digest[:2] / digest


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        NotFound: there is no such file.
    """
    digest = hashlib.sha256()
    try:
        for chunk in _chunks(path):
            digest.update(chunk)
    except FileNotFoundError as error:
        raise NotFound(f"no file '{path}'", hint="check the path") from error
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
