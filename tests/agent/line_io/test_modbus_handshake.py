"""Whatever PLC, camera, model and clock do: PASS is only ever the last request's own, and the books close."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decide.causes import Cause
from agent.line_io import modbus_map as m
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.modbus_handshake import Handshake
from agent.line_io.modbus_map import Bit, Coil, Hold, In, Status
from agent.ports.recorder import Result
from tests.fakes.agent_clock import HandClock

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from([1, 2, 3, 65, 66, 65535])),
        st.tuples(st.just("whole"), st.sampled_from([1, 2, 3, 65, 66])),
        st.tuples(st.just("ack"), st.sampled_from([1, 2, 3, 65, 66])),
        st.tuples(st.just("begin"), st.just(0)),
        st.tuples(st.just("coil"), st.booleans()),
        st.tuples(st.just("ack coil"), st.booleans()),
        st.tuples(st.just("heart"), st.integers(0, 65535)),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.just("judge"), st.sampled_from(["PASS", "REJECT", "REVIEW"])),
        st.tuples(st.just("fault"), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([0.01, 0.06, 0.2, 0.5, 31.0])),
        st.tuples(st.just("beat"), st.just(0)),
        st.tuples(st.just("unready"), st.booleans()),
        st.tuples(st.just("stray"), st.just(0)),
    ),
    max_size=80,
)


class Plant:
    """A desk, its registers, and what is true of each part."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.why = ""
        self.desk = Desk(DeskRules(waiting=3, timeout_s=0.1), self.clock, lambda: self.why)
        self.hand = Handshake(self.desk, self.clock.monotonic, silence_s=0.3)
        self.desk.show = self.hand.show
        self.taken: list[tuple[int, str]] = []
        self.truth: dict[str, str] = {}
        self.parts = 0
        self.hand.beat()
        self.hand.write(Hold.REQUEST, [0])

    def step(self, what: str, n: object) -> None:
        """Do one thing."""
        hand = self.hand
        if what == "ask":
            self.parts += 1
            part = f"p{self.parts}"
            hand.write(Hold.REQUEST, [int(str(n)), 0, 0, 0, *m.words(part, m.PART_WORDS)])
        elif what == "whole":
            self.step("ask", n)
            self.step("take", 0)
            self.step("judge", "PASS")
        elif what == "ack":
            hand.write(Hold.ACK, [int(str(n))])
        elif what == "begin":
            hand.write(Hold.REQUEST, [0])
        elif what == "coil":
            self.parts += 1
            hand.write(Hold.PART_TEXT, m.words(f"p{self.parts}", m.PART_WORDS))
            hand.write_coils(Coil.REQUEST, [bool(n)])
        elif what == "ack coil":
            hand.write_coils(Coil.ACK, [bool(n)])
        elif what == "heart":
            hand.write(Hold.HEARTBEAT, [int(str(n))])
        elif what == "take" and (got := self.desk.take(self.clock.monotonic())):
            self.taken.append(got)
        elif what == "judge" and self.taken:
            number, part = self.taken.pop(0)
            self.truth[part] = str(n)
            self.desk.came_out(Result(1, 1.0, part, str(n), "", "x", 0.5, 1.0, "d", asked=number), recorded=True)
        elif what == "fault":
            self.desk.take_fault(Cause.CAMERA_FAULT)
        elif what == "wait":
            self.clock.forward(float(str(n)))
            self.desk.expire()
            hand.tick()
        elif what == "beat":
            hand.beat()
        elif what == "unready":
            self.why = "no model" if n else ""
        elif what == "stray":
            self.desk.came_out(Result(1, 1.0, "stray", "PASS", "", "x", 0.5, 1.0, "d"), recorded=True)
            self.truth["stray"] = "PASS"

    def check(self) -> None:
        """See that nothing is shown that is not so."""
        seen = self.hand.inputs(0, m.RING)
        bits, verdict = Bit(seen[In.STATE]), seen[In.VERDICT]
        part = m.text(seen[In.PART : In.LABEL])
        assert self.hand.discretes() == [bool(bits & bit) for bit in Bit]
        assert bool(bits & Bit.PASS) == (verdict == 1) == (seen[In.STATUS] == Status.VERDICT and verdict == 1)
        assert bool(bits & Bit.REJECT) is not bool(bits & (Bit.PASS | Bit.REVIEW))
        if verdict == 1:
            assert self.truth[part] == "PASS"
            assert part == "stray" or seen[In.ASK] == seen[In.LAST_REQUEST]
        triggers, answered, lost, refused = (
            seen[at] << 16 | seen[at + 1] for at in (In.TRIGGERS, In.ANSWERED, In.LOST, In.REFUSED)
        )
        assert triggers == answered + lost + refused + seen[In.WAITING]
        for slot in range(m.SLOTS):
            ask, status, shown = self.hand.inputs(m.RING + m.SLOT_WORDS * slot, 3)
            assert (ask % m.SLOTS == slot and status) or (ask, status, shown) == (0, 0, 0)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_a_pass_is_only_ever_the_last_requests_own(steps: list[tuple[str, object]]) -> None:
    plant = Plant()
    for what, n in steps:
        plant.step(what, n)
        plant.check()
    plant.clock.forward(1.0)
    plant.desk.expire()
    counts = plant.desk.counts()
    assert counts.waiting == 0
    assert counts.triggers == counts.answered + sum(counts.lost.values()) + sum(counts.refused.values())
    plant.hand.close()
    assert Bit(plant.hand.inputs(In.STATE, 1)[0]) & (Bit.PASS | Bit.REJECT) == Bit.REJECT


@given(st.integers(0, m.INPUTS - 1), st.integers(1, 125))
@settings(deadline=None)
def test_a_part_of_the_registers_is_a_part_of_the_whole(address: int, count: int) -> None:
    plant = Plant()
    for n in (1, 2, 3):
        plant.step("ask", n)
        plant.step("take", 0)
        plant.step("judge", "PASS")
    whole = plant.hand.inputs(0, m.INPUTS)
    count = min(count, m.INPUTS - address)
    assert plant.hand.inputs(address, count) == whole[address : address + count]


@given(st.text(max_size=40))
@settings(deadline=None)
def test_a_text_comes_back_as_far_as_it_fits(text: str) -> None:
    words = m.words(text, m.PART_WORDS)
    assert len(words) == m.PART_WORDS and all(0 <= word <= 0xFFFF for word in words)
    back = m.text(words)
    assert text.startswith(back)
    assert "\0" in text or len(text.encode()) > 2 * m.PART_WORDS or back == text


def test_every_cause_has_a_number_of_its_own() -> None:
    assert {cause.value for cause in Cause} <= set(m.CAUSES)
    assert len(set(m.CAUSES.values())) == len(m.CAUSES)
    told = " ".join((m.__doc__ or "").split())
    assert [name for name, number in m.CAUSES.items() if name and f" {number} {name}," not in told] == []
