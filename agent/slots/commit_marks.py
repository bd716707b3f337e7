"""Which bundles were committed on this station, and in what order: one small file each, so that losing one loses no other."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

from agent.slots.disk import Disk
from agent.slots.sealed_file import read_sealed
from agent.update.sealed import seal
from agent.update.slot_state import CommitMark
from contract.ids import is_digest
from contract.messages import Order

NOTHING = "nothing"
"""The name of the mark that says: run no bundle."""


class CommitMarks:
    """The marks in `folder`. One process at a time; one thread at a time."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder, self._disk = folder, disk
        disk.make_folder(folder)

    def all(self) -> list[CommitMark]:
        """Return every readable mark, the latest commit first."""
        marks = []
        for path in self._folder.iterdir():
            named = path.name if is_digest(path.name) else "" if path.name == NOTHING else None
            mark = read_sealed(path, CommitMark) if named is not None else None
            if mark is not None and mark.digest == named:
                marks.append(mark)
        return sorted(marks, key=lambda mark: mark.number, reverse=True)

    def write(self, digest: str, order: Order | None) -> None:
        """Make `digest` ("": nothing at all) the latest commit, durably."""
        number = max((mark.number for mark in self.all()), default=0) + 1
        self._disk.replace(self._folder / (digest or NOTHING), seal(CommitMark(digest, number, order)))

    def keep_only(self, digests: AbstractSet[str]) -> None:
        """Delete every mark of another bundle."""
        names = {digest or NOTHING for digest in digests}
        surplus = [path for path in self._folder.iterdir() if path.name not in names]
        for path in surplus:
            self._disk.remove(path)
        if surplus:
            self._disk.fsync_folder(self._folder)
