"""The floors on the disk: two copies, each with a CRC, written one after the other (OTA-2)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.slots.disk import Disk
from agent.update.floors import Floors
from agent.update.sealed import seal, unseal
from contract.errors import TransientError

_MAX_BYTES = 1 << 16


class _Copy(msgspec.Struct, frozen=True):
    number: int
    floors: Floors


class FloorsFile:
    """Floors in `folder`: whichever moment power is lost at, one whole copy is there."""

    def __init__(self, folder: Path, *, disk: Disk | None = None) -> None:
        self._paths = (folder / "floors.a", folder / "floors.b")
        self._disk = disk or Disk()
        self._disk.make_folder(folder)

    def read(self) -> Floors:
        """Return the later whole copy; the floors of a new station when both are torn or gone.

        Raises:
            TransientError: the disk would not say: that is no reason to forget them.
        """
        found = self._latest(self._copies())
        return found.floors if found else Floors()

    def write(self, floors: Floors) -> None:
        """Replace both copies, durably, one after the other; a copy that was lost is there again afterwards.

        Raises:
            StorageFull: no room.
            TransientError: the disk failed.
        """
        copies = self._copies()
        if all(copy is not None and copy.floors == floors for copy in copies):
            return
        latest = self._latest(copies)
        sealed = seal(_Copy((latest.number if latest else 0) + 1, floors))
        for path in self._paths:
            self._disk.replace(path, sealed)

    def _copies(self) -> list[_Copy | None]:
        found, fault = [], None
        for path in self._paths:
            try:
                found.append(_read(path))
            except OSError as error:
                found.append(None)
                fault = error
        if fault is not None and self._latest(found) is None:
            raise TransientError(
                f"the floors in '{self._paths[0].parent}' cannot be read: {fault.strerror or fault}",
                hint="check the disk and who owns that folder",
            ) from fault
        return found

    @staticmethod
    def _latest(copies: list[_Copy | None]) -> _Copy | None:
        return max((copy for copy in copies if copy is not None), key=lambda copy: copy.number, default=None)


def _read(path: Path) -> _Copy | None:
    try:
        with path.open("rb") as file:
            return unseal(file.read(_MAX_BYTES), _Copy)
    except FileNotFoundError:
        return None
