"""Between the cameras and the model: what was captured, waiting to be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.ports.source import Frame


@dataclass(frozen=True, slots=True)
class Captured:
    """What came of one reading of `camera`: a frame, or the `fault` that was there instead of one."""

    camera: str
    frame: Frame | None = None
    fault: Exception | None = None


class FrameQueue(Protocol):
    """Frames of all cameras of a station. Taken by one thread."""

    def take(self, within_s: float) -> Captured | None:
        """Return what waits longest, cameras in turn; None when nothing came within `within_s`."""

    def dropped(self, camera: str) -> Mapping[str, int]:
        """Return how many captured frames of `camera` never reached `take` since the start, by cause (agent.decide.causes.Drop)."""

    def exhausted(self) -> bool:
        """Return whether nothing waits and nothing will ever come again."""
