"""Stations with a new bundle against the control group: what must stop a rollout, what must not, and what nobody can know."""

from __future__ import annotations

from random import Random

import pytest

from cloud.rollout.ab_report import ArmStation, ab_report
from cloud.rollout.clusters import difference
from cloud.rollout.compare import Change, Frames, Limits, compare
from cloud.rollout.evidence import Compared, RolloutEvidence, read_evidence

LIMITS = Limits(max_shift=0.1, max_latency_ratio=2.0, max_memory_mib=50.0, confidence=0.95)


def _frames(chance: Random, passes: float, n: int = 400, us: float = 5000.0) -> Frames:
    passed = sum(chance.random() < passes for _ in range(n))
    rejected = (n - passed) // 2
    return Frames(n, passed, rejected, time_us=us * n * chance.uniform(0.9, 1.1), timed=n)


def _group(
    seed: int, stations: int, before: float, after: float, spread: float = 0.02, us: float = 5000.0
) -> list[Change]:
    chance = Random(seed)
    changes = []
    for _ in range(stations):
        own = chance.gauss(0.0, spread)
        memory = chance.uniform(200.0, 210.0)
        changes.append(
            Change(
                _frames(chance, before + own),
                _frames(chance, after + own, us=us),
                memory,
                memory + chance.uniform(0, 5),
            )
        )
    return changes


def _of(found: tuple[Compared, ...], what: str) -> Compared:
    return next(each for each in found if each.what == what)


def test_a_bundle_that_decides_otherwise_is_found_and_one_that_does_not_is_left_alone() -> None:
    bad = sum(
        any(c.stops for c in compare(_group(s, 20, 0.9, 0.6), _group(s + 999, 50, 0.9, 0.9), LIMITS)) for s in range(40)
    )
    good = sum(
        any(c.stops for c in compare(_group(s, 20, 0.9, 0.9), _group(s + 999, 50, 0.9, 0.9), LIMITS)) for s in range(40)
    )
    assert (bad, good) == (40, 0)


def test_what_comes_over_the_whole_fleet_is_no_fault_of_the_bundle() -> None:
    found = compare(_group(1, 20, 0.9, 0.5), _group(2, 50, 0.9, 0.5), LIMITS)
    assert not any(each.stops for each in found)
    shift = _of(found, "PASS")
    assert (
        abs(shift.value) < 0.03
        and shift.lower < shift.value < shift.upper
        and (shift.stations, shift.control) == (20, 50)
    )


def test_one_canary_is_held_against_the_spread_of_the_control_group() -> None:
    control = _group(3, 30, 0.9, 0.9)
    assert _of(compare(_group(4, 1, 0.9, 0.2), control, LIMITS), "PASS").stops
    assert not any(each.stops for each in compare(_group(5, 1, 0.9, 0.9), control, LIMITS))
    few = [Change(Frames(30, 27, 3), Frames(30, 22, 8))]
    calm = [Change(Frames(1000, 900, 100), Frames(1000, 900, 100))] * 5
    assert not _of(compare(few, calm, LIMITS), "PASS").stops, "chance alone does that to thirty frames"


@pytest.mark.parametrize(
    ("treated", "control", "why"),
    [(0, 9, "no station with the new bundle has 30 frames"), (4, 2, "takes 3 stations without the new bundle")],
)
def test_with_too_few_stations_nothing_is_known_and_nothing_stops(treated: int, control: int, why: str) -> None:
    found = compare(_group(6, treated, 0.9, 0.1), _group(7, control, 0.9, 0.9), LIMITS)
    assert all(each.unknown and not each.stops for each in found) and why in found[0].unknown


def test_stations_without_enough_frames_are_left_out() -> None:
    thin = [Change(Frames(29, 29, 0), Frames(500, 0, 500))] * 5
    assert _of(compare([*_group(8, 5, 0.9, 0.9), *thin], _group(9, 10, 0.9, 0.9), LIMITS), "PASS").stations == 5


def test_frames_that_take_three_times_as_long_and_agents_that_grow_are_found() -> None:
    slow = _of(compare(_group(10, 8, 0.9, 0.9, us=15_000.0), _group(11, 20, 0.9, 0.9), LIMITS), "latency")
    assert slow.stops and 2.5 < slow.value < 3.5 and slow.lower > 2.0 and "times as long" in slow.words()
    grown = [
        Change(c.before, c.after, c.memory_before, c.memory_before + 90.0)
        for c in _group(12, 8, 0.9, 0.9)
        if c.memory_before
    ]
    memory = _of(compare(grown, _group(13, 20, 0.9, 0.9), LIMITS), "memory")
    assert memory.stops and 80.0 < memory.value < 95.0
    unasked = Limits(0.1, 2.0, 0.0, 0.95)
    assert not _of(compare(grown, _group(13, 20, 0.9, 0.9), unasked), "memory").stops


def test_the_bound_holds_as_often_as_it_says() -> None:
    """One in twenty of such bounds may be wrong, whichever group is the smaller and however the two spread."""
    for n, m, spread in ((5, 40, 1.0), (2, 30, 3.0), (1, 20, 1.0)):
        chance, wrong = Random(n), 0
        for _ in range(2000):
            these = [chance.gauss(0.3, spread if n > 1 else 1.0) for _ in range(n)]
            others = [chance.gauss(0.0, 1.0) for _ in range(m)]
            wrong += difference(these, others, 0.95)[1] > 0.3
        assert wrong / 2000 <= 0.065, (n, m)


def test_the_report_of_an_ab_rollout_says_both_arms_and_by_how_much_they_differ() -> None:
    a = [ArmStation({"PASS": 90, "REJECT": 5, "REVIEW": 5}, 4.0 + n / 10, 10, 8) for n in range(6)]
    b = [ArmStation({"PASS": 95, "REJECT": 4, "REVIEW": 1}, 3.0 + n / 10, 10, 9, failed=n == 0) for n in range(6)]
    report = ab_report(a, b, ("v1", "v2"), 0.95)
    assert [(arm.arm, arm.version, arm.stations, arm.frames, arm.failed) for arm in report.arms] == [
        ("a", "v1", 6, 600, 0), ("b", "v2", 6, 600, 1),
    ]  # fmt: skip
    assert report.arms[1].mix == {"PASS": 0.95, "REJECT": 0.04, "REVIEW": 0.01} and report.arms[1].right == 54
    by = {each.what: each for each in report.differences}
    assert by["PASS"].value == pytest.approx(0.05) and by["accuracy"].value == pytest.approx(0.1)
    assert by["latency"].lower < -1.0 + 1e-9 < by["latency"].upper
    assert read_evidence(RolloutEvidence(ab=report).encode()).ab == report
    alone = ab_report(a[:1], b, ("v1", "v2"))
    assert all("takes 2 stations" in each.unknown for each in alone.differences)
