"""The floors on the disk: two copies, each with a CRC, written one after the other (OTA-2)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.slots.disk import Disk, read_kept
from agent.update.floors import Floors
from agent.update.sealed import seal, unseal
from contract.errors import TransientError


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
        """Return the later readable copy; the floors of a new station when there is none.

        Raises:
            TransientError: neither could be read, and one of them is there: floors must not fall because a disk hiccups.
        """
        found = self._latest()
        return found.floors if found else Floors()

    def write(self, floors: Floors) -> None:
        """Replace both copies, durably, one after the other.

        Raises:
            StorageFull: no room.
            TransientError: the disk failed, in reading what is there or in writing.
        """
        latest = self._latest()
        if latest is not None and latest.floors == floors:
            return
        sealed = seal(_Copy((latest.number if latest else 0) + 1, floors))
        for path in self._paths:
            self._disk.replace(path, sealed)

    def _latest(self) -> _Copy | None:
        copies, failed = list[_Copy](), None
        for path in self._paths:
            try:
                data = read_kept(path)
            except TransientError as error:
                failed = error
                continue
            if data is not None and (copy := unseal(data, _Copy)) is not None:
                copies.append(copy)
        if failed is not None and not copies:
            raise failed
        return max(copies, key=lambda copy: copy.number, default=None)
