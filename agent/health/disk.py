"""What the file system under the station's home has left."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """Bytes in all and free to this user; `read_only` after a remount, which is how many flash cards die."""

    total_bytes: int
    free_bytes: int
    read_only: bool


def disk_room(folder: Path) -> DiskRoom | None:
    """Return the room under `folder` or the nearest parent that exists; None where the system will not say."""
    for place in (folder, *folder.absolute().parents):
        try:
            found = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return DiskRoom(
            found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, bool(found.f_flag & os.ST_RDONLY)
        )
    return None


def disk_trouble(room: DiskRoom | None, needed_bytes: int) -> str:
    """Return what is wrong with the disk and what to do, for a person; "" for nothing."""
    if room is None:
        return "the disk does not answer: check that it is mounted"
    if room.read_only:
        return "the disk is read-only: check dmesg for its errors, then remount it or replace it"
    if room.free_bytes < needed_bytes:
        return (
            f"{room.free_bytes >> 20} MiB are free and the station may need {needed_bytes >> 20} MiB:"
            " free some, or lower [limits] disk_mib"
        )
    return ""
