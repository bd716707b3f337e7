"""The thresholds' guarantee is a camera's own, and a restart does not mend a lens."""

from __future__ import annotations

from agent.decide.thresholds import Decision
from agent.guarantee import Guarantee
from contract.messages import Verdict
from tests.fakes.agent_line import DictMemory, ListLog

PASS = Decision(Verdict.PASS)


def test_one_cameras_drift_voids_no_other_cameras_guarantee_also_after_a_restart() -> None:
    memory = DictMemory()
    Guarantee(memory, ListLog(), ask=False, camera="left").notice_drift(True, "the lens fogs")
    first, left = (Guarantee(memory, ListLog(), ask=False, camera=camera) for camera in ("", "left"))
    assert (first.apply(PASS), first.note) == (PASS, "")
    assert left.apply(PASS).verdict is Verdict.REVIEW
    assert "the lens fogs" in left.note
    first.notice_drift(True, "the lamp ages")
    left.notice_drift(False, "")
    first, left = (Guarantee(memory, ListLog(), ask=False, camera=camera) for camera in ("", "left"))
    assert first.apply(PASS).verdict is Verdict.REVIEW
    assert left.apply(PASS) == PASS
