"""Content by hash, wherever it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class BlobStore(Protocol):
    """Bundles, models, reports and images, each under its SHA-256.

    What `put` returned is kept whatever happens then; `path` never shows bytes that are not the digest's.
    """

    def path(self, digest: str) -> Path:
        """Return a file with the blob's bytes; it is to be read soon, and not to be changed.

        Raises:
            NotFound: there is no such blob.
            BadBundle: what is kept under that digest is something else.
            TransientError: the store cannot be reached.
        """

    def put(self, content: bytes) -> str:
        """Keep `content` durably; return its SHA-256.

        Raises:
            TransientError: the store cannot be reached, or is full.
        """

    def put_file(self, source: Path) -> str:
        """Keep a copy of a file durably; return its SHA-256.

        Raises:
            NotFound: there is no such file.
            BadBundle: it changed while it was copied.
            TransientError: the store cannot be reached, or is full.
        """

    def size_of(self, digest: str) -> int:
        """Return a blob's size in bytes, 0 when there is no such blob.

        Raises:
            TransientError: the store cannot be reached.
        """

    def delete(self, digest: str) -> None:
        """Forget a blob that nothing names any more; one that is not there is forgotten already.

        Raises:
            TransientError: the store cannot be reached.
            StorageFull: it cannot be deleted.
        """
