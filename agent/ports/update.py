"""What the update loop needs of the outside: the image repository, the slots, the floors and the self-test.

Orders come and reports go through `agent.ports.orders`; the frame loop is met through `agent.ports.slots`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Protocol

from agent.ports.slots import InstalledBundle
from agent.update.floors import Floors, RepositoryVersions
from agent.update.slot_state import CommitMark, Ending, TrialRecord
from agent.update.trusted_target import TrustedTarget
from contract.messages import Order


class ImageRepository(Protocol):
    """The image side of an update: which files the release keys vouch for."""

    def look_up_targets(
        self, names: Iterable[str], now: float
    ) -> tuple[Mapping[str, TrustedTarget], RepositoryVersions]:
        """Return those of the files `names` that the repository lists, and the versions seen, all after one refresh.

        `now` is what expiry is judged by, Unix seconds.

        Raises:
            LinkDown: the repository was not reached.
            TransientError: its metadata is expired by `now`, which may be wrong.
            BadBundle: its metadata does not hold.
            NotFound: there is no repository.
        """


class Downloader(Protocol):
    """Fetches archives and deltas, resuming what an earlier call left."""

    def make_ready(self, digest: str) -> int:
        """Delete whatever lies here of anything else, and return how many bytes of this archive are here already.

        Call it before asking whether there is room for the rest.

        Raises:
            LinkDown: what could be fetched in its place was not to be asked.
            TransientError: the disk failed.
        """

    def fetch(
        self,
        digest: str,
        size_bytes: int,
        should_stop: Callable[[], bool],
        manifest_sha256: str = "",
        *,
        target: str = "",
    ) -> PurePath | None:
        """Return the path of the complete, hash-checked file; None when `should_stop` said so (what came is kept).

        Args:
            manifest_sha256: of the manifest that a bundle's archive begins with, "" when not known.
            target: another file of the repository than the bundle of that digest.
        Raises:
            LinkDown: the transfer broke; call again to resume.
            NotFound: the server has no such file.
            BadBundle: what came is not what the digest names; it was deleted.
            StorageFull: no room.
        """

    def discard(self, digest: str) -> None:
        """Delete whatever was fetched for `digest`."""


class SlotStore(Protocol):
    """The bundles on this station's disk. Every method is durable when it returns; used by one thread at a time."""

    def boot_bundle(self) -> InstalledBundle | None:
        """Return the last committed bundle that still matches its hash; None when there is none."""

    def committed(self) -> CommitMark | None:
        """Return the mark of the last commit; None when nothing was ever committed."""

    def trial(self) -> TrialRecord | None:
        """Return the trial under way on the disk."""

    def last(self) -> Ending | None:
        """Return how the last update ended."""

    def banned(self) -> AbstractSet[tuple[str, str]]:
        """Return the (bundle, deployment) pairs that failed here."""

    def staged(self, digest: str) -> InstalledBundle | None:
        """Return the bundle in its slot when it is there and matches its hash."""

    def preflight(self, size_bytes: int, here: int = 0) -> None:
        """Check that a bundle archive of this size, of which `here` bytes are on this disk, can be fetched and installed.

        Raises:
            StorageFull: it cannot.
        """

    def install(self, archive: PurePath, digest: str) -> InstalledBundle:
        """Unpack a downloaded archive into a slot.

        Raises:
            BadBundle: it does not hold what it must.
            StorageFull: no room.
        """

    def begin_try(self, order: Order) -> int:
        """Count one more try of this trial; return which one it is (1, 2, ...)."""

    def commit(self, order: Order, *, frames: int = 0, agreed: int = 0) -> None:
        """Make the order's bundle the one to boot, and end its trial."""

    def roll_back(self, order: Order, reason: str, *, frames: int = 0, agreed: int = 0) -> None:
        """End the order's trial without it and ban (bundle, deployment)."""

    def put_away(self, order: Order, reason: str, *, frames: int, agreed: int) -> None:
        """End a trial whose bundle was to decide unseen only, and did."""

    def may_judge(self) -> AbstractSet[str]:
        """Return the digests of committed bundles that may be in charge, as the marks and bans say."""

    def forgive_try(self) -> None:
        """Take back the last try of the trial under way."""

    def withdraw_trial(self) -> None:
        """End the trial under way without an outcome: a newer order took its place."""

    def step_back(self, reason: str) -> InstalledBundle:
        """Take the bundle that boots back, and return the one committed before it, which boots from now on.

        Raises:
            NotFound: there is none that may run; nothing changed.
        """

    def collect_garbage(self, *, for_another: bool = False) -> None:
        """Delete slots that neither run nor could be run again; never the last committed one.

        `for_another`: one that is about to come needs room: what only decided unseen goes too.
        """


class FloorStore(Protocol):
    """The floors, kept in two copies."""

    def read(self) -> Floors:
        """Return the floors."""

    def write(self, floors: Floors) -> None:
        """Replace both copies, durably, one after the other."""


class SelfTester(Protocol):
    """Runs a bundle's golden vectors where it can do no harm."""

    def run(self, folder: PurePath) -> str:
        """Return "" when the bundle in `folder` passed; otherwise what was wrong, in words for a person."""
