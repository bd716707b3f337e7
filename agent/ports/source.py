"""Where frames come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured image.

    `pixels` is u8[H,W] or u8[H,W,3]; `captured_at` Unix seconds and `captured_monotonic` seconds, both taken when the image was
    complete; `part` the line's id of the part, "" where the line gives none. `trigger` is the camera's own count of a hardware
    trigger, None where it has none; a gap in it is a part that was never seen. `skipped` counts the captured images that the
    source dropped since the frame before, because this newer one was there (no result rows are written for them). `trace` carries
    its trace on ("": not traced; `agent.ports.tracing`). `asked` numbers the controller's trigger that it answers, from 1; 0: none
    (`agent.line_io.desk`).
    """

    pixels: NDArray[np.uint8]
    captured_at: float
    captured_monotonic: float
    part: str = ""
    trigger: int | None = None
    skipped: int = 0
    trace: str = ""
    asked: int = 0


class FrameSource(Protocol):
    """A camera, a folder, or the simulated station. Used by one thread."""

    simulated: bool
    waits: bool
    """Whether it can wait for the line (a folder): nothing of it is dropped when the model is busy. A camera cannot."""

    def read(self) -> Frame | None:
        """Return the next frame, waiting for it at most about a second; None when there is none yet.

        Raises:
            CameraFault: a frame was due and could not be captured: REVIEW, counted, and read() may be called again.
            BadImage: a frame arrived that is no usable image: REVIEW, counted.
        """

    def exhausted(self) -> bool:
        """Return whether no frame will ever come again (a folder read once through)."""

    def close(self) -> None:
        """Let go of the device."""
