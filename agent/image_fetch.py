"""The image side of one update: what the repository says of the ordered bundle, and its bytes into a slot (OTA-6, OTA-7).

A bundle comes as a delta from one that is in a slot here, where the repository lists such a delta; whatever is wrong with it,
the whole archive is fetched instead. It comes from the network, or from a kit that somebody plugged in: the checks are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.ports.slots import InstalledBundle
from agent.ports.update import DeltaBuilder, Downloader, FloorStore, ImageRepository, SlotStore
from agent.update import floors as floor_rules
from agent.update.compatible import MachineFacts, compatibility_of_target, incompatibilities
from agent.update.trusted_target import TrustedTarget
from contract.delta import delta_target
from contract.errors import BadBundle, BadOrder, LinkDown, NotFound, PlumblineError, RefusedError
from contract.ids import bundle_target, is_digest
from contract.messages import Order

_log = logging.getLogger(__name__)

MANIFEST_FACT = "manifest"
"""The key under which a TUF target's `custom` facts hold the SHA-256 of its bundle's manifest."""
_MAX_DELTAS_FAILED = 3


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A place that bundles come from: `name` is for people."""

    name: str
    repository: ImageRepository
    downloader: Downloader


@dataclass(frozen=True, slots=True)
class Found:
    """A bundle that `source` vouches for; with a `delta` to it from `base`, where there is one."""

    source: ImageSource
    target: TrustedTarget
    manifest_sha256: str
    base: InstalledBundle | None = None
    delta: TrustedTarget | None = None


class ImageFetch:
    """Finds and fetches bundles. One thread's.

    `sources` returns where to look now, in that order. `deltas_failed` counts deltas that were no use.
    """

    def __init__(
        self,
        sources: Callable[[], Sequence[ImageSource]],
        *,
        slots: SlotStore,
        floors: FloorStore,
        machine: MachineFacts,
        build: DeltaBuilder,
    ) -> None:
        self._sources, self._slots, self._floors, self._machine, self._build = sources, slots, floors, machine, build
        self.deltas_failed = 0

    def look_up(self, order: Order, now: float) -> Found:
        """Return where the ordered bundle is to be had, and raise the floors by what was seen.

        Args:
            now: what expiry is judged by, Unix seconds.
        Raises:
            BadOrder: order and repository disagree.
            BadBundle: the bundle cannot run here, or a repository's metadata does not hold.
            NotFound: no repository lists it.
            LinkDown: none was reached.
        """
        problem: PlumblineError = NotFound("there is no image repository", hint="set [cloud] url, or bring a kit")
        for source in self._sources():
            try:
                return self._look_up_at(source, order, now)
            except (LinkDown, NotFound) as error:
                # What can be tried again says more than what a kit of something else does not hold.
                problem = error if not problem.retry else problem
        raise problem

    def fetch(self, found: Found, digest: str, should_stop: Callable[[], bool]) -> InstalledBundle | None:
        """Return the bundle in its slot; None when `should_stop` said so (what came is kept).

        Raises:
            LinkDown, NotFound, BadBundle, StorageFull: as the downloader and the slots do.
        """
        size = found.target.size_bytes
        self._slots.preflight(size)
        downloader = found.source.downloader
        if found.delta is not None and found.base is not None and self.deltas_failed < _MAX_DELTAS_FAILED:
            try:
                return self._from_delta(found, found.base, found.delta, digest, should_stop)
            except RefusedError as error:
                self.deltas_failed += 1
                _log.warning("the delta to %s is no use, the whole is fetched: %s", digest[:12], error.one_line())
                downloader.discard(found.delta.digest)
        archive = downloader.fetch(digest, size, should_stop, found.manifest_sha256)
        if archive is None:
            return None
        bundle = self._slots.install(archive, digest)
        downloader.discard(digest)
        return bundle

    def _look_up_at(self, source: ImageSource, order: Order, now: float) -> Found:
        base = self._slots.boot_bundle()
        name = bundle_target(order.bundle)
        delta_name = delta_target(base.digest, order.bundle) if base is not None else ""
        floors = self._floors.read()
        targets, seen = source.repository.look_up_targets([name, *filter(None, (delta_name,))], now)
        self._floors.write(floor_rules.raise_repository(floors, seen))
        target = targets.get(name)
        if target is None:
            raise NotFound(f"{source.name} lists no '{name}'", hint="release the bundle before ordering it")
        if target.digest != order.bundle:
            raise BadBundle(f"{source.name} lists '{name}' with another hash")
        if target.size_bytes != order.size_bytes:
            raise BadOrder(f"the order says {order.size_bytes} bytes, {source.name} {target.size_bytes}")
        if unfit := incompatibilities(compatibility_of_target(target.custom), self._machine):
            raise BadBundle(f"this bundle cannot run here: {'; '.join(unfit)}")
        return Found(source, target, _manifest_of(target), base, targets.get(delta_name) if delta_name else None)

    def _from_delta(
        self, found: Found, base: InstalledBundle, delta: TrustedTarget, digest: str, should_stop: Callable[[], bool]
    ) -> InstalledBundle | None:
        downloader = found.source.downloader
        path = downloader.fetch(delta.digest, delta.size_bytes, should_stop, target=delta.name)
        if path is None:
            return None
        archive = self._build(base, Path(path), digest, found.target.size_bytes)
        bundle = self._slots.install(archive, digest)
        downloader.discard(delta.digest)
        downloader.discard(digest)
        _log.info("bundle %s was made of %s and %d bytes", digest[:12], base.digest[:12], delta.size_bytes)
        return bundle


def _manifest_of(target: TrustedTarget) -> str:
    """Return the SHA-256 of the bundle's manifest, "" where the release did not say: then only the whole can be checked."""
    digest = target.custom.get(MANIFEST_FACT)
    return digest if isinstance(digest, str) and is_digest(digest) else ""
