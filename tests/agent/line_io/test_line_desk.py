"""Every trigger of the line's controller gets exactly one answer, and the books close."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decide.causes import Cause
from agent.line_io.desk import Desk, DeskRules
from agent.ports.line import Answer, Lost, Refused
from agent.ports.recorder import Result
from tests.fakes.agent_clock import HandClock


def desk(clock: HandClock, **rules: object) -> tuple[Desk, list[Answer]]:
    """Return a desk and what it showed."""
    shown: list[Answer] = []
    made = Desk(DeskRules(**rules), clock)  # type: ignore[arg-type]
    made.show = shown.append
    return made, shown


def result(asked: int, verdict: str = "PASS", cause: str = "", camera: str = "") -> Result:
    """Return a verdict of a frame that was asked for so."""
    return Result(1, 10.0, "p", verdict, cause, "ok", 0.9, 5.0, "d", camera=camera, asked=asked)


def test_a_trigger_is_answered_by_the_first_frame_after_it() -> None:
    clock = HandClock()
    line, shown = desk(clock)
    assert line.trigger(7, "part-7") is None
    at_s = clock.monotonic()
    assert line.take(at_s - 0.001) is None
    taken = line.take(at_s)
    assert taken is not None and taken[1] == "part-7"
    line.came_out(result(taken[0]), recorded=True)
    assert [(each.ask, each.part, each.verdict, each.lost) for each in shown] == [(7, "part-7", "PASS", None)]


def test_a_slow_camera_is_given_its_lag() -> None:
    clock = HandClock()
    line, _ = desk(clock, delay_s=0.2, timeout_s=1.0)
    line.trigger(1, "")
    assert line.take(clock.monotonic() + 0.1) is None
    assert line.take(clock.monotonic() + 0.2) is not None


def test_a_verdict_that_comes_too_late_is_never_shown() -> None:
    clock = HandClock()
    line, shown = desk(clock, timeout_s=0.25)
    line.trigger(1, "a")
    taken = line.take(clock.monotonic())
    clock.forward(0.25)
    line.expire()
    assert taken is not None
    line.came_out(result(taken[0]), recorded=True)
    assert [(each.verdict, each.lost) for each in shown] == [("REJECT", Lost.TIMEOUT)]
    assert (line.counts().late, line.counts().lost) == (1, {"timeout": 1})
    assert line.missed == 0  # it was seen, only too late


def test_a_part_that_was_never_seen_is_missed() -> None:
    clock = HandClock()
    line, _ = desk(clock, timeout_s=0.25)
    line.trigger(1, "a")
    clock.forward(0.3)
    line.expire()
    assert line.missed == 1


def test_what_could_not_be_recorded_does_not_pass() -> None:
    line, shown = desk(HandClock())
    line.trigger(1, "a")
    taken = line.take(1e9)
    assert taken is not None
    line.came_out(result(taken[0]), recorded=False)
    assert [(each.verdict, each.cause) for each in shown] == [("REVIEW", "not_recorded")]


def test_a_gate_with_two_ways_ejects_what_is_to_be_reviewed() -> None:
    line, shown = desk(HandClock(), review_as="reject")
    line.trigger(1, "a")
    taken = line.take(1e9)
    assert taken is not None
    line.came_out(result(taken[0], "REVIEW", "unsure"), recorded=True)
    assert [(each.verdict, each.cause) for each in shown] == [("REJECT", "unsure")]


def test_refusals() -> None:
    line, _ = desk(HandClock(), waiting=2)
    assert line.trigger(1, "") is None
    assert line.trigger(1, "") is Refused.AGAIN
    assert line.trigger(2, "") is None
    assert line.trigger(3, "") is Refused.FULL
    closed = Desk(DeskRules(), HandClock(), lambda: "no model is installed")
    assert closed.trigger(1, "") is Refused.NOT_READY
    assert closed.state().why == "no model is installed"


def test_a_camera_fault_answers_the_trigger_once() -> None:
    line, shown = desk(HandClock())
    line.trigger(1, "a")
    line.take_fault(Cause.CAMERA_FAULT)
    line.came_out(result(0, "REVIEW", "camera_fault"), recorded=True)
    assert [(each.ask, each.verdict, each.lost, each.cause) for each in shown] == [
        (1, "REJECT", Lost.FAULT, "camera_fault")
    ]
    assert (line.missed, line.counts().unasked) == (0, 0)


def test_other_cameras_are_not_the_controllers() -> None:
    line, shown = desk(HandClock(), triggers=False)
    line.came_out(result(0, camera="left"), recorded=True)
    line.came_out(result(0), recorded=True)
    assert [(each.ask, each.part) for each in shown] == [(None, "p")]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("trigger"), st.integers(0, 4)),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.just("out"), st.integers(0, 12)),
        st.tuples(st.just("fault"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 300)),
        st.tuples(st.just("withdraw"), st.integers(0, 4)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_the_books_close_whatever_happens(steps: list[tuple[str, int]]) -> None:
    clock = HandClock()
    line, shown = desk(clock, waiting=3, timeout_s=0.2)
    taken: list[int] = []
    accepted = 0
    for what, n in steps:
        if what == "trigger":
            accepted += line.trigger(n, f"part-{n}") is None
        elif what == "take" and (got := line.take(clock.monotonic())):
            taken.append(got[0])
        elif what == "out" and n < len(taken):
            line.came_out(result(taken.pop(n)), recorded=True)
        elif what == "fault":
            line.take_fault(Cause.CAMERA_FAULT)
        elif what == "wait":
            clock.forward(n / 1e3)
            line.expire()
        elif what == "withdraw":
            line.withdraw(n)
        counts = line.counts()
        lost, refused = sum(counts.lost.values()), sum(counts.refused.values())
        assert counts.triggers == refused + counts.answered + lost + counts.waiting
        assert accepted == counts.answered + lost + counts.waiting
        assert len(shown) == counts.answered + lost - counts.lost.get("gone", 0)
    line.close()
    assert line.counts().waiting == 0
