"""What this station gives up at the moment, and why (DESIGN 3): `agent/decide/degrade.py` decides, this holds and says it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agent.decide.degrade import Ladder, LadderRules, Pressure, Rung, next_rung
from agent.decide.heat import Heat, Zone, hottest, slowed_by
from agent.decide.memory import GivenUp, MemoryRoom, next_given_up, why_low
from agent.ports.log import Log

# A look costs about half a millisecond on a board with nine zones.
_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class DegradeFigures:
    """For whoever measures. `changes`: steps up and down since the start. `zone`: the one nearest to its limit."""

    rung: Rung = Rung.FULL
    note: str = ""
    changes: int = 0
    zone: Zone | None = None
    throttled: bool = False
    low_power: bool = False
    low_memory: bool = False
    memory: MemoryRoom | None = None


class Degrading:
    """`tick` is one thread's, the main thread's; the rest may be read from any: what it reads is swapped whole."""

    def __init__(
        self,
        rules: LadderRules,
        log: Log,
        *,
        heat: Callable[[], Heat],
        power_trouble: Callable[[float], str],
        memory: Callable[[], MemoryRoom | None] = lambda: None,
    ) -> None:
        """`heat`, `power_trouble` (given monotonic seconds; "" for none) and `memory` look at the sensors; none of them raises."""
        self._rules = rules
        self._log = log
        self._heat = heat
        self._power_trouble = power_trouble
        self._memory = memory
        self._beside = GivenUp()
        self._ladder = Ladder()
        self._figures = DegradeFigures()
        self._looks: deque[tuple[float, int, int]] = deque()
        # The worst rung of a window is kept by two threads: `tick` raises it, `note_of_window` takes it.
        self._lock = threading.Lock()
        self._worst = Ladder()

    @property
    def second_opinions(self) -> bool:
        """Whether the cloud may be asked."""
        return self._ladder.rung < Rung.NO_SECOND_OPINION

    @property
    def shadow(self) -> bool:
        """Whether a candidate may run beside the incumbent."""
        return self._ladder.rung < Rung.NO_SHADOW

    @property
    def smaller_artefact(self) -> bool:
        """Whether the bundle's smaller artefact is to run, where it has one (`agent/decide/smaller.py`)."""
        return self._ladder.rung >= Rung.SMALLER_ARTEFACT

    @property
    def short_of_memory(self) -> str:
        """Why a model on trial is no more to be held beside the incumbent; "" while there is memory for both."""
        figures = self._figures
        if figures.memory is None or not figures.low_memory or self._ladder.rung < Rung.NO_SHADOW:
            return ""
        return f"the station is short of memory: {why_low(figures.memory, self._rules.memory)}"

    @property
    def models_beside(self) -> bool:
        """Whether the models beside the one in charge may be held: without them nothing passes, so they are the last to go."""
        return not self._beside.given_up

    @property
    def judge_one_in(self) -> int:
        """One captured frame in so many is judged; the others are dropped, by that cause."""
        return self._ladder.rung.judge_one_in

    @property
    def note(self) -> str:
        """What it gives up now and why, e.g. "degraded: no shadow (heat: 97.0 C of 95 C)"; "" for nothing."""
        return self._ladder.note

    @property
    def figures(self) -> DegradeFigures:
        """The figures of the last look."""
        return self._figures

    def note_of_window(self) -> str:
        """Return the note of the worst moment since this was last called: a window that was degraded for a while says so."""
        with self._lock:
            worst, self._worst = self._worst, self._ladder
        return worst.note

    def tick(self, now_s: float, captured: int, dropped: int, *, has_beside: bool = True) -> None:
        """Look at the sensors and move the ladder, if a second has passed since the last look: call it as often as you like.

        Args:
            now_s: monotonic seconds.
            captured: frames captured since the start, the dropped ones included.
            dropped: those of them that were dropped because the line could not keep up.
            has_beside: whether the station has models beside the one in charge, to give up.
        """
        if self._looks and 0.0 <= now_s - self._looks[-1][0] < _EVERY_S:
            return
        heat = self._heat()
        zone = hottest(heat.zones, self._rules.heat)
        trouble = self._power_trouble(now_s)
        slowed, memory = bool(slowed_by(heat, self._rules.heat)), self._memory()
        share = self._dropped_share(now_s, captured, dropped)
        pressure = Pressure(zone, slowed, trouble, share, memory, without_beside=self._beside.given_up)
        before, after = self._ladder, next_rung(self._ladder, pressure, self._rules, now_s)
        changes = self._figures.changes + (after.rung != before.rung)
        with self._lock:
            self._ladder = after
            if after.rung > self._worst.rung:
                self._worst = after
        low = bool(why_low(memory, self._rules.memory))
        self._figures = DegradeFigures(after.rung, after.note, changes, zone, slowed, bool(trouble), low, memory)
        self._give_up_beside(memory, now_s, has_beside=has_beside)
        if after.rung != before.rung:
            # What was dropped before says nothing of how the line fares on this rung.
            self._looks = deque([(now_s, captured, dropped)])
            self._say(before, after)

    def _give_up_beside(self, memory: MemoryRoom | None, now_s: float, *, has_beside: bool) -> None:
        if not has_beside:
            self._beside = GivenUp()
            return
        before, rules = self._beside, self._rules
        self._beside = next_given_up(
            before,
            memory,
            rules.memory,
            nothing_else=self._ladder.rung >= Rung.SMALLER_ARTEFACT,
            turn_after_s=rules.relief_s if before.given_up else rules.climb_after_s,
            now_s=now_s,
        )
        if self._beside.given_up is not before.given_up:
            left = f"{memory.available_mib:.0f} MiB are left" if memory else "what is left is not known"
            self._log.say(
                f"memory: {left}; the models beside the one in charge are "
                + ("given up, nothing passes without them" if self._beside.given_up else "taken up again")
            )

    def _say(self, before: Ladder, after: Ladder) -> None:
        if after.rung > before.rung:
            self._log.say(f"degraded by a step, {after.rung.says}: {after.why}")
        elif after.rung:
            self._log.say(f"degraded by a step less, {after.rung.says}: the pressure has gone ({after.why})")
        else:
            self._log.say("no longer degraded")

    def _dropped_share(self, now_s: float, captured: int, dropped: int) -> float:
        """Return the share dropped of late: one second of a slow line is too few frames to tell.

        "Of late" is half of `climb_after_s`, so that one bad moment is forgotten before the ladder could climb for it.
        """
        looks = self._looks
        if looks and (now_s < looks[-1][0] or captured < looks[-1][1] or dropped < looks[-1][2]):
            # The clock or the counters began anew.
            looks.clear()
        looks.append((now_s, captured, dropped))
        while len(looks) > 2 and now_s - looks[1][0] >= self._rules.climb_after_s / 2:
            looks.popleft()
        seen = captured - looks[0][1]
        return (dropped - looks[0][2]) / seen if seen > 0 else 0.0
