"""A bounded folder of blobs that are kept elsewhere: the ones not used for longest go first."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cloud.registry.blobs import sha256_of
from contract.errors import BadBundle, StorageFull

_LEFT_OVER_S = 3_600.0
_PARTIAL = ".filling-"


@dataclass(frozen=True, slots=True)
class BlobCache:
    """Blobs in `folder`, at most `limit_bytes` of them besides those handed out in the last `grace_s` seconds.

    Several threads and processes may share a folder: a blob appears whole under its name, and its time of change is when it was
    last asked for. Whoever was given a path has `grace_s` to open it. `now` is Unix seconds.
    """

    folder: Path
    limit_bytes: int
    now: Callable[[], float]
    grace_s: float = 600.0

    def find(self, digest: str) -> Path | None:
        """Return the file of a blob, None when it is not here."""
        path = self._place(digest)
        at = self.now()
        try:
            os.utime(path, (at, at))
        except FileNotFoundError:
            return None
        return path

    def stage(self, fill: Callable[[Path], object]) -> Staged:
        """Have `fill` write a file beside the blobs, which is to be kept or dropped; what it raises goes through.

        Raises:
            StorageFull: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=_PARTIAL, dir=self.folder)
            os.close(descriptor)
        except OSError as error:
            raise StorageFull(f"'{self.folder}' cannot be written: {error}", hint="free space there") from error
        partial = Path(name)
        try:
            fill(partial)
            with partial.open("rb") as file:
                # A cache that survives a power cut must not survive it with zeros in its files.
                os.fsync(file.fileno())
            return Staged(partial, sha256_of(partial), partial.stat().st_size)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def keep(self, staged: Staged, digest: str) -> Path:
        """Move what was staged to where `find` sees it, and make room; return its path.

        Raises:
            BadBundle: it is not the content of `digest`; it is dropped.
            StorageFull: the folder cannot be written.
        """
        if staged.digest != digest:
            staged.drop()
            raise BadBundle(f"blob {digest[:12]} is {staged.size_bytes} bytes of something else ({staged.digest[:12]})")
        place = self._place(digest)
        at = self.now()
        try:
            place.parent.mkdir(exist_ok=True)
            os.utime(staged.path, (at, at))
            staged.path.chmod(0o644)
            staged.path.replace(place)
        except OSError as error:
            staged.drop()
            raise StorageFull(f"'{place}' cannot be written: {error.strerror}", hint="free space there") from error
        self._make_room()
        return place

    def drop(self, digest: str) -> None:
        """Forget a blob; whoever has it open goes on reading."""
        self._place(digest).unlink(missing_ok=True)

    def _place(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest

    def _make_room(self) -> None:
        now, found = self.now(), []
        for path in self.folder.glob(f"{_PARTIAL}*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < now - _LEFT_OVER_S:
                    path.unlink()  # whoever filled it was killed
        for path in self.folder.glob("??/*"):
            with suppress(FileNotFoundError):  # another process makes room too
                facts = path.stat()
                found.append((facts.st_mtime, facts.st_size, path))
        excess = sum(size for _, size, _ in found) - self.limit_bytes
        for used_at, size, path in sorted(found):
            if excess <= 0 or used_at > now - self.grace_s:
                break
            path.unlink(missing_ok=True)
            excess -= size


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that is written and not yet a blob."""

    path: Path
    digest: str
    size_bytes: int

    def drop(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)
