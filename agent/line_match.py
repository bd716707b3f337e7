"""Whether what judges on the line is what was committed on the disk: two threads, which errors may part."""

from __future__ import annotations

from agent.ports.slots import BundleSwitch
from agent.ports.update import SlotStore


class LineMatch:
    """Looks at rest, when no update is under way. One thread's."""

    def __init__(self, slots: SlotStore, switch: BundleSwitch) -> None:
        self._slots, self._switch = slots, switch
        self._seen: str | None = None

    def look(self) -> str | None:
        """Recall what must not judge; return what to report of who judges once that changes, "" for nothing, else None.

        The bundle before the committed one may judge: the line falls back to it by itself, and that is said.

        Raises:
            TransientError: the disk failed.
        """
        judge, mark = self._switch.judge(), self._slots.committed()
        committed = mark.digest if mark else ""
        if judge is None or judge == self._seen == committed:
            return None
        if judge not in ("", committed) and judge not in self._slots.may_judge():
            # Banned, never committed, or stopped by an order: whatever went wrong on the way, it must not go on.
            self._switch.recall(self._slots.boot_bundle())
            return None
        if judge == self._seen:
            return None
        self._seen = judge
        if judge == committed:
            return ""
        return f"judged by bundle {judge[:12]}" if judge else "judged by no bundle"
