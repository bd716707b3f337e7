"""Which bundles were committed on this station, and in what order: one small file each, so that losing one loses no other."""

from __future__ import annotations

import logging
from collections.abc import Set as AbstractSet
from pathlib import Path

from agent.slots.disk import Disk, disk_faults
from agent.slots.sealed_file import read_sealed
from agent.update.sealed import seal
from agent.update.slot_state import CommitMark
from contract.errors import TransientError
from contract.ids import is_digest
from contract.messages import Order

_log = logging.getLogger(__name__)

NOTHING = "nothing"
"""The name of the mark that says: run no bundle."""


class CommitMarks:
    """The marks in `folder`. One process at a time; one thread at a time."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder, self._disk = folder, disk
        disk.make_folder(folder)

    def all(self, *, tolerant: bool = False) -> list[CommitMark]:
        """Return every whole mark, the latest commit first. `tolerant`: without those that the disk does not give just now.

        Raises:
            TransientError: the disk failed, so what is latest is not known.
        """
        marks = []
        with disk_faults(self._folder):
            paths = list(self._folder.iterdir())
        for path in paths:
            named = path.name if is_digest(path.name) else "" if path.name == NOTHING else None
            try:
                mark = read_sealed(path, CommitMark) if named is not None else None
            except TransientError as error:
                if not tolerant:
                    raise
                _log.error("a commit is passed over: %s", error.one_line())
                continue
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
        with disk_faults(self._folder):
            surplus = [path for path in self._folder.iterdir() if path.name not in names]
        for path in surplus:
            self._disk.remove(path)
        if surplus:
            self._disk.fsync_folder(self._folder)
