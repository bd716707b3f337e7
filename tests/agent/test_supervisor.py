"""The pipeline under its supervisor: what hangs is found by what gets through, and restarted within a budget."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.asking import Asking
from agent.beside import BesideModels, Wanted
from agent.camera_line import CameraLine
from agent.capture import Capture, Captures
from agent.decide.budget import Budget
from agent.decide.frame_faults import FrameFaults
from agent.decide.sampling import Sampler
from agent.enrolled import Enrolled
from agent.frame_loop import FrameLoop, LineRules
from agent.guarantee import Guarantee
from agent.health.watchdog import ServiceManager
from agent.loading import Model
from agent.mailboxes import Switch
from agent.ports.clock import Clock
from agent.ports.runtime import Runtime
from agent.ports.slots import InstalledBundle, Trial
from agent.ports.source import Frame
from agent.serving import Serving
from agent.supervisor import RESTARTS, Supervisor
from agent.windows import WindowRules
from contract.errors import CameraFault
from contract.manifest import Artefact, Manifest
from contract.messages import Probation
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import BrightRuntime, DictMemory, ListLog, ListRecorder, bundle, image
from tests.fakes.running_clock import RunningClock

CLOCK = RunningClock()
WEDGED_S = 0.4


class Parts:
    """A camera that sees `total` bright parts; `act` may hang, raise or end the thread before the n-th."""

    simulated = False
    waits = True

    def __init__(self, total: int, act: Callable[[int], None] = lambda _n: None) -> None:
        self.total, self.act, self.at = total, act, 0

    def read(self) -> Frame | None:
        self.act(self.at)
        self.at += 1
        return Frame(image(230, self.at), CLOCK.now(), CLOCK.monotonic(), str(self.at))

    def exhausted(self) -> bool:
        return self.at >= self.total

    def close(self) -> None:
        pass


class Line:
    """A whole pipeline on one camera, real threads, a clock that no pause moves; a bundle's model runs the hook of its version."""

    def __init__(
        self,
        *sources: Parts,
        installed: InstalledBundle | None = None,
        previous: InstalledBundle | None = None,
        service: str = "",
        clock: Clock = CLOCK,
        beside: Callable[[Wanted], Model] | None = None,
        wedged_s: float = WEDGED_S,
        stop_within_s: float = 20.0,
        others: Sequence[Capture] = (),
    ) -> None:
        """`others`: more cameras, by their stages. `stop_within_s` of real time, for what hangs at the stop too."""
        self.log = ListLog()
        self.beside = BesideModels(beside, self.log) if beside else None
        self.recorder = ListRecorder()
        self.switch = Switch()
        self.hooks: dict[str, Callable[[], None]] = {}
        self.unsound = ""
        self.loadable = threading.Event()
        self.loadable.set()
        self.chore: Callable[[], None] = lambda: None
        fresh = iter(sources)

        def open_afresh() -> Parts:
            for source in fresh:
                return source
            raise CameraFault("there is no other")

        stage = Capture("", next(fresh), open_afresh, clock)
        self.captures = Captures([stage, *others])
        self.serving = Serving(self._load, self.switch, clock, self.log, deadline_ms=5_000.0, previous=previous)
        self.serving.begin(installed or bundle("a"))
        memory = DictMemory()
        cameras = [
            CameraLine(
                capture.name,
                Enrolled(memory, self.log, frames_needed=1000),
                Sampler(np.random.default_rng(0), audit_rate=0.0, doubtful_per_window=2),
                FrameFaults(),
                Guarantee(memory, self.log, ask=False),
            )
            for capture in self.captures
        ]
        self.loop = FrameLoop(
            self.captures,
            cameras,
            self.serving,
            Asking(None, Budget.full(1, 0.0, 0.0), clock, deadline_ms=5_000.0, least_s=0.02),
            self.recorder,
            clock,
            self.log,
            LineRules(
                lambda: "b0", 5_000.0, WindowRules("s1", 50, 60.0, lambda: True, self.serving.take_shadow, lambda: "")
            ),
            beside=self.beside,
        )
        self.service = ServiceManager(service, 1.0, clock)
        self.supervisor = Supervisor(
            self.captures,
            self.loop,
            self.service,
            clock,
            self.log,
            wedged_s=wedged_s,
            stop_within_s=stop_within_s,
            chores=[lambda: self.chore()],
            why_unsound=lambda: self.unsound,
        )
        self.stop = threading.Event()

    def _load(self, folder: Path, manifest: Manifest) -> tuple[Runtime, Artefact]:
        assert self.loadable.wait(60)

        def act(tensor: NDArray[Any]) -> NDArray[np.float32]:
            self.hooks.get(manifest.version, lambda: None)()
            return np.array([9, -9], np.float32)

        return BrightRuntime(act), manifest.artefacts[0]

    def run(self, within_s: float = 60.0) -> None:
        thread = threading.Thread(target=self.supervisor.run, args=(self.stop,), daemon=True)
        thread.start()
        thread.join(within_s)
        assert not thread.is_alive(), self.log.lines
        self.service.close()

    def verdicts(self) -> list[tuple[str, str]]:
        return [(result.verdict, result.cause) for result in self.recorder.results]

    def accounted(self) -> tuple[int, int]:
        """Return (captured, decided) of all summaries, each of which closes."""
        accounts = [summary.accounting for _, summary in self.recorder.summaries]
        assert all(account.closes() for account in accounts)
        return sum(a.captured for a in accounts), sum(a.decided for a in accounts)


def hang_at(*numbers: int) -> tuple[Callable[[], None], threading.Event]:
    """Return what hangs (until the event is set) the n-th times it is called, and the event."""
    released, calls = threading.Event(), iter(range(1_000_000))

    def hang() -> None:
        if next(calls) in numbers:
            released.wait(60)

    return hang, released


def test_every_part_gets_its_verdict_and_every_window_closes() -> None:
    line = Line(Parts(120), wedged_s=60.0)
    line.run()
    assert line.verdicts() == [("PASS", "")] * 120
    assert line.accounted() == (120, 120)
    assert [summary.accounting.captured for _, summary in line.recorder.summaries] == [50, 50, 20]
    assert line.supervisor.restarts == 0


def test_a_model_that_hangs_costs_one_frame_and_the_previous_bundle_goes_on() -> None:
    line = Line(Parts(30), installed=bundle("new"), previous=bundle("old"))
    line.hooks["new"], released = hang_at(5)
    line.run()
    released.set()
    verdicts = line.verdicts()
    assert len(verdicts) == 30
    assert verdicts[:6] == [("PASS", "")] * 5 + [("REVIEW", "late")]
    # While the previous bundle is loaded nobody can judge; then it does.
    assert set(verdicts[6:]) <= {("REVIEW", "no_model"), ("PASS", "")}
    assert line.accounted() == (30, 30)
    assert line.supervisor.restarts == 1
    time.sleep(0.1)
    assert len(line.verdicts()) == 30, "the thread that hung has no say any more"


def test_a_candidate_that_hangs_is_turned_down_and_the_incumbent_goes_on() -> None:
    line = Line(Parts(100_000), installed=bundle("a"))
    line.hooks["bad"], released = hang_at(3)
    line.switch.offer(Trial(bundle("bad"), "d1", Probation(frames=50, min_agreement=0.0)))
    runner = threading.Thread(target=line.supervisor.run, args=(line.stop,), daemon=True)
    runner.start()
    outcome = line.switch.next_outcome(30.0)
    assert outcome is not None and not outcome.kept
    assert "hung" in outcome.reason
    before = len(line.recorder.results)
    until = time.monotonic() + 60
    while len(line.recorder.results) < before + 20 and time.monotonic() < until:
        time.sleep(0.01)
    line.stop.set()
    runner.join(30)
    released.set()
    assert set(line.verdicts()) == {("PASS", "")}
    assert line.accounted()[0] == len(line.verdicts()) >= before + 20


@pytest.mark.slow
def test_a_model_that_hangs_again_and_again_ends_the_station_with_an_error() -> None:
    line = Line(Parts(1000), stop_within_s=1.0)
    line.hooks["a"], released = hang_at(*range(1000))
    line.run()
    released.set()
    assert "restarted too often" in line.supervisor.failed
    assert line.supervisor.restarts == RESTARTS
    assert line.verdicts().count(("REVIEW", "late")) >= RESTARTS
    assert ("PASS", "") not in line.verdicts()


def test_a_camera_that_hangs_is_opened_afresh() -> None:
    released = threading.Event()

    def hang(n: int) -> None:
        if n == 4:
            released.wait(60)

    line = Line(Parts(10, hang), Parts(7))
    line.run()
    released.set()
    assert line.verdicts() == [("PASS", "")] * 11
    assert line.supervisor.restarts == 1
    assert any("opened afresh" in said for said in line.log.lines)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_camera_that_kills_its_thread_again_and_again_ends_the_station_with_an_error() -> None:
    def dies(_n: int) -> None:
        raise SystemExit

    line = Line(*(Parts(10, dies) for _ in range(RESTARTS + 1)))
    line.run()
    assert line.supervisor.failed == "no camera can be read any more"
    assert line.supervisor.restarts == RESTARTS


def test_a_model_that_hangs_while_the_station_stops_is_left_behind_and_every_window_closes() -> None:
    line = Line(Parts(1_000_000), wedged_s=60.0, stop_within_s=2.0)
    line.hooks["a"], released = hang_at(5)
    runner = threading.Thread(target=line.run, daemon=True)
    runner.start()
    until = time.monotonic() + 60
    while line.loop.why_stalled(0.3) == "" and time.monotonic() < until:
        time.sleep(0.01)
    line.stop.set()
    runner.join(30)
    assert not runner.is_alive()
    released.set()
    assert line.verdicts()[:6] == [("PASS", "")] * 5 + [("REVIEW", "late")]
    captured, decided = line.accounted()
    assert captured == decided == len(line.verdicts())
    assert line.loop.done.is_set()


def test_a_dead_camera_rests_while_another_lives_and_the_watchdog_is_fed(notices: tuple[str, socket.socket]) -> None:
    path, listener = notices

    def gone() -> Parts:
        raise CameraFault("no such device")

    dead = Capture("dead", Parts(10, lambda _n: bool(released.wait(60)) and None), gone, CLOCK)
    released = threading.Event()
    line = Line(Parts(1_000_000), service=path, others=[dead], wedged_s=0.2)
    runner = threading.Thread(target=line.run, daemon=True)
    runner.start()
    until, fed = time.monotonic() + 60, 0
    while time.monotonic() < until and not (fed >= 3 and any("rests" in said for said in line.log.lines)):
        fed += said_to(listener).count("WATCHDOG=1")
    assert line.supervisor.restarts == RESTARTS
    assert fed >= 3
    judged = line.loop.frames
    while line.loop.frames <= judged and time.monotonic() < until:
        time.sleep(0.01)
    assert line.loop.frames > judged
    line.stop.set()
    released.set()
    runner.join(30)
    assert line.supervisor.failed == ""


def test_an_unsound_store_ends_the_station_with_everything_judged_handed_over() -> None:
    line = Line(Parts(1_000_000))

    def damaged_in_time() -> None:
        line.unsound = "the database is damaged" if line.loop.frames > 3 else ""

    line.chore = damaged_in_time
    line.run()
    assert line.supervisor.failed == "the database is damaged"
    captured, decided = line.accounted()
    assert captured == decided == len(line.verdicts()) > 0


@pytest.fixture
def notices(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(0.05)
        yield path, listener


def said_to(listener: socket.socket) -> list[str]:
    said = []
    while True:
        try:
            said.append(listener.recv(4096).decode())
        except TimeoutError:
            return said


def test_systemd_is_told_and_its_watchdog_fed_while_frames_get_through(notices: tuple[str, socket.socket]) -> None:
    path, listener = notices
    line = Line(Parts(1_000_000), service=path)
    runner = threading.Thread(target=line.run, daemon=True)
    began_s, said = time.monotonic(), list[str]()
    runner.start()
    while said.count("WATCHDOG=1") < 4 and time.monotonic() < began_s + 60:
        said += said_to(listener)
    line.stop.set()
    runner.join(60)
    lasted_s = time.monotonic() - began_s
    said += said_to(listener)
    assert said[0] == "READY=1"
    assert said[-1] == "STOPPING=1"
    assert 4 <= said.count("WATCHDOG=1") <= 4 * lasted_s + 2
    assert any(text.startswith("STATUS=") and "frames judged" in text for text in said)


@pytest.mark.slow
def test_the_watchdog_is_not_fed_while_nothing_gets_through(notices: tuple[str, socket.socket]) -> None:
    path, listener = notices
    released = threading.Event()
    line = Line(Parts(10, lambda _n: bool(released.wait(60)) and None), service=path)
    began = time.monotonic()
    line.run()
    lasted_s = time.monotonic() - began
    released.set()
    # Fed until the hang is noticed after .4 s, and not once while the camera is tried five times more: a timer would have.
    assert line.supervisor.failed == "no camera can be read any more"
    assert said_to(listener).count("WATCHDOG=1") <= 2
    assert lasted_s > 1.2


def test_the_watchdog_is_fed_four_times_in_its_period_however_often_there_is_progress(
    notices: tuple[str, socket.socket],
) -> None:
    path, listener = notices
    clock = HandClock()
    service = ServiceManager(path, 8.0, clock)
    for _ in range(8):
        service.progressed()
        clock.forward(1.0)
    service.close()
    assert said_to(listener).count("WATCHDOG=1") == 4


def test_without_systemd_nothing_is_sent_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: object) -> None:
        raise AssertionError("a socket was made for nobody")

    with monkeypatch.context() as patch:
        patch.setattr("agent.health.watchdog.socket.socket", no_socket)
        silent = ServiceManager("", 0.0, CLOCK)
        silent.ready()
        silent.progressed()
        silent.stopping()
        silent.close()
    gone = ServiceManager("/nowhere/notify", 1.0, CLOCK)
    gone.ready()
    gone.close()
