"""Where the frame loop leaves its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contract.messages import SampleNote, Summary


@dataclass(frozen=True, slots=True)
class Result:
    """One frame's verdict as it is kept. `window` numbers the window it was counted in; `cause` is "" unless REVIEW."""

    window: int
    captured_at: float
    part: str
    verdict: str
    cause: str
    label: str
    confidence: float
    latency_ms: float
    bundle: str
    asked_cloud: bool = False
    cloud_answer: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame kept for review: what the cloud is told of it, and its pixels u8[H,W] or u8[H,W,3]."""

    note: SampleNote
    pixels: NDArray[np.uint8]


class Recorder(Protocol):
    """Group commit behind a bounded queue; never waits for the disk. One producer."""

    def record(self, result: Result, sample: Sample | None) -> bool:
        """Queue one result and its sample; False when there is no room: count the frame as undecided."""

    def close_window(self, window: int, summary: Summary) -> bool:
        """Queue the end of `window`: results and outbox row become durable together. False: no room, try again later.

        The header's `boot` and `seq` and the `samples` of `summary` are filled in as it is stored.
        """

    def has_room(self) -> bool:
        """Return whether the next item will be taken: only the caller adds, so room seen stays."""

    def healthy(self) -> bool:
        """Return whether the last commit reached the disk."""
