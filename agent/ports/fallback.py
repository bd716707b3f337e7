"""The cloud's full-precision model, asked about single frames."""

from __future__ import annotations

from typing import Protocol

from agent.ports.source import Frame
from contract.decode import Prediction


class Fallback(Protocol):
    """Asked by the frame loop's thread; whatever takes time happens on another."""

    def submit(self, frame: Frame, within_s: float) -> int | None:
        """Ask about `frame`; return the ticket of the question, or None: it cannot be asked now. Never waits."""

    def answers(self) -> list[tuple[int, Prediction | None]]:
        """Return the answers that came since the last call, by ticket; None: there is none to be had. Never waits."""

    def give_up(self, ticket: int) -> None:
        """Say that the answer to `ticket` did not come in time; it is not wanted any more."""
