"""What a camera enrolled: the reference, what is familiar, and from where on it is not. Learnt from good frames, kept through
restarts, forgotten on command."""

from __future__ import annotations

import threading

import msgspec

from agent.decide.familiar import Familiar
from agent.decide.unfamiliar import Learnt, RefusalLimit, frames_needed
from agent.ports.frames import Ahead
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
    """The frame loop's thread calls everything but `request_enrolment`, `save` and `familiar`: it never waits for the disk."""

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
        self._familiar, self._limit = self._read_limit()

    def request_enrolment(self) -> None:
        """Forget the enrolled reference at the next frame boundary, and enrol on the frames that follow."""
        self._forget.set()

    def at_frame_boundary(self) -> None:
        """Forget the reference, and what is familiar, if that was asked for."""
        if self._forget.is_set():
            self._unsaved = self._unsaved_limit = ""
            self._forget.clear()
            self._enrolment = Enrolment(self._frames_needed)
            self.reference = None
            self._familiar, self._limit = Familiar(self._frames_needed), RefusalLimit(self._rate)
            self._log.say(f"enrolling anew on {self._frames_needed} frames")

    @property
    def familiar(self) -> Familiar | None:
        """What distances are taken from; None while that is not known, or nobody wants to. Any thread may ask."""
        familiar = self._familiar
        return familiar if self._rate > 0 and familiar.ready else None

    def distance(self, stats: FrameStats, ahead: Ahead | None = None) -> float:
        """Return how far a frame lies from what was enrolled, worked out `ahead` if from the same; 0 where `familiar` is None."""
        familiar = self.familiar
        if familiar is None:
            return 0.0
        return ahead.distance if ahead and ahead.familiar is familiar else familiar.distance(stats.values)

    def refuses(self, distance: float) -> bool:
        """Return whether a frame so far from what was enrolled is none that a model's word counts on."""
        return self._limit.refuses(distance)

    def add(self, stats: FrameStats, distance: float = 0.0) -> None:
        """Learn from one good frame: reference and what is familiar first, then the limit, from frames that took no part in it.

        `distance` is this frame's, as told before.
        """
        if self.reference is None:
            self._enrol(stats)
        if self._rate > 0:
            self._learn(stats, distance)

    def _enrol(self, stats: FrameStats) -> None:
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
        unsaved, limit = self._unsaved, self._unsaved_limit
        if unsaved is not None:
            self._memory.put(self._name, unsaved)
            if self._unsaved is unsaved:
                self._unsaved = None
        if limit is not None:
            self._memory.put(self._limit_name, limit)
            if self._unsaved_limit is limit:
                self._unsaved_limit = None

    def _learn(self, stats: FrameStats, distance: float) -> None:
        familiar, limit = self._familiar, self._limit
        if not familiar.ready:
            familiar.add(stats.values)
            if familiar.ready:
                self._keep_limit()
            return
        if limit.is_learnt:
            return
        limit.learn(distance)
        if limit.is_learnt or limit.seen % _KEPT_EVERY == 0:
            self._keep_limit()
        if limit.is_learnt:
            self._log.say(
                f"frames further than {limit.value:.3g} from what was enrolled are refused as unfamiliar: "
                f"at most {self._rate:g} of the good ones, learnt from {limit.seen}"
            )

    def _keep_limit(self) -> None:
        digest = self.reference.digest() if self.reference else ""
        self._unsaved_limit = msgspec.json.encode(self._limit.learnt(digest, self._familiar.encode())).decode()

    def _read(self) -> Reference | None:
        kept = self._memory.get(self._name)
        if not kept:
            return None
        try:
            return decode_reference(kept.encode())
        except BadMessage as error:
            self._log.say(f"{error.one_line()}: enrolling anew")
            return None

    def _read_limit(self) -> tuple[Familiar, RefusalLimit]:
        fresh = Familiar(self._frames_needed), RefusalLimit(self._rate)
        kept = self._memory.get(self._limit_name)
        if self.reference is None or self._rate <= 0:
            return fresh
        if not kept:
            # Enrolled by a build that kept no points, or with the refusal off.
            self._log.say(f"what is familiar was never kept: the next {self._frames_needed} good frames are")
            return fresh
        try:
            learnt = msgspec.json.decode(kept, type=Learnt)
            familiar = Familiar.decode(learnt.points)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            self._log.say(f"what was familiar cannot be read, learning it anew: {error}")
            return fresh
        # A crash between the two writes of a new enrolment leaves the old points beside the new reference.
        if familiar is None or not learnt.is_sound() or learnt.reference != self.reference.digest():
            self._log.say("what was familiar cannot be used, learning it anew")
            return fresh
        limit = RefusalLimit(self._rate, learnt)
        if not limit.is_learnt:
            self._log.say(f"learning what is unfamiliar: {limit.seen} of {frames_needed(self._rate)} frames")
        return familiar, limit
