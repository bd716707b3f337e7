"""An OPC UA server that dies of a fault of ours: the job in hand is lost, every answer is counted, who halted it finds it so."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import ua

from agent.clock import SystemClock
from agent.line_io import opcua
from agent.line_io.desk import Desk, DeskRules
from agent.line_io.opcua import OpcUaLine
from agent.line_io.opcua_results import Job
from agent.line_io.opcua_states import Cause, State, move
from agent.line_io.opcua_vision import Mode, Vision
from agent.ports.line import Answer, LineState
from agent.ports.recorder import Result
from tests.agent.line_io.line_rig import Line, books_close
from tests.agent.line_io.line_rig import until as wait_for
from tests.agent.line_io.opcua_rig import Controller, line_on, until
from tests.fakes.agent_line import ListLog
from tests.fixtures_broker import free_port


class QuickServer:
    """What `OpcUaLine` needs of a server, without an address space that takes seconds."""

    def __init__(self, *_: object) -> None:
        self.bserver = SimpleNamespace(clients=["somebody"])

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass


class QuickVision(Vision):
    """A vision system whose clients see nothing."""

    async def open(self) -> None:
        pass

    async def _show_state(self) -> None:
        pass

    async def _send(self, event: object) -> None:
        pass

    async def _give(self, job: Job, answer: Answer) -> None:
        given.append((job.id, answer.verdict))

    async def _go(self, cause: Cause, job: str = "", why: str = "") -> None:
        self.state, _ = move(self.state, cause)


given: list[tuple[str, str]] = []


def test_a_server_that_dies_loses_the_job_in_hand_counts_the_answer_and_stays_halted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[QuickVision] = []
    given.clear()

    class Kept(QuickVision):
        async def open(self) -> None:
            made.append(self)

    async def opened(*_: object) -> None:
        pass

    monkeypatch.setattr(opcua, "BoundServer", QuickServer)
    monkeypatch.setattr(opcua, "Vision", Kept)
    monkeypatch.setattr(opcua, "_AGAIN_S", 0.01)
    desk, log = Desk(DeskRules(timeout_s=60.0, waiting=1), SystemClock()), ListLog()
    line = OpcUaLine(desk, log, station="s", host="127.0.0.1", port=free_port())
    monkeypatch.setattr(line, "_open", opened)
    desk.show = line.show

    def start(part: str) -> Job:
        """Start a job as a client does."""
        vision = made[-1]
        blank = [ua.Variant(each) for each in ("", part, "", "", None)]
        vision._space = SimpleNamespace(classes={"JobIdDataType": SimpleNamespace})  # type: ignore[assignment]
        asyncio.run_coroutine_threadsafe(vision._start(Cause.START_SINGLE_JOB, tuple(blank)), line._loop).result(60)  # type: ignore[arg-type]
        assert vision._job is not None
        return vision._job

    def dies() -> None:
        """Have the next thing that is said to the server break it."""
        before = made[-1]
        before._lock = None  # type: ignore[assignment]
        if before._job is None or desk.counts().waiting:
            line.beat(desk.state())
        wait_for(lambda: made[-1] is not before and line._loop is not None)

    def until_ready() -> None:
        line.beat(desk.state())
        wait_for(lambda: made[-1].state is State.READY)

    line.start()
    until_ready()
    start("never")
    dies()
    assert (desk.counts().lost, desk.counts().waiting) == ({"gone": 1}, 0), (
        "else nobody could ask until its time is out"
    )
    until_ready()
    job = start("answered")
    taken = desk.take(float("inf"))
    assert taken is not None
    made[-1]._lock = None  # type: ignore[assignment]
    desk.came_out(Result(1, 1.0, "answered", "PASS", "", "ok", 0.9, 5.0, "d", asked=taken[0]), recorded=True)
    wait_for(lambda: len(made) == 3 and line._loop is not None)
    assert (desk.counts().answered, desk.counts().unshown, given) == (1, 1, [])
    assert made[-1]._job is not job
    until_ready()
    line._mode.by_itself, line._mode.halted = False, True  # as `Halt` leaves it
    dies()
    line.beat(desk.state())
    wait_for(lambda: line._work is not None and line._work.empty())
    asyncio.run_coroutine_threadsafe(made[-1]._lock.acquire(), line._loop).result(60)  # type: ignore[arg-type]  # followed
    assert made[-1].state is State.HALTED
    made[-1]._lock.release()
    line.stop()
    assert len(made) == 4 and books_close(desk)


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ((Cause.RESET,), State.PREOPERATIONAL),
        ((Cause.RESET, Cause.SELECT_MODE_AUTOMATIC), State.READY),
        ((Cause.RESET, Cause.SELECT_MODE_AUTOMATIC, Cause.RESET), State.PREOPERATIONAL),
        ((Cause.HALT, Cause.RESET, Cause.SELECT_MODE_AUTOMATIC), State.READY),
    ],
)
def test_a_machine_that_somebody_reset_is_found_as_whoever_did_left_it(told: tuple[Cause, ...], found: State) -> None:
    mode, clock = Mode(), SystemClock()
    desk, ready = Desk(DeskRules(), clock), LineState(True, "", 0)
    top = SimpleNamespace(nodeid=ua.NodeId(1))

    def made() -> QuickVision:
        vision = QuickVision(QuickServer(), desk, clock.now, "b", mode)  # type: ignore[arg-type]
        vision._space = SimpleNamespace(top=top)  # type: ignore[assignment]
        return vision

    async def go() -> State:
        before = made()
        await before.is_now(ready)
        for cause in told:
            blank = () if cause is Cause.SELECT_MODE_AUTOMATIC else (ua.Variant(0), ua.Variant(""))
            assert isinstance(await before._method(cause)(top.nodeid, *blank), list)
        after = made()
        await after.is_now(ready)
        return after.state

    assert asyncio.run(go()) is found


class Faults:
    """Has the server's own loop fail when it is told to, following the station or showing an answer."""

    def __init__(self, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        self._line = line
        self.at_state = self.at_answer = False
        follow, answered = Vision.is_now, Vision.answered

        async def is_now(vision: Vision, state: LineState) -> None:
            if self.at_state and vision._desk is line.desk:
                self.at_state = False
                raise RuntimeError("a fault of ours")
            await follow(vision, state)

        async def shows(vision: Vision, answer: Answer) -> bool:
            if self.at_answer and vision._desk is line.desk:
                self.at_answer = False
                raise RuntimeError("a fault of ours")
            return await answered(vision, answer)

        monkeypatch.setattr(Vision, "is_now", is_now)
        monkeypatch.setattr(Vision, "answered", shows)

    async def until_it_died(self, times: int) -> None:
        await until(
            lambda: sum(each.startswith("plc: the OPC UA server died") for each in self._line.log.lines) == times
        )
        await self.until_it_serves()

    async def until_it_serves(self) -> None:
        await until(lambda: bool(self._line.adapters) and getattr(self._line.adapters[-1], "_loop", None) is not None)


@pytest.mark.long
def test_what_is_kept_and_what_is_lost_when_the_server_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    verdicts: dict[str, str | None] = {"never": None, "next": "PASS", "last": "PASS"}
    line = line_on(port, verdict_of=lambda part: verdicts[part], waiting=1)
    line.loop._wait_s = 3600.0  # an address space takes its time on a busy machine; the adapter itself stays
    faults = Faults(line, monkeypatch)

    async def go() -> None:
        await faults.until_it_serves()
        async with Controller(port) as plc:
            await plc.until_state("Ready")
            await plc.start("never")
            faults.at_state = True
            await faults.until_it_died(1)
        counts = line.desk.counts()
        assert (counts.lost, counts.waiting) == ({"gone": 1}, 0), "else nobody could ask until its time is out"
        async with Controller(port) as plc:
            await plc.until_state("Ready")
            faults.at_answer = True
            await plc.start("next")
            await faults.until_it_died(2)
        counts = line.desk.counts()
        assert (counts.answered, counts.unshown, counts.lost) == (1, 1, {"gone": 1})
        async with Controller(port) as plc:
            await plc.until_state("Ready")
            await plc.call("Halt", 0, "by hand")
            faults.at_state = True
            await faults.until_it_died(3)
        async with Controller(port) as plc:
            told = line.loop._beat_s
            await until(lambda: line.loop._beat_s > told + 1.0)  # it was told more than once that the station is ready
            assert await plc.state() == "Halted"
            await plc.call("Reset", 0, "")
            await plc.call("SelectModeAutomatic")
            await plc.until_state("Ready")
            job, error = await plc.start("last")
            assert error == 0
            event: dict[str, Any] = await plc.event("ResultReadyEventType", job=job)
            assert event["ResultContent"][0].Value == "PASS"

    line.start()
    try:
        asyncio.run(go())
    finally:
        line.stop()
    assert books_close(line.desk) and len(line.adapters) == 1
