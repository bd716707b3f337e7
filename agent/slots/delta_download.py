"""A downloader that fetches a delta where one is offered, and the full bundle where that does not do (OTA-7).

Whatever goes wrong with a delta costs the delta's bytes and a line in the log, never the update: the full archive is fetched
then, and that delta is not tried again. A delta of which nothing comes any more, time after time, has the full archive tried in
its place, and its turn again only while nothing of that comes either. What comes out is the same file either way, and is
installed the same way.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from agent.ports.slots import InstalledBundle
from agent.ports.update import Downloader
from agent.slots.delta_install import build_archive
from agent.slots.disk import Disk, disk_faults
from contract.delta import delta_target
from contract.errors import LinkDown, RefusedError, StorageFull
from contract.ids import BUNDLE_SUFFIX

MAX_BREAKS = 3
"""So many breaks in a row without a byte, while the repository answers, and the full archive is tried."""

_log = logging.getLogger(__name__)


class Listed(Protocol):
    """What the image repository vouches for."""

    @property
    def digest(self) -> str:
        """Its SHA-256."""

    @property
    def size_bytes(self) -> int:
        """Its size."""


class TargetFetcher(Protocol):
    """Fetches a file by its hash from the place of a TUF target; as `agent.ports.update.Downloader` else."""

    def make_ready(self, digest: str) -> int:
        """Delete whatever was fetched of anything else; return how many bytes of this file are here."""

    def fetch(
        self, digest: str, size_bytes: int, should_stop: Callable[[], bool], *, target: str = ""
    ) -> PurePath | None:
        """Return the path of the complete, hash-checked file; None when `should_stop` said so."""

    def discard(self, digest: str) -> None:
        """Delete whatever was fetched for `digest`."""


class DeltaDownloader:
    """Is `full` with deltas before it. Used by one thread.

    Args:
        full: fetches whole archives.
        parts: fetches deltas, into a folder of its own.
        listed: returns those of the target paths that the image repository lists.
        bases: the bundles that are here and match their hashes, the likeliest first.
        folder: where archives are built; nothing else lies there.
    """

    def __init__(
        self,
        full: Downloader,
        parts: TargetFetcher,
        listed: Callable[[Iterable[str]], Mapping[str, Listed]],
        bases: Callable[[], Iterable[InstalledBundle]],
        folder: Path,
        *,
        disk: Disk | None = None,
    ) -> None:
        self._full, self._parts, self._listed, self._bases = full, parts, listed, bases
        self._folder, self._disk = folder, disk or Disk()
        self._disk.make_folder(folder)
        self._failed: set[str] = set()
        self._breaks = _Breaks()
        self._ready: tuple[str, _Offer | None] | None = None
        self.applied = 0
        """Archives that were built from a delta."""
        self.fallbacks = 0
        """Deltas that failed, after which the full bundle was fetched."""
        self.last_fallback = ""
        """Why the last one failed, in words for a person."""

    def make_ready(self, digest: str) -> int:
        """Delete what was fetched or built of anything else; return how many bytes of the archive are here.

        The deltas of other orders go too. What is here of this one's is not counted: it has no place in the archive.

        Raises:
            LinkDown: the repository was not to be asked for deltas.
            TransientError: the disk failed.
        """
        here = self._full.make_ready(digest)
        if self._whole(digest):
            self._parts.make_ready("")
            return self._built(digest).stat().st_size
        try:
            offer = self._offer(digest)
        except RefusedError:
            return here  # `fetch` meets it again, and says so
        self._parts.make_ready(offer.delta.digest if offer else "")
        self._ready = digest, offer
        return here

    def fetch(
        self,
        digest: str,
        size_bytes: int,
        should_stop: Callable[[], bool],
        manifest_sha256: str = "",
        *,
        target: str = "",
    ) -> PurePath | None:
        """Return the path of the archive with SHA-256 `digest`; None when `should_stop` said so (what came is kept).

        `manifest_sha256` and `target` are for the full download.

        Raises:
            LinkDown: a transfer broke; call again to resume.
            NotFound, BadBundle: as the full download.
            StorageFull: no room.
        """
        ready, self._ready = self._ready, None
        if self._whole(digest):
            return self._built(digest)
        try:
            offer = ready[1] if ready is not None and ready[0] == digest else self._offer(digest)
            if offer is not None and not self._breaks.too_many(offer.target):
                return self._by_delta(offer, digest, size_bytes, should_stop)
        except (RefusedError, StorageFull) as error:
            self._note_fallback(digest, error.one_line())
        before = self._full.make_ready(digest)
        try:
            return self._full.fetch(digest, size_bytes, should_stop, manifest_sha256, target=target)
        except LinkDown:
            if self._full.make_ready(digest) <= before:
                self._breaks = _Breaks()  # the whole comes no better: the delta has its turn again
            raise

    def discard(self, digest: str) -> None:
        """Delete whatever was fetched for `digest`."""
        self._disk.remove(self._built(digest))
        self._full.discard(digest)

    def _whole(self, digest: str) -> bool:
        """Return whether the archive is built and waits to be installed; delete anything else that lies beside it."""
        built = self._built(digest)
        with disk_faults(self._folder):
            whole = built.exists() and _sha256(built) == digest
            others = [path for path in self._folder.iterdir() if path != built or not whole]
        for other in others:
            self._disk.remove(other)  # one at a time: anything else was superseded, or is half of one
        return whole

    def _offer(self, digest: str) -> _Offer | None:
        """Return the first delta that is listed, has not failed, and starts from a bundle that is here."""
        bases = {delta_target(base.digest, digest): base for base in self._bases() if base.digest != digest}
        listed = self._listed(bases)
        for target, base in bases.items():
            if target in listed and target not in self._failed:
                return _Offer(base, target, listed[target])
        return None

    def _by_delta(
        self, offer: _Offer, digest: str, size_bytes: int, should_stop: Callable[[], bool]
    ) -> PurePath | None:
        delta = offer.delta
        try:
            try:
                part = self._parts.fetch(delta.digest, delta.size_bytes, should_stop, target=offer.target)
            except LinkDown as error:
                self._breaks = self._breaks.and_one(offer.target, self._parts.make_ready(delta.digest))
                if self._breaks.too_many(offer.target):
                    self._note_fallback(digest, error.one_line())
                raise
            if part is None:
                return None
            built = self._built(digest)
            build_archive(offer.base, Path(part), built, self._disk, goal=digest, size_bytes=size_bytes)
        except (RefusedError, StorageFull):
            # Where there is no room for the delta beside what it makes, there may be for the whole alone.
            self._failed.add(offer.target)
            self._parts.discard(delta.digest)
            raise
        self._parts.discard(delta.digest)
        self.applied += 1
        _log.info("bundle %s of %d bytes is built from %d bytes", digest[:12], size_bytes, delta.size_bytes)
        return built

    def _note_fallback(self, digest: str, why: str) -> None:
        self.fallbacks += 1
        self.last_fallback = why
        _log.warning("bundle %s is fetched whole: %s", digest[:12], why)

    def _built(self, digest: str) -> Path:
        return self._folder / f"{digest}{BUNDLE_SUFFIX}"


@dataclass(frozen=True, slots=True)
class _Offer:
    base: InstalledBundle
    target: str
    delta: Listed


@dataclass(frozen=True, slots=True)
class _Breaks:
    """How often in a row the transfer of the delta `target` broke with nothing more than `here` bytes of it."""

    target: str = ""
    here: int = 0
    times: int = 0

    def and_one(self, target: str, here: int) -> _Breaks:
        again = target == self.target and here <= self.here
        return _Breaks(target, here, self.times + 1 if again else 1)

    def too_many(self, target: str) -> bool:
        return target == self.target and self.times >= MAX_BREAKS


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
