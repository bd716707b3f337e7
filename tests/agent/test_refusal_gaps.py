"""What a reviewer found of refusals: a moment in which a stranger could pass, silences, and a limit of rounding errors."""

from __future__ import annotations

from unittest.mock import PropertyMock

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.familiar import MOST_POINTS, Familiar
from agent.decide.unfamiliar import LEAST_LIMIT, Learnt, RefusalLimit, RefusedOfLate, frames_needed
from agent.degrading import DegradeFigures
from agent.enrolled import Enrolled
from agent.guarantee import Guarantee
from agent.health.station_health import health_note
from agent.ports.machine import MachineFigures
from contract.messages import Accounting
from contract.sketches.frame_stats import frame_stats
from tests.agent.test_beside import Beside, says
from tests.agent.test_frame_loop import Bench, bright, review
from tests.agent.test_unfamiliar_frames import ENROL, LEARN, RATE, strange, taught
from tests.fakes.agent_line import DictMemory, ListLog, bundle


def test_a_stranger_does_not_pass_while_an_alarm_is_being_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm is open as the refusal looks at it, and closed by another thread before the guarantee is asked."""
    bench = taught()
    monkeypatch.setattr(Guarantee, "is_void", PropertyMock(return_value=True))
    assert bench.feed(strange(230)) == [review("unfamiliar")]


def test_a_station_whose_enrolment_is_older_than_the_refusal_says_what_it_learns() -> None:
    older = Bench(installed=bundle("a"), enrol_frames=ENROL, window_frames=64)
    older.feed(*bright(ENROL))
    older.enrolled.save()
    log = ListLog()
    Enrolled(older.memory, log, frames_needed=ENROL, unfamiliar_rate=RATE)
    assert log.lines == [f"what is familiar was never kept: the next {ENROL} good frames are"]
    off = ListLog()
    Enrolled(older.memory, off, frames_needed=ENROL)
    assert off.lines == []


def test_a_limit_is_never_a_rounding_error() -> None:
    """A folder in a loop: every frame is one of those enrolled, and its distance what the arithmetic of a processor leaves."""
    limit = RefusalLimit(RATE)
    for _ in range(LEARN):
        limit.learn(0.0)
    assert limit.value == LEAST_LIMIT and not limit.refuses(1e-7) and limit.refuses(0.02)
    points = np.random.default_rng(4).normal(0.5, 0.1, (10, 12))
    familiar = Familiar(40)
    for index in range(40):
        familiar.add(points[index % 10])
    again = Familiar.decode(familiar.encode())
    assert again is not None and max(again.distance(x) for x in points) < LEAST_LIMIT / 100


def test_frames_that_are_not_refused_yet_pass_or_fail_by_the_model_while_another_rate_is_learnt() -> None:
    """Refused frames take part in learning, else a lower rate could never be reached."""
    bench = taught()
    bench.enrolled.save()
    again = Bench(
        installed=bundle("a"), enrol_frames=ENROL, unfamiliar_rate=0.05, window_frames=64, memory=bench.memory
    )
    assert again.feed(strange(230, 1), strange(230, 2)) == [review("unfamiliar")] * 2
    again.feed(*bright(frames_needed(0.05) - 2, 800))
    assert again.feed(strange(230, 2)) != [review("unfamiliar")], "two in forty are what this rate lets be learnt from"


@pytest.mark.parametrize(
    "learnt",
    [
        Learnt("r", b"", 0.1, 19, (2.0, 1.0), None),
        Learnt("r", b"", 0.1, 400, (2.0, 1.0), None),
        Learnt("r", b"", 0.1, 9, (), None),
        Learnt("r", b"", 0.1, 9, (1.0,), None),
        Learnt("r", b"", 0.1, 9, (1.0, 2.0), None),
        Learnt("r", b"", 0.1, 0, (1.0,), None),
        Learnt("r", b"", 0.0, 9, (2.0, 1.0), 1.0),
        Learnt("r", b"", 5e-324, 9, (2.0, 1.0), 1.0),
        Learnt("r", b"", 1.0, 9, (2.0, 1.0), 1.0),
    ],
)
def test_what_would_refuse_nothing_for_ever_or_was_never_learnt_so_is_not_believed(learnt: Learnt) -> None:
    assert not learnt.is_sound()
    memory = DictMemory()
    first = Enrolled(memory, ListLog(), frames_needed=2, unfamiliar_rate=0.1)
    for pixels in bright(4):
        first.add(frame_stats(pixels), 1.0)
    first.save()
    mine = msgspec.json.decode(memory.facts["refusal_limit"], type=Learnt)
    torn = msgspec.structs.replace(learnt, reference=mine.reference, points=mine.points)
    memory.facts["refusal_limit"] = msgspec.json.encode(torn).decode()
    log = ListLog()
    Enrolled(memory, log, frames_needed=2, unfamiliar_rate=0.1)
    assert any("learning it anew" in line for line in log.lines)


def counted(decided: int, refused: int) -> Accounting:
    return Accounting(captured=decided, passed=decided - refused, review={"unfamiliar": refused})


def test_the_share_refused_of_late_is_of_a_day_and_of_the_camera_that_refuses_most() -> None:
    late = RefusedOfLate()
    assert late.share() is None
    late.count("left", counted(49, 49), 0.0)
    assert late.share() is None, "too few to tell"
    late.count("left", counted(51, 1), 3600.0)
    late.count("right", counted(1000, 10), 3600.0)
    assert late.share() == 0.5
    late.count("left", counted(10, 0), 23 * 3600.0)
    assert late.share() == 50 / 110
    late.count("left", counted(100, 0), 24 * 3600.0)
    assert late.share() == pytest.approx(0.01), "the first hour is a day old"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 300), st.integers(0, 300), st.floats(0, 1e6))))
def test_the_share_is_one_whatever_the_clock_does_and_a_day_is_all_that_is_held(
    windows: list[tuple[str, int, int, float]],
) -> None:
    late = RefusedOfLate()
    for camera, passed, refused, now_s in windows:
        late.count(camera, counted(passed + refused, refused), now_s)
        share = late.share()
        assert share is None or 0.0 <= share <= 1.0
    late.count("a", counted(1, 0), 1e6 + 3600.0)
    assert len(late._hours["a"]) <= 24


def test_a_windows_health_tells_it() -> None:
    machine = MachineFigures()
    assert health_note(DegradeFigures(), 1.0, None, 0, machine).unfamiliar is None
    assert health_note(DegradeFigures(), 1.0, None, 0, machine, 1 / 3).unfamiliar == 0.3333
    bench = taught()
    bench.feed(*(strange(230, seed) for seed in range(60)))
    bench.finish()
    assert bench.loop._rules.windows.refused.share() == pytest.approx(60 / (60 + ENROL + LEARN))


def test_more_points_than_are_ever_kept_or_larger_ones_are_none() -> None:
    """What is far beyond any statistic of pixels would make everything near, and a long list costs every frame time."""
    good = np.random.default_rng(5).normal(0.5, 0.1, (MOST_POINTS, 12)).astype("<f4")
    assert Familiar.decode(good.tobytes()) is not None
    assert Familiar.decode(np.vstack([good, good[:1]]).tobytes()) is None
    for number in (2e6, -2e6, np.inf, np.nan):
        good[3, 4] = number
        assert Familiar.decode(good.tobytes()) is None


def test_a_station_enrols_anew_while_a_drift_alarm_is_open_and_its_old_limit_is_forgotten_on_disk() -> None:
    """The alarm is often why it is to enrol: what it learnt before must be neither used nor shown until it has."""
    bench = taught()
    bench.enrolled.save()
    bench.guarantee.notice_drift(True, "a new product")
    bench.enrolled.request_enrolment()
    bench.feed(strange(230, 0))
    bench.enrolled.save()
    assert bench.memory.facts["refusal_limit"] == "" == bench.memory.facts["reference"]
    bench.feed(*(strange(230, seed) for seed in range(1, ENROL)))
    assert bench.enrolled.reference is not None
    bench.guarantee.notice_drift(False, "")
    bench.feed(*(strange(230, seed) for seed in range(100, 100 + LEARN)))
    assert bench.feed(*bright(1, 600)) == [review("unfamiliar")]


def test_a_frame_that_shows_nothing_is_not_enrolled_because_a_model_beside_rejects_it() -> None:
    """Nor does it count, at a distance of 0, among the frames that the limit is learnt from."""
    line = Beside()
    line.models["strict"] = says(-9, 9)
    bench = line.settled("strict")
    bench.enrolled._frames_needed = ENROL
    bench.enrolled.request_enrolment()
    blank = [np.full((32, 32), 120 + number, np.uint8) for number in range(ENROL)]
    assert bench.feed(*blank) == [("REJECT", "")] * ENROL
    assert bench.enrolled.reference is None
    assert bench.feed(*bright(ENROL)) == [("REJECT", "")] * ENROL
    assert bench.enrolled.reference is not None, "what a model rejects is a part, all the same"
