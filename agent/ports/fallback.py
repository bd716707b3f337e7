"""The cloud's full-precision model, asked under a deadline."""

from __future__ import annotations

from typing import Protocol

from agent.ports.source import Frame
from contract.decode import Prediction


class Fallback(Protocol):
    """A second opinion. Never raises: no answer in time is None, and the local answer stands."""

    def ask(self, frame: Frame, within_s: float) -> Prediction | None:
        """Return the cloud's prediction, or None: not in time, not reachable, circuit open, or policy keeps images here."""
