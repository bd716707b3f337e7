"""The enrolled reference and the limit of refusal: learnt from good frames, kept through restarts, forgotten on command."""

from __future__ import annotations

import threading

import msgspec

from agent.decide.unfamiliar import Learnt, RefusalLimit, frames_needed
from agent.ports.log import Log
from agent.ports.memory import Memory
from contract.errors import BadMessage
from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import FrameStats
from contract.sketches.reference import Reference, decode_reference, encode_reference

_NAME = "reference"
_LIMIT = "refusal_limit"
# What a restart may lose of the learning: flash is not written for every frame.
_KEPT_EVERY = 256


class Enrolled:
    """The frame loop's thread calls everything but `request_enrolment` and `save`: it never waits for the disk."""

    def __init__(
        self, memory: Memory, log: Log, *, frames_needed: int, camera: str = "", unfamiliar_rate: float = 0.0
    ) -> None:
        """`unfamiliar_rate`: the most of the good frames that may be refused (`agent.decide.unfamiliar`); 0: none ever."""
        self._memory = memory
        self._name, self._limit_name = (f"{name}:{camera}" if camera else name for name in (_NAME, _LIMIT))
        self._unsaved: str | None = None
        self._unsaved_limit: str | None = None
        self._log = log
        self._frames_needed = frames_needed
        self._rate = unfamiliar_rate
        self._forget = threading.Event()
        self._enrolment = Enrolment(frames_needed)
        self.reference: Reference | None = self._read()
        self._limit = self._read_limit()

    def request_enrolment(self) -> None:
        """Forget the enrolled reference at the next frame boundary, and enrol on the frames that follow."""
        self._forget.set()

    def at_frame_boundary(self) -> None:
        """Forget the reference, and the limit that was learnt of it, if that was asked for."""
        if self._forget.is_set():
            self._unsaved = self._unsaved_limit = ""
            self._forget.clear()
            self._enrolment = Enrolment(self._frames_needed)
            self.reference = None
            self._limit = RefusalLimit(0.0)
            self._log.say(f"enrolling anew on {self._frames_needed} frames")

    def refuses(self, novelty: float, against: Reference | None) -> bool:
        """Return whether a frame of this novelty `against` a reference is so unlike it that no model's word on it counts."""
        return against is self.reference and self._limit.refuses(novelty)

    def add(self, stats: FrameStats, novelty: float = 0.0, against: Reference | None = None) -> None:
        """Learn from one good frame: the reference first, then, from frames that took no part in it, the limit of refusal.

        `novelty` is what the frame had `against` a reference: a window that the disk keeps open may still have an older one.
        """
        if self.reference is not None:
            if against is self.reference:
                self._learn_limit(novelty)
            return
        self._enrolment.add(stats)
        if self._enrolment.ready:
            self.reference = self._enrolment.reference()
            self._limit = RefusalLimit(self._rate, reference=self.reference.digest())
            self._unsaved = encode_reference(self.reference).decode()
            self._log.say(f"enrolled on {self.reference.frames} frames")

    def save(self) -> None:
        """Make what was learnt or forgotten durable, if it is not yet. Any other thread, now and then.

        Raises:
            TransientError: the disk refused; it is tried again by the next call.
        """
        unsaved, limit = self._unsaved, self._unsaved_limit
        if unsaved is not None:
            self._memory.put(self._name, unsaved)
            if self._unsaved is unsaved:
                self._unsaved = None
        if limit is not None:
            self._memory.put(self._limit_name, limit)
            if self._unsaved_limit is limit:
                self._unsaved_limit = None

    def _learn_limit(self, novelty: float) -> None:
        limit = self._limit
        if limit.is_learnt:
            return
        limit.learn(novelty)
        if limit.is_learnt or limit.seen % _KEPT_EVERY == 0:
            self._unsaved_limit = msgspec.json.encode(limit.learnt()).decode()
        if limit.is_learnt and limit.value is not None:
            self._log.say(
                f"frames are refused as unfamiliar from a novelty of {limit.value:.2f} on: "
                f"at most {self._rate:g} of good ones, learnt from {limit.seen}"
            )

    def _read(self) -> Reference | None:
        kept = self._memory.get(self._name)
        if not kept:
            return None
        try:
            return decode_reference(kept.encode())
        except BadMessage as error:
            self._log.say(f"{error.one_line()}: enrolling anew")
            return None

    def _read_limit(self) -> RefusalLimit:
        if self.reference is None:
            return RefusalLimit(0.0)
        limit = RefusalLimit(self._rate, reference=self.reference.digest(), kept=self._read_learnt())
        if not limit.is_learnt:
            self._log.say(f"learning what is unfamiliar: {limit.seen} of {frames_needed(self._rate)} frames")
        return limit

    def _read_learnt(self) -> Learnt | None:
        kept = self._memory.get(self._limit_name)
        if not kept:
            return None
        try:
            learnt = msgspec.json.decode(kept, type=Learnt)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            self._log.say(f"the limit of refusal that was kept cannot be read, learning it anew: {error}")
            return None
        return learnt if learnt.is_sound() else None
