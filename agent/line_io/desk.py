"""Where the controller's triggers meet the frames that answer them: every trigger gets exactly one answer, in time."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from agent.decide.causes import Cause
from agent.line_io.owed_frames import OwedFrames
from agent.ports.clock import Clock
from agent.ports.line import Answer, LineCounts, LineState, Lost, Refused
from agent.ports.recorder import Result

MAX_PART_CHARS = 64
_MOST_UNTOLD = 16
_NOT_RECORDED = "not_recorded"
_FAIL_SAFE = "REJECT"
_CLOSED = "the station stops"
_NO_FRAME = (Cause.CAMERA_FAULT.value, Cause.BAD_IMAGE.value)


@dataclass(frozen=True, slots=True)
class DeskRules:
    """`waiting`: triggers open at once; `timeout_s`: how long one may be; `delay_s`: what the camera lags behind the world.

    `one_before_camera`: no trigger is taken while another waits for its frame. A camera with a trigger of its own for each part
    needs it: if it took no notice of one, each part after would have the next one's frame, and nothing would show it.
    """

    camera: str = ""
    triggers: bool = True
    waiting: int = 4
    timeout_s: float = 0.25
    delay_s: float = 0.0
    review_as: str = "review"
    one_before_camera: bool = False


@dataclass(slots=True)
class _Open:
    ask: int | str
    part: str
    at_s: float
    due_s: float
    taken: bool = False
    doubtful: bool = False
    """Its frame may have been taken for that of a trigger that was given up before it."""


class Desk:
    """An `agent.ports.line.LineDesk`. Any thread; its lock is held for moments only, and never while `show` runs."""

    def __init__(
        self,
        rules: DeskRules,
        clock: Clock,
        why_not_ready: Callable[[], str] = lambda: "",
        *,
        missed: int = 0,
    ) -> None:
        """`why_not_ready` returns what is missing, "" where triggers may come; quick, any thread.

        `missed`: parts that were asked about before the start and that nobody counted yet.
        """
        self.rules = rules
        self._clock = clock
        self._why_not_ready = why_not_ready
        self.show: Callable[[Answer], None] = self.unshown
        """Where answers go: the adapter's, once there is one."""
        self.why_away = ""
        self._untold: deque[str] = deque(maxlen=_MOST_UNTOLD)
        self.news = threading.Condition()
        """Told of each trigger, each answer, each `look_again`, and what `away` noted; `told` counts that."""
        self.told = 0
        self._open: dict[int, _Open] = {}
        self._number = 0
        self._closed = False
        self._early_s = float("-inf")
        self._owed = OwedFrames(rules.timeout_s)
        self._triggers = 0
        self._answered = 0
        self._refused: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._missed = missed
        self._late = 0
        self._unasked = 0
        self._unshown = 0

    def trigger(self, ask: int | str, part: str, *, valid_s: float | None = None) -> Refused | None:
        """Take a trigger; see `agent.ports.line.LineDesk`."""
        why, now_s = self._why_not_ready(), self._clock.monotonic()
        within_s = min(self.rules.timeout_s, valid_s) if valid_s is not None else self.rules.timeout_s
        with self.news:
            self._triggers += 1
            refused = self._refusal(ask, why or self._owed.why_rests(now_s))
            if refused is not None:
                self._refused[refused.value] += 1
                self._tell()
                return refused
            self._number += 1
            early, self._early_s = now_s - self._early_s < self.rules.timeout_s, float("-inf")
            if early:
                self._owed.went_astray(now_s)  # one frame that nobody asked for would cost every part after it
            # Its frame was there before it, and `expire` says so: whoever asks may hold what `show` needs.
            due_s = now_s if early else now_s + within_s
            self._open[self._number] = _Open(ask, _printable(part), now_s, due_s, taken=early)
            self._tell()
        return None

    def withdraw(self, ask: int | str) -> bool:
        """Give up a trigger; see `agent.ports.line.LineDesk`."""
        with self.news:
            number = next((n for n, each in self._open.items() if each.ask == ask), None)
            if number is None:
                return False
            self._give_up(number, Lost.GONE)
        return True

    def unshown(self, answer: Answer) -> None:
        """Note that `answer` reached no controller."""
        with self.news:
            self._unshown += 1

    def away(self, why: str) -> None:
        """Note whether the controller shows signs of life; see `agent.ports.line.LineDesk`."""
        with self.news:
            if why != self.why_away:
                self.why_away = why
                self._untold.append(why)
                self._tell()

    def untold(self) -> list[str]:
        """Return what `away` noted since this was asked last, in order: the journal misses no silence, however short."""
        with self.news:
            told, self._untold = list(self._untold), deque(maxlen=_MOST_UNTOLD)
        return told

    def state(self) -> LineState:
        """Return what to show the controller."""
        why = self._why_not_ready()
        with self.news:
            why = why or self._owed.why_rests(self._clock.monotonic()) or (_CLOSED if self._closed else "")
            return LineState(not why, why, len(self._open))

    def counts(self) -> LineCounts:
        """Return what came of every trigger so far."""
        with self.news:
            return LineCounts(
                self._triggers,
                self._answered,
                dict(self._refused),
                dict(self._lost),
                len(self._open),
                self._late,
                self._unasked,
                self._unshown,
            )

    def look_again(self) -> None:
        """Have whoever shows the state look whether it is another: something that it depends on has changed."""
        with self.news:
            self._tell()

    @property
    def missed(self) -> int:
        """Triggers that were lost before a frame was taken for them: parts that were never seen."""
        return self._missed

    def wanting(self) -> bool:
        """Return whether a trigger waits for its frame."""
        with self.news:
            return any(not each.taken for each in self._open.values())

    def take(
        self, captured_s: float, *, in_order: bool = False, gone: int = 0, own: bool = False
    ) -> tuple[int, str] | None:
        """Give the frame complete at `captured_s` (monotonic) to a trigger that it can show: (number, part), or None.

        A frame shows what is there at its time. Of several triggers that it could be for it is the newest's, and the parts of
        the older ones went by unseen. `in_order`: each frame is one part's, so that it is the oldest's; of `gone` parts before
        it there is no frame. `own`: the camera has a trigger of its own for each part, so that one which came too early for any
        trigger of the controller's is the next one's, which has no frame then; else that would get the frame of the part after.
        So does the frame of a trigger that was given up meanwhile belong to no later one; of the `gone` the oldest were for those.
        Where it was not, as the camera took no notice of that one, the next frame may be a later trigger's: nobody's, then.
        """
        with self.news:
            free = [number for number, each in self._open.items() if not each.taken]
            astray = 0
            if own:
                now_s, astray = self._clock.monotonic(), gone
                gone = self._owed.without(gone, now_s)
                astray -= gone
                if self._was_owed(free, captured_s, now_s):
                    return None
            can = self._showing(free[gone:], captured_s)
            self._doubt(can, astray)
            mine = can[0 if in_order else -1] if can else None
            unsure = can[1 : 1 + sum(self._open[number].doubtful for number in free)]
            if unsure:
                mine = None
            unseen = free[:gone] if in_order else can[:-1]
            if own and mine is None:
                unseen = free[: gone + 1]
                for number in unseen[gone:]:
                    self._open[number].taken = True  # it was seen, and nobody knows as whom
                self._early_s = captured_s if len(free) <= gone else float("-inf")
            answers = [self._lose(number, Lost.TIMEOUT, Cause.LATE.value) for number in unseen]
            for number in unsure:
                self._owed.owe(self._open[number].due_s)
                answers.append(self._lose(number, Lost.TIMEOUT, Cause.LATE.value))
            if unsure:
                self._owed.went_astray(self._clock.monotonic())
            if mine is not None:
                self._open[mine].taken = True
                self._owed.in_step()
            found = (mine, self._open[mine].part) if mine is not None else None
        for answer in answers:
            self.show(answer)
        return found

    def take_fault(self, cause: Cause, *, own: bool = False) -> None:
        """Answer the oldest trigger that waits for its frame, if any: capturing failed. `own`: it came, and damaged; see `take`."""
        with self.news:
            free = [number for number, each in self._open.items() if not each.taken]
            if own:
                now_s = self._clock.monotonic()
                # Also of one that is due no more: whether its frame is gone, the camera's count says with the next whole one.
                if self._was_owed(free, now_s, now_s):
                    return
                if free and self._open[free[0]].doubtful:
                    self._doubt(free, 1)
            number = free[0] if free else None
            answer = self._lose(number, Lost.FAULT, cause.value) if number is not None else None
        if answer is not None:
            self.show(answer)

    def came_out(self, result: Result, *, recorded: bool) -> None:
        """Answer the trigger of a frame that has its verdict; one that could not be recorded is REVIEW."""
        if result.camera != self.rules.camera:
            return
        if self.rules.triggers and not result.asked and result.cause in _NO_FRAME:
            self.look_again()
            return  # `take_fault` answered its trigger, if there was one; without one no part was there
        verdict, cause = (result.verdict, result.cause) if recorded else ("REVIEW", _NOT_RECORDED)
        if verdict == "REVIEW" and self.rules.review_as == "reject":
            verdict = "REJECT"
        with self.news:
            opened = self._open.pop(result.asked, None)
            if opened is None and result.asked:
                self._late += 1  # answered as lost already: one part never has two answers
                self._tell()
                return
            latency_ms = result.latency_ms
            if opened is not None:
                self._answered += 1
                latency_ms = (self._clock.monotonic() - opened.at_s) * 1e3
            elif self.rules.triggers:
                self._unasked += 1
            self._tell()
        ask, part = (opened.ask, opened.part) if opened else (None, _printable(result.part))
        self.show(Answer(ask, part, verdict, cause, result.label, result.confidence, latency_ms, result.captured_at))

    def expire(self) -> float | None:
        """Answer every trigger whose time is out; return when the next one's is (monotonic), None if none waits."""
        now_s = self._clock.monotonic()
        with self.news:
            due = [number for number, each in self._open.items() if each.due_s <= now_s]
            answers = [
                self._answer(self._give_up(number, Lost.TIMEOUT), Lost.TIMEOUT, Cause.LATE.value) for number in due
            ]
            following = min((each.due_s for each in self._open.values()), default=None)
        for answer in answers:
            self.show(answer)
        return following

    def forsake(self) -> None:
        """Give up every trigger: who asked is away for good, and what asks next has asks of its own."""
        with self.news:
            for number in list(self._open):
                self._give_up(number, Lost.GONE)

    def last_call(self) -> None:
        """Answer what no frame was taken for, and take nothing more: no frame will come any more.

        It comes before the line's last windows are closed, so that they count those parts.
        """
        self._lose_all(lambda each: not each.taken)

    def close(self) -> None:
        """Answer what still waits, and take nothing more: the station stops."""
        self._lose_all(lambda _each: True)

    def _lose_all(self, which: Callable[[_Open], bool]) -> None:
        with self.news:
            self._closed = True
            numbers = [number for number, each in self._open.items() if which(each)]
            answers = [self._lose(number, Lost.STOPPED, Cause.LATE.value) for number in numbers]
            self._tell()
        for answer in answers:
            self.show(answer)

    def _refusal(self, ask: int | str, why: str) -> Refused | None:
        if any(each.ask == ask for each in self._open.values()):
            return Refused.AGAIN
        if why or self._closed or not self.rules.triggers:
            return Refused.NOT_READY
        before_camera = self.rules.one_before_camera and any(not each.taken for each in self._open.values())
        return Refused.FULL if before_camera or len(self._open) >= self.rules.waiting else None

    def _was_owed(self, free: list[int], captured_s: float, now_s: float) -> bool:
        """Return whether the frame that is there now is of a trigger that was given up."""
        owed = self._owed.takes(now_s, waiting=bool(free))
        if owed:
            self._doubt(self._showing(free, captured_s), 1)
            self._tell()
        return owed

    def _showing(self, numbers: list[int], captured_s: float) -> list[int]:
        return [n for n in numbers if captured_s >= self._open[n].at_s + self.rules.delay_s]

    def _doubt(self, numbers: list[int], count: int) -> None:
        """Note that `count` more frames may have been of the first of `numbers`, and were taken for those of others."""
        for each in [self._open[n] for n in numbers if not self._open[n].doubtful][:count]:
            each.doubtful = True

    def _give_up(self, number: int, lost: Lost) -> _Open:
        each = self._drop(number, lost)
        if not each.taken:
            self._owed.owe(min(self._clock.monotonic(), each.due_s))
        return each

    def _lose(self, number: int, lost: Lost, cause: str) -> Answer:
        return self._answer(self._drop(number, lost), lost, cause)

    def _answer(self, each: _Open, lost: Lost, cause: str) -> Answer:
        latency_ms = (self._clock.monotonic() - each.at_s) * 1e3
        return Answer(each.ask, each.part, _FAIL_SAFE, cause, latency_ms=latency_ms, lost=lost)

    def _drop(self, number: int, lost: Lost) -> _Open:
        each = self._open.pop(number)
        self._lost[lost.value] += 1
        # A fault is a verdict of its own (REVIEW, camera_fault): the part was not missed.
        self._missed += not each.taken and lost is not Lost.FAULT
        self._tell()
        return each

    def _tell(self) -> None:
        self.told += 1
        self.news.notify_all()


def _printable(part: str) -> str:
    """Return a part's id as every protocol can say it: a file's name may hold bytes that are no text."""
    return "".join(c for c in part[:MAX_PART_CHARS] if c.isprintable())
