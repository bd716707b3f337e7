"""Between the cameras and the model: what was captured, waiting to be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.decide.familiar import Familiar
from agent.ports.source import Frame
from contract.sketches.frame_stats import FrameStats
from contract.sketches.reference import Reference


@dataclass(frozen=True, slots=True)
class Ahead:
    """How a frame stands to what its camera had enrolled as it was captured, worked out where the model need not wait for it.

    `distance` is from `familiar`, `novelty` is against `reference`; None: nothing was enrolled yet. Whoever judges the frame by
    another of either works it out anew.
    """

    familiar: Familiar | None
    distance: float
    reference: Reference | None
    novelty: float


@dataclass(frozen=True, slots=True)
class Captured:
    """What came of one reading of `camera`: a frame, or the `fault` that was there instead of one.

    `stats` are the frame's, where they could be taken ahead of the model; None: whoever judges it takes them, and says why not.
    `ahead` is what could be worked out from them.
    """

    camera: str
    frame: Frame | None = None
    fault: Exception | None = None
    stats: FrameStats | None = None
    ahead: Ahead | None = None


class FrameQueue(Protocol):
    """Frames of all cameras of a station. Taken by one thread."""

    def take(self, within_s: float) -> Captured | None:
        """Return what waits longest, cameras in turn; None when nothing came within `within_s`."""

    def dropped(self, camera: str) -> Mapping[str, int]:
        """Return how many captured frames of `camera` never reached `take` since the start, by cause (agent.decide.causes.Drop)."""

    def exhausted(self) -> bool:
        """Return whether nothing waits and nothing will ever come again."""
