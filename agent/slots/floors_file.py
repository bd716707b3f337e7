"""The floors on the disk: two copies, each with a CRC, written one after the other (OTA-2)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.slots.disk import Disk
from agent.update.floors import Floors
from agent.update.sealed import seal, unseal


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
        """Return the later readable copy; the floors of a new station when there is none."""
        found = self._latest()
        return found.floors if found else Floors()

    def write(self, floors: Floors) -> None:
        """Replace both copies, durably, one after the other.

        Raises:
            StorageFull: no room.
        """
        latest = self._latest()
        if latest is not None and latest.floors == floors:
            return
        sealed = seal(_Copy((latest.number if latest else 0) + 1, floors))
        for path in self._paths:
            self._disk.replace(path, sealed)

    def _latest(self) -> _Copy | None:
        copies = [copy for path in self._paths if (copy := _read(path)) is not None]
        return max(copies, key=lambda copy: copy.number, default=None)


def _read(path: Path) -> _Copy | None:
    try:
        return unseal(path.read_bytes(), _Copy)
    except OSError:
        return None
