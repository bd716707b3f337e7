"""When a thermal zone is too hot: by its own trip points where it has any, since 90 C is fair for one chip and late for another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Zone:
    """A thermal zone as it was read. `throttle_c`: where the kernel begins to slow it down; `critical_c`: where it switches off."""

    name: str
    temp_c: float
    throttle_c: float | None = None
    critical_c: float | None = None

    @property
    def trips(self) -> tuple[tuple[str, float | None], ...]:
        """Both trip points with their names."""
        return ("throttle", self.throttle_c), ("critical", self.critical_c)


@dataclass(frozen=True, slots=True)
class Heat:
    """What the sensors say. `throttled_by` names what slows the machine down because of heat; "" for nothing.

    `capped` names what may not run as fast as it did, for a reason that the kernel does not give: heat, or another power mode.
    """

    zones: tuple[Zone, ...] = ()
    throttled_by: str = ""
    capped: str = ""


@dataclass(frozen=True, slots=True)
class HeatRules:
    """Where heat becomes pressure, in C.

    `hot_c`: for every zone; 0 takes `below_throttle_c` under the zone's own trip, or `unknown_c` where it has none. Never
    closer than `below_critical_c` to where it switches off. `relief_c`: how far under that limit there is relief.
    """

    hot_c: float = 0.0
    # An Orin throttles at 99 C and switches off at 104.5 C (tegra234's device tree): this begins at 95 C, while it is still fast.
    below_throttle_c: float = 4.0
    below_critical_c: float = 8.0
    unknown_c: float = 90.0
    relief_c: float = 5.0


def limit_c(zone: Zone, rules: HeatRules) -> float:
    """Return the temperature from which `zone` is under pressure."""
    if rules.hot_c > 0:
        limit = rules.hot_c
    elif zone.throttle_c is not None:
        limit = zone.throttle_c - rules.below_throttle_c
    else:
        limit = rules.unknown_c
    return limit if zone.critical_c is None else min(limit, zone.critical_c - rules.below_critical_c)


def hottest(zones: Iterable[Zone], rules: HeatRules) -> Zone | None:
    """Return the zone with the least left to its limit, which need not be the one of the highest figure; None of none.

    A zone without trip points takes the machine's highest: an Orin's tj-thermal is the hottest of its other zones, and has none.
    """
    zones = tuple(zones)
    known = [zone.throttle_c for zone in zones if zone.throttle_c is not None]
    if known:
        own = (zone.throttle_c is not None or zone.critical_c is not None for zone in zones)
        zones = tuple(z if has else replace(z, throttle_c=max(known)) for z, has in zip(zones, own, strict=True))
    return max(zones, key=lambda zone: zone.temp_c - limit_c(zone, rules), default=None)


def slowed_by(heat: Heat, rules: HeatRules) -> str:
    """Return what slows the machine down because of heat: a lowered ceiling counts while a zone is near its limit, or over it."""
    if heat.throttled_by or not heat.capped:
        return heat.throttled_by
    zone = hottest(heat.zones, rules)
    return heat.capped if zone is not None and zone.temp_c > limit_c(zone, rules) - rules.relief_c else ""
