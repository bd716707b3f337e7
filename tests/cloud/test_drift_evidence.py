"""How near the fleet is to a drift alarm, as /metrics tells it: few figures whatever the fleet, rising before the alarm does."""

from __future__ import annotations

import math

from cloud.improve_loop import EVIDENCE_SHARES
from tests.cloud.test_improve_loop import Fleet
from tests.cloud.test_improve_loop import fleet as fleet  # the fixture


def _shares(fleet: Fleet) -> list[float]:
    found = fleet.loop.evidence()
    assert [float(share) for share in found] == list(EVIDENCE_SHARES)
    values = list(found.values())
    assert values == sorted(values, reverse=True), "what reached more reached less, too"
    return values


def test_evidence_gathers_before_there_is_an_alarm(fleet: Fleet) -> None:
    assert _shares(fleet) == [0.0, 0.0, 0.0, 0.0], "nobody is watched"
    fleet.send(30)
    assert _shares(fleet) == [0.0, 0.0, 0.0, 0.0], "nothing drifts"
    fleet.lines["s1"].shift_by(sharpness=-3.0)
    seen = []
    while not fleet.tables.alarms.open():
        fleet.send(1)
        seen.append(_shares(fleet))
        assert len(seen) < 60, "it never came to an alarm"
    assert any(each[0] == 1.0 and each[-1] == 0.0 for each in seen[:-1]), "it was seen coming"
    assert seen[-1] == [1.0, 1.0, 1.0, 1.0], "s1 alone, all the way"


def test_a_revoked_station_is_left_out_and_its_other_cameras_with_it(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(10)
    assert _shares(fleet)[-1] == 1.0
    assert fleet.loop.evidence({"s1"}) == {f"{share:g}": 0.0 for share in EVIDENCE_SHARES}
    assert fleet.loop.evidence({"s2"})["1"] == 1.0


def test_the_whole_is_where_the_page_draws_the_line(fleet: Fleet) -> None:
    fleet.drift()
    fleet.send(10)
    status = fleet.loop.drift_status("s1")
    reached = status["log10_e"] / fleet.loop.threshold_log10()
    assert math.isclose(fleet.loop.threshold_log10(), math.log10(2 / 1e-3))
    assert fleet.loop.evidence()["1"] == float(reached >= 1.0) == 1.0
