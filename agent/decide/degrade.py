"""The degrade ladder: what a station gives up under heat, low power or backlog, least harm first (DESIGN 3).

Everything that moves it lives here. A cause presses (at or above its upper level), holds (between its levels) or is gone (at or
below the lower one). Up: one rung after `climb_after_s` of unbroken pressure. Down: one rung after `relief_s` in which nothing
presses or holds. In between the rung stays: the gap of the levels and the two times keep it from flapping.

Each cause climbs no further than helps against it. Skipping frames cools and saves power, but against backlog it only swaps
frames dropped by chance for frames dropped by rule; backlog therefore ends at the smaller artefact. So does little memory, of
which a frame that is not judged frees none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from agent.decide.heat import HeatRules, Zone, limit_c
from agent.decide.memory import MemoryRoom, MemoryRules, is_relieved, why_low


class Rung(IntEnum):
    """What is given up; each rung gives up all that the rungs below it do."""

    FULL = 0
    NO_SECOND_OPINION = 1
    NO_SHADOW = 2
    SMALLER_ARTEFACT = 3
    SKIP_2 = 4
    SKIP_4 = 5
    SKIP_8 = 6

    @property
    def judge_one_in(self) -> int:
        """One captured frame in so many is judged."""
        return 1 << max(0, self - Rung.SMALLER_ARTEFACT)

    @property
    def says(self) -> str:
        """What it gives up, for a person; "" for nothing."""
        return _SAYS.get(self, f"only one frame in {self.judge_one_in} is judged")


_SAYS = {
    Rung.FULL: "",
    Rung.NO_SECOND_OPINION: "no second opinion",
    Rung.NO_SHADOW: "no shadow",
    Rung.SMALLER_ARTEFACT: "smaller artefact",
}


@dataclass(frozen=True, slots=True)
class Pressure:
    """How the station fares at one look. What cannot be read presses nothing.

    `zone`: the thermal zone nearest to its limit. `throttled`: the machine slows itself down because of heat. `low_power`:
    what is wrong with the supply, for a person; "" for nothing. `dropped_share`: of the captured frames, 0 to 1, those that
    were dropped for backlog since the rung last changed, or of late. `memory`: what is left of it. `without_beside`: the models
    beside the one in charge are given up; what they need to come back is not taken by anything else, for nothing passes meanwhile.
    """

    zone: Zone | None = None
    throttled: bool = False
    low_power: str = ""
    dropped_share: float = 0.0
    memory: MemoryRoom | None = None
    without_beside: bool = False


@dataclass(frozen=True, slots=True)
class LadderRules:
    """When the ladder moves. `backlog_share` must be above `backlog_relief_share`, or it may flap."""

    climb_after_s: float = 10.0
    relief_s: float = 60.0
    backlog_share: float = 0.05
    backlog_relief_share: float = 0.01
    heat: HeatRules = field(default_factory=HeatRules)
    memory: MemoryRules = field(default_factory=MemoryRules)


@dataclass(frozen=True, slots=True)
class Ladder:
    """Where the station stands. It has been `moving` (+1 up, -1 down, 0 not) since `since_s`. `why`: what pressed last."""

    rung: Rung = Rung.FULL
    moving: int = 0
    since_s: float = 0.0
    why: str = ""

    @property
    def note(self) -> str:
        """What a summary says of it; "" at FULL."""
        return f"degraded: {self.rung.says} ({self.why})" if self.rung else ""


def next_rung(ladder: Ladder, pressure: Pressure, rules: LadderRules, now_s: float) -> Ladder:
    """Return the ladder after a look at `now_s`, at most one rung away.

    A clock that stepped back starts the wait anew: the ladder moves later, never sooner.
    """
    pressing, holding = _pressing(pressure, rules), _holding(pressure, rules)
    climb_to = max((rung for rung, _ in pressing), default=Rung.FULL)
    hold_to = max(climb_to, max(holding, default=Rung.FULL))
    rung, moving = ladder.rung, 0
    if rung < climb_to:
        moving = 1
    elif rung > hold_to:
        moving = -1
    since_s = ladder.since_s if moving == ladder.moving and ladder.since_s <= now_s else now_s
    if moving and now_s - since_s >= (rules.climb_after_s if moving > 0 else rules.relief_s):
        rung, since_s = Rung(rung + moving), now_s
    why = "; ".join(words for _, words in pressing) or (ladder.why if rung else "")
    return Ladder(rung, moving, since_s, why)


def _pressing(pressure: Pressure, rules: LadderRules) -> list[tuple[Rung, str]]:
    """Return how far each cause that presses may climb, and its sentence."""
    found = []
    zone = pressure.zone
    if zone is not None and zone.temp_c >= limit_c(zone, rules.heat):
        found.append((Rung.SKIP_8, f"heat: {zone.temp_c:.1f} C of {limit_c(zone, rules.heat):g} C"))
    elif pressure.throttled:
        found.append((Rung.SKIP_8, "heat: the machine slows itself down"))
    if pressure.low_power:
        found.append((Rung.SKIP_8, f"low power: {pressure.low_power}"))
    if pressure.dropped_share >= rules.backlog_share:
        found.append((Rung.SMALLER_ARTEFACT, f"backlog: {pressure.dropped_share:.0%} of the frames dropped"))
    short = why_low(pressure.memory, rules.memory)
    if short:
        found.append((Rung.SMALLER_ARTEFACT, f"memory: {short}"))
    return found


def _holding(pressure: Pressure, rules: LadderRules) -> list[Rung]:
    """Return the rungs that causes between their two levels keep."""
    found = []
    zone = pressure.zone
    if zone is not None and zone.temp_c > limit_c(zone, rules.heat) - rules.heat.relief_c:
        found.append(Rung.SKIP_8)
    if pressure.dropped_share > rules.backlog_relief_share:
        found.append(Rung.SMALLER_ARTEFACT)
    if pressure.without_beside or not is_relieved(pressure.memory, rules.memory):
        found.append(Rung.SMALLER_ARTEFACT)
    return found
