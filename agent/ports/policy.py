"""Which images may leave a station (P8)."""

from __future__ import annotations

from enum import Enum


class ImagesLeave(str, Enum):
    """NEVER: none, for any purpose. UNSURE: only frames the model was unsure of. REQUESTED: any kept image the cloud asks for."""

    NEVER = "never"
    UNSURE = "unsure"
    REQUESTED = "requested"

    def allows_sample(self, reason: str) -> bool:
        """Return whether a kept image may be uploaded, by the reason it was kept for."""
        return self is ImagesLeave.REQUESTED or (self is ImagesLeave.UNSURE and reason == "hard")

    def allows_opinion(self, unsure: bool) -> bool:
        """Return whether a kept image may be shown to the cloud's model after its verdict.

        `unsure`: the model was; otherwise its answer was void for drift.
        """
        return self is ImagesLeave.REQUESTED or (self is ImagesLeave.UNSURE and unsure)

    def allows_fallback(self) -> bool:
        """Return whether an unsure frame may be shown to the cloud's model."""
        return self is not ImagesLeave.NEVER
