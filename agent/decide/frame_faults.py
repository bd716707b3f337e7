"""Frames that show nothing: blank ones, and a camera that repeats itself."""

from __future__ import annotations

from agent.decide.causes import Cause


class FrameFaults:
    """Watches one camera's frames in order. One thread's.

    `blank_sd`: a frame whose grey levels (0..255) spread less than this shows no part. `frozen_after`: this many identical
    frames in a row are a frozen camera (real sensors always differ by noise); 0 never says so.
    """

    def __init__(self, *, blank_sd: float = 0.5, frozen_after: int = 5) -> None:
        self._blank_sd = blank_sd
        self._frozen_after = frozen_after
        self._last_hash: int | None = None
        self._repeats = 0

    def look(self, sd: float, frame_hash: int) -> Cause | None:
        """Return what is wrong with this frame, or None. A NaN spread is blank."""
        self._repeats = self._repeats + 1 if frame_hash == self._last_hash else 1
        self._last_hash = frame_hash
        if not sd >= self._blank_sd:
            return Cause.BLANK_FRAME
        if 0 < self._frozen_after <= self._repeats:
            return Cause.FROZEN_FRAME
        return None
