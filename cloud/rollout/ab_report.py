"""Two bundles side by side: what each arm decided, how fast, how often it failed, and how right it was (DESIGN 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from cloud.rollout.clusters import difference

MIN_STATIONS = 2
"""Stations an arm needs before their spread says anything of the next one."""


class ArmReport(msgspec.Struct, frozen=True):
    """One arm. `mix`: share of each verdict over `frames`; `latency_ms`: mean time a frame, None where no window told;
    `right` of `labelled` randomly drawn frames that people labelled were named as people did; on `disputed` more they disagree.
    """

    arm: str
    version: str
    stations: int
    frames: int
    mix: dict[str, float]
    failed: int
    latency_ms: float | None = None
    labelled: int = 0
    right: int = 0
    disputed: int = 0


class Difference(msgspec.Struct, frozen=True):
    """Arm "b" less arm "a", the mean over stations, with its interval; `unknown` says why there is none."""

    what: str
    value: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    unknown: str = ""


class AbReport(msgspec.Struct, frozen=True):
    """Both arms, and by how much they differ: each verdict's share, "latency" (ms), "accuracy" (share of labelled frames)."""

    arms: tuple[ArmReport, ...]
    differences: tuple[Difference, ...]
    confidence: float


@dataclass(frozen=True, slots=True)
class ArmStation:
    """What one station of an arm came to while both ran: frames by verdict, mean ms a frame, labelled frames and those
    right, and frames on which people disagree."""

    verdicts: Mapping[str, int] = field(default_factory=dict)
    latency_ms: float | None = None
    labelled: int = 0
    right: int = 0
    failed: bool = False
    disputed: int = 0


def ab_report(
    a: Sequence[ArmStation], b: Sequence[ArmStation], versions: tuple[str, str], confidence: float = 0.95
) -> AbReport:
    """Return what the two arms came to.

    Intervals are two-sided, by Welch's t over stations: frames of one station are alike, and count as one. They are not corrected
    for how often somebody looks.

    Args:
        a: stations that stayed with the control version.
        b: stations with the new one.
        versions: (control, new).
        confidence: of each interval.
    """
    verdicts = sorted({name for each in (*a, *b) for name in each.verdicts})
    values = [(name, [_share(s, name) for s in a], [_share(s, name) for s in b]) for name in verdicts]
    values.append(("latency", [s.latency_ms for s in a], [s.latency_ms for s in b]))
    accuracy = [[s.right / s.labelled if s.labelled else None for s in arm] for arm in (a, b)]
    values.append(("accuracy", accuracy[0], accuracy[1]))
    return AbReport(
        arms=(_arm("a", versions[0], a), _arm("b", versions[1], b)),
        differences=tuple(_difference(what, of_a, of_b, confidence) for what, of_a, of_b in values),
        confidence=confidence,
    )


def _arm(arm: str, version: str, stations: Sequence[ArmStation]) -> ArmReport:
    total: dict[str, int] = {}
    for station in stations:
        for name, count in station.verdicts.items():
            total[name] = total.get(name, 0) + count
    frames = sum(total.values())
    times = [s.latency_ms for s in stations if s.latency_ms is not None]
    return ArmReport(
        arm=arm,
        version=version,
        stations=len(stations),
        frames=frames,
        mix={name: count / frames for name, count in sorted(total.items())} if frames else {},
        failed=sum(s.failed for s in stations),
        latency_ms=sum(times) / len(times) if times else None,
        labelled=sum(s.labelled for s in stations),
        right=sum(s.right for s in stations),
        disputed=sum(s.disputed for s in stations),
    )


def _share(station: ArmStation, verdict: str) -> float | None:
    frames = sum(station.verdicts.values())
    return station.verdicts.get(verdict, 0) / frames if frames else None


def _difference(what: str, a: Sequence[float | None], b: Sequence[float | None], confidence: float) -> Difference:
    of_a, of_b = [x for x in a if x is not None], [x for x in b if x is not None]
    if min(len(of_a), len(of_b)) < MIN_STATIONS:
        why = f"it takes {MIN_STATIONS} stations with data in each arm, and there are {len(of_a)} and {len(of_b)}"
        return Difference(what, unknown=why)
    value, lower, upper = difference(of_b, of_a, (1.0 + confidence) / 2.0)
    return Difference(what, value, lower, upper)
