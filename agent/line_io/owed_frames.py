"""Frames that are still to come for triggers that were given up: none of them is a later trigger's."""

from __future__ import annotations

from collections import deque

_MOST = 64
_ASTRAY = 3
_RESTS = "the camera's images and the requests are out of step: a pause tells whose the next one is"


class OwedFrames:
    """What a camera with a trigger of its own still owes for triggers that were given up before their frame was there.

    Its frames come in order, so that whatever comes first is for the oldest of those. Where none ever comes (the camera took no
    notice), the next part's frame is taken for that one, and so on: parts are lost, and none gets another's verdict (that a part
    still waits whose frame may be gone is the desk's care). After a few in a row the line rests for twice the timeout, in which
    whatever was owed comes or never does, and is in step again.

    Times are seconds of the station's monotonic clock. Whoever uses it holds a lock.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._until: deque[float] = deque(maxlen=_MOST)
        self._astray = 0
        self._rests_until_s = float("-inf")

    def owe(self, since_s: float) -> None:
        """Note that a trigger was given up at `since_s`; its frame may come for as long again as the timeout."""
        self._until.append(since_s + self._timeout_s)

    def without(self, gone: int, now_s: float) -> int:
        """Return how many of the frames that the camera's count says are `gone` were for triggers that still wait."""
        while self._until and gone > 0:
            self._until.popleft()
            gone -= 1
        while self._until and self._until[0] < now_s:
            self._until.popleft()
        return gone

    def takes(self, now_s: float, *, waiting: bool) -> bool:
        """Return whether the frame that is there now is one that was owed. `waiting`: a trigger waits that it could be for."""
        if not self._until:
            return False
        self._until.popleft()
        if waiting:
            self.went_astray(now_s)
        return True

    def went_astray(self, now_s: float) -> None:
        """Note that a frame is nobody's though a trigger waits, or came before its trigger; a few in a row make the line rest."""
        self._astray += 1
        if self._astray >= _ASTRAY:
            self._astray, self._rests_until_s = 0, now_s + 2 * self._timeout_s

    def in_step(self) -> None:
        """Note that a frame is the waiting trigger's."""
        self._astray = 0

    def why_rests(self, now_s: float) -> str:
        """Return why nothing may be asked now, "" where it may."""
        return _RESTS if now_s < self._rests_until_s else ""
