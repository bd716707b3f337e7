"""Where a kit waits on the station's own disk, and what became of the last one.

HOME/kits/coming/    being copied from the stick; nobody looks into it
HOME/kits/copying    locked by whoever copies, and by nobody once that process is gone
HOME/kits/here/      whole: order.json, metadata/, targets/; the update loop follows it
HOME/kits/outcome    how the last one ended
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agent.slots.disk import Disk, disk_faults
from agent.slots.part_file import PartFile
from agent.update.sealed import seal, unseal
from contract.codec import decode_control
from contract.errors import BadBundle, BadMessage, NotFound, TransientError
from contract.ids import bundle_target
from contract.messages import DesiredState

COMMITTED, ROLLED_BACK, REFUSED, SUPERSEDED = "committed", "rolled back", "refused", "superseded"


_log = logging.getLogger(__name__)


class KitOutcome(msgspec.Struct, frozen=True):
    """How a kit's order ended: one of the four words above, and why where there is more to say."""

    desired_seq: int
    bundle: str
    ending: str
    reason: str = ""


class KitInbox:
    """The kits folder below `home`. The command that brings a kit and the station that follows it share it, by renames."""

    def __init__(self, home: Path, *, disk: Disk | None = None) -> None:
        self._disk = disk or Disk()
        self._kits = home / "kits"
        self.here, self._coming, self._outcome = self._kits / "here", self._kits / "coming", self._kits / "outcome"
        self._copying: int | None = None
        self._swept_in_vain = ""

    @property
    def cache(self) -> Path:
        """Where the client of the kit's metadata keeps its own: never the network's, whose timestamps are other ones."""
        return self._kits / "tuf"

    def prepare(self) -> Path:
        """Return an empty folder to copy a kit into, which is this object's alone until `put` or `abandon`.

        Raises:
            TransientError: another process copies a kit just now.
        """
        self._disk.make_folder(self._kits)
        if not self._begin_copying():
            raise TransientError(
                "another kit is being copied to this station", hint="wait until that command has ended"
            )
        try:
            self._disk.remove(self._coming)
            self._disk.make_folder(self._coming)
        except BaseException:
            self._end_copying()
            raise
        return self._coming

    def put(self, order: bytes) -> None:
        """Let the kit that was copied take the place of whatever kit is here; `order` is its DesiredState as JSON."""
        self._disk.replace(self._coming / "order.json", order)
        for folder in (*(path for path in self._coming.rglob("*") if path.is_dir()), self._coming):
            self._disk.fsync_folder(folder)
        with self._alone():
            self._disk.remove(self._outcome)
            self._disk.remove(self.here)
            self._disk.rename(self._coming, self.here)
            self._disk.fsync_folder(self._kits)
        self._end_copying()

    def abandon(self) -> None:
        """Delete what was copied so far."""
        try:
            self._disk.remove(self._coming)
        finally:
            self._end_copying()

    def sweep(self) -> None:
        """Delete what a command that was killed left of a kit; what is being copied stays. Cheap where nothing is."""
        if not self._coming.exists():
            return
        try:
            if self._begin_copying():
                self.abandon()
        except TransientError as error:
            if error.one_line() != self._swept_in_vain:  # it is tried every second
                self._swept_in_vain = error.one_line()
                _log.warning("what is left of a kit cannot be deleted: %s", self._swept_in_vain)

    def stamp(self) -> tuple[int, int] | None:
        """Return what tells the kit that is here from another; None when none is. Cheap."""
        try:
            found = (self.here / "order.json").stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def order(self) -> DesiredState | None:
        """Return the order of the kit that is here; None when there is none that can be read."""
        try:
            return decode_control((self.here / "order.json").read_bytes(), DesiredState)
        except (OSError, BadMessage):
            return None

    def conclude(self, outcome: KitOutcome, stamp: tuple[int, int] | None) -> None:
        """Say how the kit with `stamp` ended, and delete it, unless another one took its place meanwhile."""
        self._disk.make_folder(self._kits)
        with self._alone():
            self._disk.replace(self._outcome, seal(outcome))
            if self.stamp() == stamp:
                self._disk.remove(self.here)
                self._disk.remove(self.cache)

    def outcome(self) -> KitOutcome | None:
        """Return how the last kit ended; None when that is not known (yet)."""
        try:
            return unseal(self._outcome.read_bytes(), KitOutcome)
        except OSError:
            return None

    def _begin_copying(self) -> bool:
        with disk_faults(self._kits):
            file = os.open(self._kits / "copying", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._copying = file
        return True

    def _end_copying(self) -> None:
        if self._copying is not None:
            os.close(self._copying)
            self._copying = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the other process out while a kit changes its place."""
        with disk_faults(self._kits):
            file = os.open(self._kits / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)


class KitDownloader:
    """`agent.ports.update.Downloader` of the kit that is here: nothing is copied again, everything is checked again."""

    def __init__(self, inbox: KitInbox, *, disk: Disk | None = None) -> None:
        self._inbox, self._disk = inbox, disk or Disk()

    def has(self, target: str) -> bool:
        """Return whether the kit holds this file below targets/."""
        return (self._inbox.here / "targets" / target).is_file()

    def make_ready(self, digest: str) -> int:
        """Return the size of that bundle's file in the kit, which is on the station's own disk and is not copied again."""
        try:
            return (self._inbox.here / "targets" / bundle_target(digest)).stat().st_size
        except OSError:
            return 0

    def fetch(
        self,
        digest: str,
        size_bytes: int,
        should_stop: Callable[[], bool],
        manifest_sha256: str = "",
        *,
        target: str = "",
    ) -> Path | None:
        """Return the path of the file in the kit, hash-checked; None when `should_stop` said so.

        Raises:
            NotFound: the kit does not hold it.
            BadBundle: it is not what the digest names.
        """
        name = target or bundle_target(digest)
        if not self.has(name):
            raise NotFound(f"the kit holds no '{name}'", hint="apply the kit again")
        part = PartFile(self._inbox.here / "targets" / name, digest, size_bytes, self._disk, manifest_sha256)
        if not part.resume(should_stop):
            return None
        if part.size != size_bytes:
            raise BadBundle(f"'{name}' of the kit is damaged at byte {part.size}", hint="apply the kit again")
        return part.finish()

    def discard(self, digest: str) -> None:
        """Keep everything: a kit goes when its order has ended."""
