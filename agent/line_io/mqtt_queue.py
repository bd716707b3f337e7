"""What waits to be said over MQTT: bounded, in order, and forgotten when it is of no use any more."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from agent.line_io.mqtt_messages import Refusal, StateNote, verdict_bytes
from agent.ports.line import Answer, LineState
from contract.errors import BadMessage

_VERDICTS, _REFUSALS = 64, 32


@dataclass(slots=True)
class Out:
    """A message for `subtopic`, of use until `due_s` (monotonic); the broker may keep it for `lives_s`, 0: for ever."""

    subtopic: str
    payload: bytes
    due_s: float
    lives_s: float
    answer: Answer | None = None
    sent_s: float = 0.0


class MqttQueue:
    """Any thread; its lock is held for moments only, and never while `unshown` runs."""

    def __init__(
        self, unshown: Callable[[Answer], None], monotonic: Callable[[], float], *, within_s: float, silence_s: float
    ) -> None:
        """`unshown` is told of each answer that nobody took within `within_s`; a state is believed for `silence_s`."""
        self._tell = unshown
        self._monotonic = monotonic
        self._within_s, self._silence_s = within_s, silence_s
        self._lock = threading.Lock()
        self._out: deque[Out] = deque()
        self._state = LineState(False, "the station starts", 0)
        self._beat, self._beat_said = 0, 0
        self._counts: Counter[str] = Counter()
        self._closed = False

    def verdict(self, answer: Answer) -> None:
        """Queue `answer`; it is unshown where there is no room.

        Raises:
            BadMessage: it has no JSON; it was counted as unshown.
        """
        try:
            payload = verdict_bytes(answer)
        except BadMessage:
            self.unshown(answer)
            raise
        out = Out("verdict", payload, self._monotonic() + self._within_s, self._within_s, answer)
        with self._lock:
            full = self._closed or sum(each.answer is not None for each in self._out) >= _VERDICTS
            if not full:
                self._out.append(out)
        if full:
            self.unshown(answer)

    def refuse(self, refusal: Refusal) -> None:
        """Queue `refusal`; a flood of nonsense does not take the verdicts' room, and is only counted."""
        out = Out("refused", msgspec.json.encode(refusal), self._monotonic() + self._within_s, self._within_s)
        with self._lock:
            if sum(each.answer is None for each in self._out) < _REFUSALS:
                self._out.append(out)
            else:
                self._counts["unsaid"] += 1

    def beat(self, state: LineState) -> None:
        """Keep `state` as the one to say next."""
        with self._lock:
            self._state = state
            self._beat += 1

    def state(self, birth: int) -> Out:
        """Return the state as it is now; it is said then. A broker forgets that a station is ready if nobody renews it."""
        with self._lock:
            self._beat_said = self._beat
            return self._note(self._state, birth)

    def fresh_state(self, birth: int) -> Out | None:
        """Return the state if nobody said it yet."""
        with self._lock:
            if self._beat == self._beat_said:
                return None
            self._beat_said = self._beat
            return self._note(self._state, birth)

    def away(self, birth: int, why: str) -> Out:
        """Return that the station is away; it stays at the broker."""
        with self._lock:
            return self._note(LineState(False, why, 0), birth)

    def next(self) -> Out | None:
        """Take out what is to be said next, None for nothing."""
        with self._lock:
            return self._out.popleft() if self._out else None

    def put_back(self, sent: Iterable[Out]) -> None:
        """Queue again, before all else, the verdicts among what was `sent` (in that order) and perhaps never arrived."""
        again = [out for out in sent if out.answer is not None]
        with self._lock:
            self._out.extendleft(reversed(again))

    def forget_stale(self) -> None:
        """Let go of what is of no use any more."""
        now_s = self._monotonic()
        with self._lock:
            stale = [out for out in self._out if out.due_s <= now_s]
            self._out = deque(out for out in self._out if out.due_s > now_s)
        self._let_go(stale)

    def close(self) -> None:
        """Let go of everything, and take nothing more."""
        with self._lock:
            left, self._out, self._closed = list(self._out), deque(), True
        self._let_go(left)

    def unshown(self, answer: Answer) -> None:
        """Count an answer that nobody took."""
        self.count("unshown")
        self._tell(answer)

    def count(self, what: str) -> None:
        """Count one more of `what`."""
        with self._lock:
            self._counts[what] += 1

    def _let_go(self, gone: Iterable[Out]) -> None:
        for out in gone:
            if out.answer is not None:
                self.unshown(out.answer)

    def _note(self, state: LineState, birth: int) -> Out:
        note = StateNote(state.ready, state.why, state.waiting, birth, self._beat, dict(self._counts))
        lives_s = self._silence_s if state.ready else 0.0
        return Out("state", msgspec.json.encode(note), math.inf, lives_s)
