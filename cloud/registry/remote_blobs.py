"""Content by hash in an object store (S3, through fsspec), read through a bounded folder here."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cloud.registry.blob_cache import BlobCache, Staged
from cloud.registry.blobs import sha256_of
from cloud.registry.object_store import Absent, Away, ObjectStore
from contract.errors import BadBundle, NotFound, TransientError
from contract.ids import is_digest


@dataclass(frozen=True, slots=True)
class RemoteBlobs:
    """Blobs in `store`, each under its SHA-256 as the folder of `Blobs` has them, so that copying one to the other moves house.

    Every put goes out, whatever is there: a damaged object is mended by storing its content once more.
    """

    store: ObjectStore
    cache: BlobCache
    _filling: dict[str, _Turn] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def path(self, digest: str) -> Path:
        """As `BlobStore.path`: from the folder here, else fetched into it and checked."""
        key = _key(digest)
        if (found := self.cache.find(digest)) is not None:
            return found
        with self._alone(digest):  # of many who ask for one blob, one fetches it
            if (found := self.cache.find(digest)) is not None:
                return found
            try:
                staged = self.cache.stage(lambda path: self.store.get(key, path))
            except Absent as error:
                raise NotFound(f"no blob {digest[:12]} in '{self.store.name}'") from error
            except Away as error:
                raise self._away(error) from error
            try:
                return self.cache.keep(staged, digest)
            except BadBundle as error:
                hint = f"store its content again, or restore '{key}' in '{self.store.name}' from a backup"
                raise BadBundle(error.message, hint=hint) from error

    def put(self, content: bytes) -> str:
        """As `BlobStore.put`."""
        return self._put(self.cache.stage(lambda path: path.write_bytes(content)))

    def put_file(self, source: Path) -> str:
        """As `BlobStore.put_file`."""
        digest = sha256_of(source)
        # The copy is sent, not the file: nobody else writes to it between its hash and its journey.
        staged = self.cache.stage(lambda path: shutil.copyfile(source, path))
        if staged.digest != digest:
            staged.drop()
            raise BadBundle(f"'{source}' changed while it was being stored", hint="store it again")
        return self._put(staged)

    def size_of(self, digest: str) -> int:
        """As `BlobStore.size_of`."""
        try:
            return self.store.size(_key(digest))
        except Absent:
            return 0
        except Away as error:
            raise self._away(error) from error

    def delete(self, digest: str) -> None:
        """As `BlobStore.delete`: out there first, so that what is gone here is fetched anew while it is there."""
        key = _key(digest)
        try:
            self.store.delete(key)
        except Away as error:
            raise self._away(error) from error
        self.cache.drop(digest)

    def _put(self, staged: Staged) -> str:
        try:
            self.store.put(_key(staged.digest), staged.path)
        except Away as error:
            staged.drop()
            raise self._away(error) from error
        except BaseException:
            staged.drop()
            raise
        # Only what is out there is shown here: a reader must not see what a broken put may take back.
        self.cache.keep(staged, staged.digest)
        return staged.digest

    def _away(self, error: Away) -> TransientError:
        return TransientError(f"the blob store '{self.store.name}' cannot be used now: {error}", hint="try again")

    @contextmanager
    def _alone(self, digest: str) -> Iterator[None]:
        with self._lock:
            turn = self._filling.setdefault(digest, _Turn())
            turn.waiting += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.waiting -= 1
                if not turn.waiting:
                    self._filling.pop(digest, None)


@dataclass(slots=True)
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0


def _key(digest: str) -> str:
    if not is_digest(digest):
        raise NotFound(f"'{digest[:80]}' is no SHA-256")
    return f"{digest[:2]}/{digest}"
