"""Who gets a release when: waves from a canary to everyone, each a picture of the fleet."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

MIN_SHADOW_AGENT = (0, 2, 0)
"""Agents before this one would ignore that a candidate is to decide unseen only, and put it in charge."""


@dataclass(frozen=True, slots=True)
class Waves:
    """The waves of a rollout: their names, and the stations of each. The first is empty of stations where its name is "shadow":
    `shadow` are those that decide unseen first, each of which is in a later wave too.
    """

    names: tuple[str, ...]
    stations: list[list[str]]
    shadow: tuple[str, ...] = ()


def plan_waves(
    stations: Sequence[str],
    expected_to_change: Collection[str],
    shares: Sequence[float],
    *,
    canary: int = 1,
    strata: Mapping[str, str] | None = None,
) -> list[list[str]]:
    """Return waves of stations: wave 0 are `canary` canaries, later ones reach the cumulative `shares` of the fleet.

    Args:
        stations: the stations to reach.
        expected_to_change: stations whose decisions this release is meant to change (their alarm is what it answers).
            They go last: on the others a change of decisions is a fault that can be seen.
        shares: rising shares, 0..1; the last wave always takes everyone left.
        canary: how many come first.
        strata: what each station is drawn among; every wave is spread over them (`in_turn`).
    """
    ordered = order_stations(stations, expected_to_change, strata or {})
    return [wave for _, wave in _cut(ordered, shares, canary)]


def name_waves(ordered: Sequence[str], shares: Sequence[float], canary: int, shadow: Sequence[str] = ()) -> Waves:
    """Return the named waves of stations that are in order (`order_stations`), before them a shadow wave where there is one."""
    cut = _cut(ordered, shares, canary)
    names, waves = [name for name, _ in cut], [wave for _, wave in cut]
    if shadow:
        names, waves = ["shadow", *names], [[], *waves]
    return Waves(tuple(names), waves, tuple(shadow))


def order_stations(
    stations: Sequence[str], expected_to_change: Collection[str], strata: Mapping[str, str]
) -> list[str]:
    """Return the order in which stations come: spread over their strata, those that are expected to change last."""
    others = [s for s in stations if s not in expected_to_change]
    changed = [s for s in stations if s in expected_to_change]
    return [*in_turn(others, strata), *in_turn(changed, strata)]


def in_turn(stations: Sequence[str], strata: Mapping[str, str]) -> list[str]:
    """Return `stations` so that any first m of them are spread over the strata, whatever m.

    Proportional allocation by Adams' method (Balinski & Young 1982): the k-th station of a stratum of n (k from 0) comes at k / n,
    larger strata first among equals. So each stratum is represented once as many stations were taken as there are strata,
    larger ones before smaller ones; none has more than its share rounded up; and the first m are among the first m + 1. Within
    a stratum stations come by name: nothing is drawn by chance.
    """
    members: dict[str, list[str]] = {}
    for station in sorted(stations):
        members.setdefault(strata.get(station, ""), []).append(station)
    keyed = [
        (k / len(names), -len(names), stratum, k, station)
        for stratum, names in members.items()
        for k, station in enumerate(names)
    ]
    return [station for *_, station in sorted(keyed)]


def can_shadow(agent_version: str) -> bool:
    """Return whether an agent of this version can decide unseen without ever being put in charge."""
    parts = []
    for part in agent_version.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            return False
        parts.append(int(digits))
    return tuple(parts) >= MIN_SHADOW_AGENT


def _cut(ordered: Sequence[str], shares: Sequence[float], canary: int) -> list[tuple[str, list[str]]]:
    if not ordered:
        return []
    taken = min(canary, len(ordered))
    waves = [("canary", list(ordered[:taken]))]
    for share in (*shares, 1.0):
        upto = min(len(ordered), max(taken, math.ceil(share * len(ordered))))
        if upto > taken:
            name = "everyone" if upto == len(ordered) else f"{100.0 * share:.3g} %"
            waves.append((name, list(ordered[taken:upto])))
            taken = upto
    return waves
