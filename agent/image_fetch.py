"""The image side of one update: what a repository says of the ordered bundle, and its bytes into a slot (OTA-6).

A bundle comes from the network, or from a kit that somebody plugged in: the checks are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.ports.slots import InstalledBundle
from agent.ports.update import Downloader, FloorStore, ImageRepository, SlotStore
from agent.update import floors as floor_rules
from agent.update.compatible import MachineFacts, check_fits
from agent.update.trusted_target import TrustedTarget
from contract.errors import BadBundle, BadOrder, LinkDown, NotFound, PlumblineError
from contract.ids import bundle_target
from contract.messages import Order
from contract.target_facts import read_facts


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A place that bundles come from: `name` is for people."""

    name: str
    repository: ImageRepository
    downloader: Downloader


@dataclass(frozen=True, slots=True)
class Found:
    """A bundle that `source` vouches for. `manifest_sha256` is "" where its release did not say."""

    source: ImageSource
    target: TrustedTarget
    manifest_sha256: str


class ImageFetch:
    """Finds and fetches bundles. One thread's.

    `sources` returns where to look now, in that order.
    """

    def __init__(
        self,
        sources: Callable[[], Sequence[ImageSource]],
        *,
        slots: SlotStore,
        floors: FloorStore,
        machine: MachineFacts,
    ) -> None:
        self._sources, self._slots, self._floors, self._machine = sources, slots, floors, machine

    def look_up(self, order: Order, now: float) -> Found:
        """Return where the ordered bundle is to be had, and raise the floors by what was seen.

        Args:
            now: the station's clock, Unix seconds. Expiry is judged by it where it is later than the floors' time.
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
        size, downloader = found.target.size_bytes, found.source.downloader
        # What an earlier order left goes first, or it would take the room that is asked for here.
        self._slots.preflight(size, downloader.make_ready(digest))
        archive = downloader.fetch(digest, size, should_stop, found.manifest_sha256)
        if archive is None:
            return None
        bundle = self._slots.install(archive, digest)
        downloader.discard(digest)
        # Its own word: a release of before may have told the repository nothing.
        check_fits(bundle.manifest.compatibility, bundle.manifest.resources.memory_mib, self._machine)
        return bundle

    def give_up(self, found: Found, digest: str) -> None:
        """Delete whatever was fetched of a bundle that is not wanted any more."""
        found.source.downloader.discard(digest)

    def _look_up_at(self, source: ImageSource, order: Order, now: float) -> Found:
        name, floors = bundle_target(order.bundle), self._floors.read()
        targets, seen = source.repository.look_up_targets((name,), floor_rules.effective_now(floors, now))
        raised = floor_rules.raise_repository(floors, seen)
        target = targets.get(name)
        if target is not None and target.digest == order.bundle:
            raised = floor_rules.raise_time(raised, order.issued_at, seen.expires_at, now)
        self._floors.write(raised)
        if target is None:
            raise NotFound(f"{source.name} lists no '{name}'", hint="release the bundle before ordering it")
        if target.digest != order.bundle:
            raise BadBundle(f"{source.name} lists '{name}' with another hash")
        if target.size_bytes != order.size_bytes:
            raise BadOrder(f"the order says {order.size_bytes} bytes, {source.name} {target.size_bytes}")
        facts = read_facts(target.custom)
        check_fits(facts.compatibility, facts.memory_mib, self._machine)
        return Found(source, target, facts.manifest)
