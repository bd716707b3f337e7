"""The enrolled reference: learnt from the first good frames, kept through restarts, forgotten on command."""

from __future__ import annotations

import threading

from agent.ports.log import Log
from agent.ports.memory import Memory
from contract.errors import BadMessage
from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import FrameStats
from contract.sketches.reference import Reference, decode_reference, encode_reference

_NAME = "reference"


class Enrolled:
    """The frame loop's thread calls everything but `request_enrolment` and `save`: it never waits for the disk."""

    def __init__(self, memory: Memory, log: Log, *, frames_needed: int, camera: str = "") -> None:
        self._memory = memory
        self._name = f"{_NAME}:{camera}" if camera else _NAME
        self._unsaved: str | None = None
        self._log = log
        self._frames_needed = frames_needed
        self._forget = threading.Event()
        self._enrolment = Enrolment(frames_needed)
        self.reference: Reference | None = self._read()

    def request_enrolment(self) -> None:
        """Forget the enrolled reference at the next frame boundary, and enrol on the frames that follow."""
        self._forget.set()

    def at_frame_boundary(self) -> None:
        """Forget the reference if that was asked for."""
        if self._forget.is_set():
            self._unsaved = ""
            self._forget.clear()
            self._enrolment = Enrolment(self._frames_needed)
            self.reference = None
            self._log.say(f"enrolling anew on {self._frames_needed} frames")

    def add(self, stats: FrameStats) -> None:
        """Learn from one good frame while there is no reference."""
        if self.reference is not None:
            return
        self._enrolment.add(stats)
        if self._enrolment.ready:
            self.reference = self._enrolment.reference()
            self._unsaved = encode_reference(self.reference).decode()
            self._log.say(f"enrolled on {self.reference.frames} frames")

    def save(self) -> None:
        """Make what was learnt or forgotten durable, if it is not yet. Any other thread, now and then.

        Raises:
            TransientError: the disk refused; it is tried again by the next call.
        """
        unsaved = self._unsaved
        if unsaved is None:
            return
        self._memory.put(self._name, unsaved)
        if self._unsaved is unsaved:
            self._unsaved = None

    def _read(self) -> Reference | None:
        kept = self._memory.get(self._name)
        if not kept:
            return None
        try:
            return decode_reference(kept.encode())
        except BadMessage as error:
            self._log.say(f"{error.one_line()}: enrolling anew")
            return None
