"""The bundles on this station's disk: at most three slots, of which the last committed one always boots (OTA-4, OTA-5).

    FOLDER/slots/DIGEST/        an unpacked bundle; its folder's name is the SHA-256 of its archive
    FOLDER/committed/DIGEST     says that this bundle was committed, and as which commit; `nothing`: that none shall run
    FOLDER/provisioned          which bundle came with the station
    FOLDER/state                the trial under way, the bans, how the last update ended

What boots is decided by the marks and the bans: the bundle of the highest commit number that is not banned and whose slot still
matches its hash. So a torn state file costs a trial, never a bundle, a rotten slot falls back to the one committed before it,
and a ban alone takes a committed bundle back. What is older than a commit's release counter never boots again (OTA-3).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path, PurePath

import msgspec

from agent.ports.slots import InstalledBundle
from agent.slots.commit_marks import CommitMarks
from agent.slots.disk import Disk, disk_faults
from agent.slots.sealed_file import read_sealed
from agent.slots.unpacked import open_archive, open_folder, unreadable
from agent.update.sealed import seal
from agent.update.slot_state import CommitMark, Ending, SlotState, TrialRecord, ban_of, begun_again, with_ban
from contract.errors import BadBundle, NotFound, StorageFull, TransientError
from contract.messages import Order

MAX_SLOTS = 3
_SPARE_BYTES = 8 << 20  # room for state files and the store's next commits
_log = logging.getLogger(__name__)


class _Provisioned(msgspec.Struct, frozen=True):
    digest: str


class Slots:
    """The slots in `folder`. One process at a time; one thread at a time."""

    def __init__(self, folder: Path, *, disk: Disk | None = None, machine_boot: str = "") -> None:
        """`machine_boot` names this running of the machine, as /proc/sys/kernel/random/boot_id does."""
        self._machine_boot = machine_boot
        self._folder, self._disk = folder, disk or Disk()
        self._slots, self._state_path, self._provisioned = folder / "slots", folder / "state", folder / "provisioned"
        self._disk.make_folder(self._slots)
        self._marks = CommitMarks(folder / "committed", self._disk)
        self._disk.fsync_folder(folder)

    def boot_bundle(self) -> InstalledBundle | None:
        """Return the last committed bundle that still matches its hash; None when there is none."""
        return next(self.boot_bundles(), None)

    def boot_bundles(self) -> Iterator[InstalledBundle]:
        """Yield the committed bundles that may run, latest first: this one, then the previous one (DESIGN 3)."""
        # A disk that fails at one file must not keep a station from booting what it still gives.
        marks = self._committed(tolerant=True)
        least = _least_counter(marks)
        for mark in marks:
            if not mark.digest:
                return  # ordered to run nothing: nor what was before
            try:
                bundle = open_folder(self._slots / mark.digest, digest=mark.digest)
            except (BadBundle, NotFound, TransientError) as error:
                _log.error("committed bundle %s is passed over: %s", mark.digest[:12], error.one_line())
                continue
            if bundle.manifest.release_counter >= least:
                yield bundle

    def committed(self) -> CommitMark | None:
        """Return the mark of the last commit that stands; None when there is none. Its digest is "" for "run nothing"."""
        return next(iter(self._committed()), None)

    def least_counter(self) -> int:
        """Return the release counter below which no bundle may run, as far as the commits here say."""
        return _least_counter(self._marks.all())

    def trial(self) -> TrialRecord | None:
        """Return the trial under way on the disk."""
        trial, mark = self._state().trial, self.committed()
        # Power was lost between the commit mark and the state file: the mark is what counts.
        return None if trial is not None and mark is not None and mark.order == trial.order else trial

    def last(self) -> Ending | None:
        """Return how the last update ended."""
        last, mark = self._state().last, self.committed()
        if (
            mark is not None
            and mark.order is not None
            and (last is None or last.order.desired_seq < mark.order.desired_seq)
        ):
            return Ending(mark.order, kept=True)
        return last

    def banned(self) -> AbstractSet[tuple[str, str]]:
        """Return the (bundle, deployment) pairs that failed here."""
        return frozenset(self._state().banned)

    def staged(self, digest: str) -> InstalledBundle | None:
        """Return the bundle in its slot when it is there and matches its hash."""
        try:
            return open_folder(self._slots / digest, digest=digest)
        except (BadBundle, NotFound, TransientError):
            return None  # what cannot be read is fetched anew, onto other blocks

    def preflight(self, size_bytes: int, here: int = 0) -> None:
        """Check that a bundle archive of `size_bytes` can be fetched and installed beside what is on this disk.

        Args:
            here: bytes of the archive that were fetched already; asked for again, one break would keep it out for good.
        Raises:
            StorageFull: it cannot.
        """
        needed = 2 * size_bytes - min(here, size_bytes) + _SPARE_BYTES
        free = self._disk.free_bytes(self._folder)
        if free < needed:
            raise StorageFull(
                f"a bundle of {size_bytes >> 10} KiB needs {needed >> 20} MiB, '{self._folder}' has {free >> 20} MiB",
                hint="free space on this disk",
            )

    def install(self, archive: PurePath, digest: str) -> InstalledBundle:
        """Unpack `archive`, whose SHA-256 must be `digest`, into its slot (OTA-4).

        Raises:
            BadBundle: it does not hold what it must.
            StorageFull: no room.
        """
        slot, temporary = self._slots / digest, self._slots / f"{digest}.tmp"
        self._disk.remove(temporary)
        try:
            open_archive(Path(archive), temporary, digest=digest, disk=self._disk)
            # Read back what was written, not what was meant to be.
            open_folder(temporary, digest=digest)
        except (BadBundle, StorageFull, TransientError):
            self._disk.remove(temporary)
            raise
        self._disk.remove(slot)
        self._disk.rename(temporary, slot)
        self._disk.fsync_folder(self._slots)
        return open_folder(slot, digest=digest)

    def install_local(self, archive: Path) -> InstalledBundle | None:
        """Install and commit the bundle that the station was provisioned with, once; what came later over the air stays.

        Call it at each start: the same archive is committed only the first time, so it never undoes an update.

        Returns: the bundle to boot; None where an order says that nothing shall run.
        Raises:
            NotFound: there is no such file.
            BadBundle: it is no whole bundle.
            StorageFull: no room.
        """
        digest, booted = _digest_of(archive), self.boot_bundle()
        provisioned = read_sealed(self._provisioned, _Provisioned)
        torn = provisioned is None and self._provisioned.exists()
        mark = self.committed()
        settled = booted is not None or (mark is not None and not mark.digest)
        if settled and (torn or (provisioned is not None and provisioned.digest == digest)):
            return booted
        bundle = self.staged(digest)
        if bundle is None:
            self.preflight(archive.stat().st_size)
            bundle = self.install(archive, digest)
        if bundle.manifest.release_counter < self.least_counter():
            raise BadBundle(
                f"'{archive}' has release counter {bundle.manifest.release_counter}, at least {self.least_counter()} may run",
                hint="bundles of that age must never run here again; provision a newer one",
            )
        self._marks.write(digest, None)
        self._disk.replace(self._provisioned, seal(_Provisioned(digest)))
        self.collect_garbage()
        return bundle

    def begin_try(self, order: Order) -> int:
        """Count one more try of this trial, durably; return which one it is (1, 2, ...)."""
        state = self._state()
        trial = begun_again(state.trial, order, self._machine_boot)
        self._write_state(msgspec.structs.replace(state, trial=trial))
        return trial.tries

    def commit(self, order: Order, *, frames: int = 0, agreed: int = 0) -> None:
        """Make the order's bundle the one to boot, and end its trial; an order of "" makes it none.

        Raises:
            BadBundle: its slot does not match its hash; nothing changed.
        """
        if order.bundle:
            open_folder(self._slots / order.bundle, digest=order.bundle)
        self._marks.write(order.bundle, order)
        ending = Ending(order, kept=True, frames=frames, agreed=agreed)
        self._write_state(msgspec.structs.replace(self._state(), trial=None, last=ending))

    def roll_back(self, order: Order, reason: str, *, frames: int = 0, agreed: int = 0) -> None:
        """End the order's trial without it and ban (bundle, deployment)."""
        ending = Ending(order, kept=False, reason=reason, frames=frames, agreed=agreed)
        state = with_ban(self._state(), order.bundle, order.deployment)
        self._write_state(msgspec.structs.replace(state, trial=None, last=ending))

    def put_away(self, order: Order, reason: str, *, frames: int, agreed: int) -> None:
        """End a trial whose bundle was to decide unseen only, and did. It stays in its slot until another order ends."""
        ending = Ending(order, kept=False, reason=reason, frames=frames, agreed=agreed, shadowed=True)
        self._write_state(msgspec.structs.replace(self._state(), trial=None, last=ending))

    def may_judge(self) -> AbstractSet[str]:
        """Return the digests of committed bundles that may be in charge, as the marks and bans say."""
        marks = self._committed()
        return {mark.digest for mark in marks if mark.digest} if marks and marks[0].digest else frozenset()

    def forgive_try(self) -> None:
        """Take back the last try of the trial under way: the station ended as it should."""
        state = self._state()
        if state.trial is not None:
            trial = msgspec.structs.replace(state.trial, tries=max(state.trial.tries - 1, 0))
            self._write_state(msgspec.structs.replace(state, trial=trial))

    def withdraw_trial(self) -> None:
        """End the trial under way without an outcome: a newer order took its place."""
        self._write_state(msgspec.structs.replace(self._state(), trial=None))

    def step_back(self, reason: str) -> InstalledBundle:
        """Take the bundle that boots back, and return the one committed before it, which boots from now on.

        Raises:
            NotFound: there is none that may run; nothing changed.
        """
        current, earlier = self.committed(), list(islice(self.boot_bundles(), 2))
        earlier = [bundle for bundle in earlier if current is not None and bundle.digest != current.digest]
        if current is None or not earlier:
            raise NotFound("no bundle that ran here before is left to go back to", hint="order one, or bring a kit")
        state = with_ban(self._state(), *ban_of(current.digest, current.order))
        if current.order is not None:
            state = msgspec.structs.replace(state, last=Ending(current.order, kept=False, reason=reason))
        # The ban takes it back, in one step; its mark is only tidied up later.
        self._write_state(state)
        return earlier[0]

    def collect_garbage(self, *, for_another: bool = False) -> None:
        """Delete what neither runs nor could be run again; the last committed bundle that boots is never among it.

        `for_another`: what decided unseen only makes room too, for another bundle is about to come.
        """
        # By mark as well as by hash: a disk that cannot be read just now must not cost the bundle.
        kept = {mark.digest for mark in self._committed()[: MAX_SLOTS - 1]}
        kept |= {bundle.digest for bundle in islice(self.boot_bundles(), 1)}
        trial = self.trial()
        if trial is not None:
            kept.add(trial.order.bundle)
        last = self._state().last
        if last is not None and last.shadowed and trial is None and not for_another:
            kept.add(last.order.bundle)  # what decided unseen is most often ordered next: it is not fetched twice
        self._marks.keep_only(kept)
        with disk_faults(self._slots):
            surplus = [path for path in self._slots.iterdir() if path.name not in kept]
        for path in surplus:
            self._disk.remove(path)
        if surplus:
            self._disk.fsync_folder(self._slots)

    def _committed(self, *, tolerant: bool = False) -> list[CommitMark]:
        marks = self._marks.all(tolerant=tolerant)
        try:
            banned = self.banned()
        except TransientError:
            if not tolerant:
                raise
            return marks
        return [mark for mark in marks if ban_of(mark.digest, mark.order) not in banned]

    def _state(self) -> SlotState:
        return read_sealed(self._state_path, SlotState) or SlotState()

    def _write_state(self, state: SlotState) -> None:
        self._disk.replace(self._state_path, seal(state))


def _least_counter(marks: list[CommitMark]) -> int:
    # An order to run nothing asked no image key: its word alone rules no bundle out.
    return max((mark.order.release_counter for mark in marks if mark.order and mark.digest), default=0)


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except FileNotFoundError as error:
        raise NotFound(f"no bundle '{path}'", hint="check the path") from error
    except OSError as error:
        raise unreadable(f"'{path}'", error) from error
    return digest.hexdigest()
