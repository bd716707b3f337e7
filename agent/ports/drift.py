"""Being told of drift."""

from __future__ import annotations

from typing import Protocol


class DriftNotice(Protocol):
    """The frame loop's side of the "drift" command. Thread-safe, and the same notice twice changes nothing."""

    def notice_drift(self, alarmed: bool, why: str) -> None:
        """Take note that a drift alarm is open (`why`, for a person) or that none is any more; outlives a restart.

        Raises:
            TransientError: the disk refused; nothing changed.
        """
