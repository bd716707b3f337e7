"""The order keys on the disk: two copies, each with a CRC, written one after the other (OTA-2)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from agent.slots.disk import Disk
from agent.slots.sealed_file import read_sealed
from agent.update.order_keys import OrderKeyRing, pinned_ring
from agent.update.sealed import seal
from contract.signature import OrderKey

_log = logging.getLogger(__name__)


class _Copy(msgspec.Struct, frozen=True):
    number: int
    ring: OrderKeyRing


class OrderKeysFile:
    """The ring in `folder`: whichever moment power is lost at, one whole copy is there."""

    def __init__(self, folder: Path, pinned: Sequence[OrderKey], *, disk: Disk | None = None) -> None:
        """`pinned` are the keys of the station's provisioning, the start."""
        self._paths = (folder / "order_keys.a", folder / "order_keys.b")
        self._pinned, self._disk = tuple(pinned), disk or Disk()
        self._disk.make_folder(folder)

    def read(self) -> OrderKeyRing:
        """Return the keys that count: the later readable copy, or the pinned ones where no key was ever replaced.

        Where a copy is there and none can be read, no key counts at all: the pinned ones may be revoked.

        Raises:
            TransientError: the disk failed.
        """
        found = self._latest()
        if found is not None:
            # Pinned anew by hand since: that is the owner's word.
            return found.ring if found.ring.pinned == self._pinned else pinned_ring(self._pinned)
        torn = [str(path) for path in self._paths if path.exists()]
        if torn:
            # One alone too: the other may have been lost to a file system check. A first write that power cut short leaves
            # none behind, since each copy appears by a rename.
            _log.error("damaged, and no order is followed until it is deleted: %s", " and ".join(torn))
            return OrderKeyRing(())
        return pinned_ring(self._pinned)

    def write(self, ring: OrderKeyRing) -> None:
        """Replace both copies, durably, one after the other.

        Raises:
            StorageFull: no room.
        """
        latest = self._latest()
        if latest is not None and latest.ring == ring:
            return
        sealed = seal(_Copy((latest.number if latest else 0) + 1, ring))
        for path in self._paths:
            self._disk.replace(path, sealed)

    def _latest(self) -> _Copy | None:
        copies = [copy for path in self._paths if (copy := read_sealed(path, _Copy)) is not None]
        return max(copies, key=lambda copy: copy.number, default=None)
