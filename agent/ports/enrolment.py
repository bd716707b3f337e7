"""Enrolling anew."""

from __future__ import annotations

from typing import Protocol


class ReEnrolment(Protocol):
    """The frame loop's side of the "re_enrol" command. Thread-safe."""

    def request_enrolment(self) -> None:
        """Forget the enrolled reference at the next frame boundary, and enrol on the frames that follow."""
