"""How often in a row the station died soon after it had loaded its bundle: a model that kills the process must not do so for ever.

A count is written before anything is loaded and struck out once the station has run for a while, or ended as it should. A
start of the machine counts a quarter: lost power says little about a bundle, but one may reset the machine.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.slots.disk import Disk
from agent.slots.sealed_file import read_sealed
from agent.update.sealed import seal

SETTLED_AFTER_S = 600.0
"""A station that has run for so long does not die of its start."""


_RESETS_A_DEATH = 4


class _Count(msgspec.Struct, frozen=True):
    bundle: str
    machine_boot: str
    starts: int
    resets: int = 0
    tries: int = 0


class BootCount:
    """The count in the file at `path`."""

    def __init__(self, path: Path, *, disk: Disk | None = None) -> None:
        self._path, self._disk = path, disk or Disk()

    def begin(self, bundle: str, machine_boot: str, tries: int = 0) -> int:
        """Count a start with `bundle`, durably; return how many starts before this one died, in a row.

        Args:
            machine_boot: names the running of the machine, as /proc/sys/kernel/random/boot_id does.
            tries: of the candidate on trial: where they rose since, it was loaded, and the death is counted there.
        Raises:
            TransientError: the disk refused.
        """
        last = read_sealed(self._path, _Count)
        died = resets = 0
        if last is not None and last.bundle == bundle:
            of_trial, reset = tries > last.tries, last.machine_boot != machine_boot
            died = last.starts - (of_trial or reset)
            resets = last.resets + (reset and not of_trial)
        self._disk.replace(self._path, seal(_Count(bundle, machine_boot, died + 1, resets, tries)))
        return died + resets // _RESETS_A_DEATH

    def settled(self) -> None:
        """Strike the count out: the station runs, or ended as it should.

        Raises:
            TransientError: the disk refused.
        """
        if self._path.exists():
            self._disk.remove(self._path)
            self._disk.fsync_folder(self._path.parent)
