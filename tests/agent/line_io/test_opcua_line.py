"""The station as an OPC 40100-1 vision system, by a real client over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.ua.uaerrors import BadInvalidArgument, BadNotExecutable, UaStatusCodeError

from agent.line_io.desk import Desk
from agent.line_io.opcua import OpcUaLine
from agent.line_io.opcua_vision import ERRORS, NO_RECIPES, NO_SUCH_RESULT, Vision
from agent.ports.line import Answer, LineState, Refused
from contract.errors import TransientError
from tests.agent.line_io.line_rig import NOT_FOR_EVER_S, Line, books_close
from tests.agent.line_io.opcua_rig import IDS, Controller, line_on, until
from tests.fakes.agent_line import ListLog
from tests.fixtures_broker import free_port

TIMEOUT_S = 60.0
VERDICTS = {"good": "PASS", "bad": "REJECT", "odd": "REVIEW", "never": None}


class Running:
    """A line that listens, and its port."""

    def __init__(self, **rules: Any) -> None:
        self.port = free_port()
        self.line: Line = line_on(
            self.port, **{"verdict_of": lambda part: VERDICTS.get(part.partition("-")[0], "PASS"), **rules}
        )
        self.line.start()

    def by(self, what: Callable[[Controller], Awaitable[None]]) -> None:
        """Do `what` with a client, once the line is up."""

        async def go() -> None:
            await until(lambda: bool(self.line.adapters) and self.line.loop.trouble == "" and listens(self.port))
            async with Controller(self.port) as plc:
                await plc.call("Reset", 0, "")
                await plc.call("SelectModeAutomatic")
                await until(lambda: any(is_way(each, "InitializedToReadyAuto") for each in plc.events))
                plc.events.clear()
                await what(plc)

        asyncio.run(go())


def is_way(event: tuple[str, dict[str, Any]], transition: str) -> bool:
    kind, fields = event
    return kind == "StateChangedEventType" and fields["Transition"].Value.Text == transition


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    made = Running(timeout_s=TIMEOUT_S)
    yield made
    made.line.stop()


def pass_timeout(running: Running) -> None:
    """Let the time of every job that waits be out: until then none is, however long this machine takes."""
    running.line.clock.ahead_s += TIMEOUT_S


def test_a_job_goes_through_its_states_and_its_result_is_an_event(running: Running) -> None:
    async def go(plc: Controller) -> None:
        job, error = await plc.start("good-1", meas="run-7")
        assert error == 0 and job
        result = await plc.event("ResultReadyEventType", job=job)
        assert [each.Value for each in result["ResultContent"]][:3] == ["PASS", "", "ok"]
        assert (result["ResultState"], result["IsPartial"], result["IsSimulated"]) == (1, False, False)
        assert (result["PartId"].Id, result["MeasId"].Id) == ("good-1", "run-7")
        assert result["SourceName"] == "VisionSystem.VisionStateMachine.AutomaticModeStateMachine"
        assert result["ResultContent"][4].Value > 0.0
        await plc.event("JobStartedEventType", job=job)
        await plc.event("ReadyEventType", job=job)
        ways = [
            (fields["FromState"].Value.Text, fields["Transition"].Value.Text, fields["ToState"].Value.Text)
            for kind, fields in plc.events
            if kind == "StateChangedEventType"
        ]
        assert ways == [
            ("Ready", "ReadyToSingleExecution", "SingleExecution"),
            ("SingleExecution", "SingleExecutionToReadyAuto", "Ready"),
        ]
        assert await plc.state() == "Ready"

    running.by(go)


def test_every_verdict_is_completed_and_says_what_it_is(running: Running) -> None:
    async def go(plc: Controller) -> None:
        for part, verdict in (("bad-1", "REJECT"), ("odd-1", "REVIEW")):
            job, _ = await plc.start(part)
            result = await plc.event("ResultReadyEventType", job=job)
            assert (result["ResultContent"][0].Value, result["ResultState"]) == (verdict, 1)
            await plc.event("ReadyEventType", job=job)

    running.by(go)


def test_a_job_without_a_frame_fails_and_says_so(running: Running) -> None:
    async def go(plc: Controller) -> None:
        job, error = await plc.start("never-1")
        assert error == 0
        assert await plc.state() == "SingleExecution"
        pass_timeout(running)
        result = await plc.event("ResultReadyEventType", job=job)
        assert result["ResultState"] == 4
        assert [result["ResultContent"][n].Value for n in (0, 1, 6)] == ["REJECT", "late", "timeout"]
        failed = await plc.event("ErrorEventType")
        assert "never-1" in failed["Message"].Text and failed["Severity"] > 500
        assert failed["ToState"].Text == "Error"
        await plc.event("ErrorResolvedEventType")
        await plc.until_state("Ready")

    running.by(go)


def test_methods_are_executable_in_their_states_only(running: Running) -> None:
    async def executable(plc: Controller, name: str) -> bool:
        path = ["VisionStateMachine"]
        path += ["AutomaticModeStateMachine"] if name in ("StartSingleJob", "StartContinuous", "Stop", "Abort") else []
        return bool((await (await plc.node(*path, name)).read_attribute(ua.AttributeIds.Executable)).Value.Value)

    async def go(plc: Controller) -> None:
        assert await executable(plc, "StartSingleJob") and not await executable(plc, "Stop")
        for name in ("Stop", "Abort"):
            with pytest.raises(BadNotExecutable):
                await plc.call(name, 0, "")
        with pytest.raises(BadNotExecutable):
            await plc.call("SelectModeAutomatic")
        await plc.start("never-2")
        assert not await executable(plc, "StartSingleJob") and await executable(plc, "Stop")
        with pytest.raises(BadNotExecutable):
            await plc.start("good-2")
        await plc.call("Stop", 0, "enough")
        await plc.call("Halt", 1, "lunch")
        assert await plc.state() == "Halted"
        for attempt in (plc.call("Halt", 0, ""), plc.start("good-3"), plc.call("SelectModeAutomatic")):
            with pytest.raises(BadNotExecutable):
                await attempt
        await plc.call("Reset", 0, "")
        assert await plc.state() == "Preoperational"
        with pytest.raises(BadNotExecutable):
            await plc.start("good-4")
        await plc.call("Reset", 0, "")  # always executable
        await plc.call("SelectModeAutomatic")
        assert await plc.state() == "Ready"

    running.by(go)


def test_a_machine_that_is_not_active_says_so(running: Running) -> None:
    async def go(plc: Controller) -> None:
        await plc.call("Halt", 0, "")
        auto = await plc.node("VisionStateMachine", "AutomaticModeStateMachine")
        for name in ("0:CurrentState", "0:CurrentState/0:Id"):
            with pytest.raises(UaStatusCodeError, match="StateNotActive"):
                await (await auto.get_child(name.split("/"))).read_value()

    running.by(go)


@pytest.mark.parametrize(("method", "lost"), [("Stop", "gone"), ("Abort", "gone"), ("Halt", "gone"), ("Reset", "gone")])
def test_a_job_that_is_ended_early_is_aborted_and_never_passes(running: Running, method: str, lost: str) -> None:
    async def go(plc: Controller) -> None:
        before = running.line.desk.counts().lost.get(lost, 0)
        job, _ = await plc.start("never-3")
        await plc.call(method, 0, "by hand")
        result = await plc.event("ResultReadyEventType", job=job)
        assert (result["ResultState"], result["ResultContent"][0].Value) == (3, "REJECT")
        assert running.line.desk.counts().lost[lost] == before + 1
        pass_timeout(running)
        await asyncio.sleep(0.6)  # and nothing more is said of it
        assert [kind for kind, _ in plc.events if kind == "ResultReadyEventType"] == []

    running.by(go)


def test_what_cannot_be_honoured_is_refused(running: Running) -> None:
    async def go(plc: Controller) -> None:
        before = running.line.desk.counts().triggers
        assert await plc.start("good-1", recipe="another") == ("", NO_RECIPES)
        for part in ("a\nb", "x" * 65, "\x00"):
            with pytest.raises(BadInvalidArgument):
                await plc.start(part)
        kinds = [ua.get_type(ua.NodeId(IDS[name], plc.ns)) for name in ("meas", "part", "recipe", "product")]
        parameters = ua.Variant([ua.Variant(7)], ua.VariantType.Variant, is_array=True)
        with pytest.raises(BadInvalidArgument):
            await plc.call("StartSingleJob", *(kind(Id="") for kind in kinds), parameters)
        none = ua.Variant([], ua.VariantType.Variant, is_array=True)
        for wrong in (ua.Variant(7), ua.Variant([1, 2]), ua.Variant(b"\xff"), ua.Variant(1.5)):
            with pytest.raises(UaStatusCodeError):
                await plc.call(
                    "StartSingleJob", *(kind(Id="") for kind in kinds[:1]), wrong, *(k(Id="") for k in kinds[2:]), none
                )
        for few in ((), (kinds[0](Id=""),)):
            with pytest.raises(UaStatusCodeError, match="ArgumentsMissing"):
                await plc.call("StartSingleJob", *few)
        with pytest.raises(UaStatusCodeError, match="TooManyArguments"):
            await plc.call("Halt", 0, "", 1)
        assert running.line.desk.counts().triggers == before
        assert await plc.state() == "Ready"

    running.by(go)


def test_a_desk_that_takes_no_trigger_is_an_error_of_the_call(running: Running) -> None:
    async def go(plc: Controller) -> None:
        assert running.line.desk.trigger("another way in", "never") is None  # the only place is taken
        for n in range(3):
            running.line.desk.trigger(n, "never")
        assert await plc.start("good-1") == ("", ERRORS[Refused.FULL])
        assert await plc.state() == "Ready"
        pass_timeout(running)
        await until(lambda: running.line.desk.counts().waiting == 0)

    running.by(go)


def test_a_station_that_takes_no_triggers_is_in_error_until_it_does(running: Running) -> None:
    async def go(plc: Controller) -> None:
        running.line.why = "no camera"
        assert (await plc.event("ErrorEventType"))["Message"].Text == "no camera"
        assert await plc.state() == "Error"
        with pytest.raises(BadNotExecutable):
            await plc.start("good-1")
        running.line.why = ""
        await plc.event("ErrorResolvedEventType")
        assert await plc.state() == "Ready"
        job, _ = await plc.start("good-2")
        assert (await plc.event("ResultReadyEventType", job=job))["ResultContent"][0].Value == "PASS"

    try:
        running.by(go)
    finally:
        running.line.why = ""


def test_results_can_be_asked_for(running: Running) -> None:
    async def go(plc: Controller) -> None:
        jobs = []
        for part in ("good-a", "bad-b", "good-a"):
            job, _ = await plc.start(part, meas="run-9")
            event = await plc.event("ResultReadyEventType", job=job)
            jobs.append((job, event["ResultId"]))
            await plc.until_state("Ready")
        kinds = {name: ua.get_type(ua.NodeId(number, plc.ns)) for name, number in IDS.items()}
        handle, result, error = await plc.call("GetResultById", jobs[1][1], 0)
        assert (handle, error, result.PartId.Id, result.JobId.Id) == (0, 0, "bad-b", jobs[1][0])
        assert result.ResultContent[0].Value == "REJECT"
        _, missing, error = await plc.call("GetResultById", kinds["result"](Id="nobody's"), 0)
        assert (error, missing.ResultState) == (NO_SUCH_RESULT, 0)
        parts = await plc.call("GetResultComponentsById", jobs[0][1], 0)
        assert (len(parts), parts[-1], parts[4], parts[-2][0].Value) == (17, 0, 1, "PASS")
        complete, count, _, found, error = await plc.call(
            "GetResultListFiltered",
            0,
            kinds["meas"](Id="run-9"),
            kinds["part"](Id="good-a"),
            *[None] * 5,
            kinds["job"](Id=""),
            ua.Variant(1, ua.VariantType.UInt32),
            ua.Variant(0, ua.VariantType.UInt32),
            0,
        )
        assert (complete, count, error, found[0].JobId.Id) == (False, 1, 0, jobs[2][0])
        latest = await plc.node("ResultManagement", "Results", "Latest")
        assert (await latest.read_value()).JobId.Id == jobs[2][0]
        assert (await (await latest.get_child(f"{plc.ns}:ResultContent")).read_value())[0].Value == "PASS"
        assert await (await latest.get_child(f"{plc.ns}:ResultState")).read_value() == 1
        with pytest.raises(UaStatusCodeError):
            await plc.call("GetResultListFiltered", "x", *[None] * 8, -1, "y", 0)
        with pytest.raises(UaStatusCodeError):
            await latest.write_value(ua.Variant(1))  # nobody writes from outside

    running.by(go)


def test_frames_that_nobody_asked_for_belong_to_the_continuous_job(running: Running) -> None:
    async def go(plc: Controller) -> None:
        adapter = running.line.adapters[-1]
        adapter.show(Answer(None, "p-1", "PASS"))
        assert (await plc.event("ResultReadyEventType"))["JobId"].Id == ""
        job, error = await plc.start(method="StartContinuous")
        assert error == 0 and await plc.state() == "ContinuousExecution"
        adapter.show(Answer(None, "p-2", "REJECT"))
        result = await plc.event("ResultReadyEventType", job=job)
        assert (result["PartId"].Id, result["ResultContent"][0].Value) == ("p-2", "REJECT")
        await plc.call("Stop", 0, "")
        assert await plc.state() == "Ready"

    running.by(go)


def test_several_clients_see_the_same_and_one_may_go_in_the_middle_of_a_job(running: Running) -> None:
    async def go(plc: Controller) -> None:
        async with Controller(running.port) as other:
            leaving = Controller(running.port)
            await leaving.__aenter__()
            job, _ = await leaving.start("never-9")
            leaving.client.uaclient.protocol.transport.abort()
            pass_timeout(running)
            for each in (plc, other):
                result = await each.event("ResultReadyEventType", job=job)
                assert (result["ResultState"], result["ResultContent"][0].Value) == (4, "REJECT")
            await plc.until_state("Ready")
            next_job, _ = await other.start("good-9")
            assert (await plc.event("ResultReadyEventType", job=next_job))["ResultContent"][0].Value == "PASS"

    running.by(go)


@pytest.mark.slow
def test_hundreds_of_jobs_are_all_accounted_for() -> None:
    running = Running()

    async def go(plc: Controller) -> None:
        before = running.line.desk.counts()
        for n in range(300):
            kind, verdict = (("good", "PASS"), ("bad", "REJECT"), ("odd", "REVIEW"))[n % 3]
            job, error = await plc.start(f"{kind}-{n}")
            assert error == 0
            result = await plc.event("ResultReadyEventType", job=job)
            assert (result["PartId"].Id, result["ResultContent"][0].Value) == (f"{kind}-{n}", verdict)
            await plc.event("ReadyEventType", job=job)
        counts = running.line.desk.counts()
        assert (counts.triggers - before.triggers, counts.answered - before.answered, counts.unshown) == (300, 300, 0)
        assert books_close(running.line.desk)

    try:
        running.by(go)
    finally:
        assert running.line.stop() < NOT_FOR_EVER_S


@pytest.mark.slow
def test_a_verdict_that_no_client_takes_is_unshown_and_a_restart_is_clean() -> None:
    running = Running(verdict_of=lambda part: None, timeout_s=0.3)
    try:

        async def leave_a_job_behind(plc: Controller) -> None:
            await plc.start("never")

        running.by(leave_a_job_behind)
        asyncio.run(until(lambda: running.line.desk.counts().lost.get("timeout") == 1))
        asyncio.run(until(lambda: running.line.desk.counts().unshown == 1))
    finally:
        assert running.line.stop() < NOT_FOR_EVER_S
    assert not listens(running.port)
    again = line_on(running.port).start()
    try:
        asyncio.run(until(lambda: listens(running.port)))
    finally:
        again.stop()


@pytest.mark.slow
def test_clients_see_that_the_station_stops() -> None:
    running = Running(verdict_of=lambda part: None)

    async def go() -> None:
        await until(lambda: listens(running.port))
        plc = await Controller(running.port).__aenter__()
        await plc.until_state("Ready")
        job, _ = await plc.start("never")
        stopping = asyncio.get_running_loop().run_in_executor(None, running.line.stop)
        result = await plc.event("ResultReadyEventType", job=job)
        assert (result["ResultState"], result["ResultContent"][6].Value) == (3, "stopped")
        assert await stopping < NOT_FOR_EVER_S
        with contextlib.suppress(ConnectionError, asyncio.TimeoutError, ua.UaError):
            await plc.client.disconnect()

    asyncio.run(go())


def test_a_port_that_is_taken_may_be_free_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = OpcUaLine(Desk.__new__(Desk), ListLog(), station="s", host="127.0.0.1", port=port)
        with pytest.raises(TransientError, match=str(port)):
            line.start()
        line.stop()


def test_there_is_an_end_to_how_many_connect(running: Running) -> None:
    async def go(plc: Controller) -> None:
        more = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(30)]
        try:
            await asyncio.sleep(0.3)
            late = Client(f"opc.tcp://127.0.0.1:{running.port}/plumbline/", timeout=2)
            with pytest.raises((ConnectionError, OSError, asyncio.TimeoutError, UaStatusCodeError)):
                await late.connect()
            job, _ = await plc.start("good-x")  # those who were there before go on
            await plc.event("ResultReadyEventType", job=job)
        finally:
            for each in more:
                each.close()

    running.by(go)


def test_bytes_that_are_no_opc_ua_harm_nobody(running: Running) -> None:
    async def go(plc: Controller) -> None:
        for nonsense in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x00" * 100,
            b"HELF\xff\xff\xff\x7f" + b"x" * 1000,
            b"OPNF\x08\x00\x00\x00",
        ):
            with socket.create_connection(("127.0.0.1", running.port)) as stranger:
                stranger.sendall(nonsense)
                await asyncio.sleep(0.05)
        job, _ = await plc.start("good-y")
        assert (await plc.event("ResultReadyEventType", job=job))["ResultContent"][0].Value == "PASS"

    running.by(go)


def test_a_packet_of_endless_size_is_hung_up_on(running: Running) -> None:
    async def go(plc: Controller) -> None:
        stranger = socket.create_connection(("127.0.0.1", running.port))
        stranger.sendall(b"HELF\xff\xff\xff\x7f")

        def pour() -> int:
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 64 << 20:
                    sent += stranger.send(b"x" * 65_536)
            return sent

        sent = await asyncio.get_running_loop().run_in_executor(None, pour)
        assert sent < 16 << 20  # what the kernel holds, and a MiB
        stranger.close()
        assert (await plc.start("good-z"))[1] == 0

    running.by(go)


@pytest.mark.slow
def test_a_server_that_dies_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [ValueError("a fault of ours")]
    follow = Vision.is_now

    async def once(vision: Vision, state: LineState) -> None:
        if faults and vision._desk is running.line.desk:
            raise faults.pop()
        await follow(vision, state)

    running = Running()
    monkeypatch.setattr(Vision, "is_now", once)
    try:
        asyncio.run(until(lambda: any("a fault of ours" in line for line in running.line.log.lines)))

        async def go(plc: Controller) -> None:
            job, _ = await plc.start("good-1")
            assert (await plc.event("ResultReadyEventType", job=job))["ResultContent"][0].Value == "PASS"

        running.by(go)
        assert len(running.line.adapters) == 1
    finally:
        assert running.line.stop() < NOT_FOR_EVER_S


def test_a_line_that_never_started_lets_go_at_once() -> None:
    unshown: list[Answer] = []
    desk = Desk.__new__(Desk)
    desk.unshown = unshown.append  # type: ignore[method-assign]
    line = OpcUaLine(desk, ListLog(), station="s", host="127.0.0.1", port=1)
    line.show(Answer(1, "", "PASS"))
    began_s = time.monotonic()
    line.stop()
    assert (len(unshown), time.monotonic() - began_s < NOT_FOR_EVER_S) == (1, True)


def test_the_verdict_of_a_job_that_was_left_is_never_the_next_ones(running: Running) -> None:
    async def go(plc: Controller) -> None:
        old, _ = await plc.start("never-old")
        await plc.call("Abort", 0, "by hand")
        await plc.event("ResultReadyEventType", job=old)
        job, error = await plc.start("never-new")
        assert error == 0
        unshown = running.line.desk.counts().unshown
        running.line.adapters[-1].show(Answer(old, "never-old", "PASS"))  # it was under way already
        await until(lambda: running.line.desk.counts().unshown == unshown + 1)
        pass_timeout(running)
        result = await plc.event("ResultReadyEventType", job=job)
        assert result["ResultContent"][0].Value == "REJECT"
        assert [kind for kind, _ in plc.events if kind == "ResultReadyEventType"] == []

    running.by(go)
