"""Where the frame loop leaves its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contract.activation_map import ActivationMap
from contract.messages import SampleNote, Summary


@dataclass(frozen=True, slots=True)
class Result:
    """One frame's verdict as it is kept. `cause` is "" unless REVIEW.

    `camera` and `window` name the window it was counted in: windows are numbered per camera, "" is the only or first one. `asked`
    is the frame's (`agent.ports.source.Frame`), for the line's controller; it is not kept.
    """

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
    camera: str = ""
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame kept for review: what the cloud is told of it, its pixels u8[H,W] or u8[H,W,3], and where the model looked."""

    note: SampleNote
    pixels: NDArray[np.uint8]
    looked: ActivationMap | None = None


class AwaitsStorage(Protocol):
    """Who tells of a verdict only once a power cut cannot take its record any more. Called by any thread; nothing here blocks."""

    def awaits(self, result: Result) -> bool:
        """Return whether somebody waits for this one: it is stored at once."""

    def stored(self, results: Sequence[Result]) -> None:
        """Note that these are on the disk, those that nobody awaits among them."""


class Recorder(Protocol):
    """Group commit behind a bounded queue; never waits for the disk.

    Several producers, one a camera and each on one thread: every call is safe from any of them, and each camera's results and
    window ends stay in their order.
    """

    def record(self, result: Result, sample: Sample | None) -> bool:
        """Queue one result and its sample; False when there is no room: count the frame as undecided."""

    def dropped(self, camera: str, window: int, cause: str, count: int, at: float) -> None:
        """Note frames of a camera's open `window` that were dropped, at `at` (Unix seconds): a crash must not forget them."""

    def close_window(self, window: int, summary: Summary) -> bool:
        """Queue the end of `window` of the camera in the summary's header: results and outbox row become durable together.

        The header's `boot` and `seq` and the `samples` of `summary` are filled in as it is stored. False: no room, try again
        later. Never False for a producer that saw room (`has_room`) and has closed no window since; ask before every close, for
        one that was not asked for may take the place another producer saw.
        """

    def has_room(self) -> bool:
        """Return whether the caller's next window end will be taken, whatever other producers add meanwhile.

        Room seen stays until it is used, so a summary need only be built once it can be stored. Of results it says no more
        than that there is room now: another producer may take it.
        """

    def healthy(self) -> bool:
        """Return whether the last commit reached the disk."""
