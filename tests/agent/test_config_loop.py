"""The loop for remote settings over a real store and real signatures: what is followed, refused, kept and taken back."""

from __future__ import annotations

import contextlib
import errno
import io
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner

from agent.config_loop import ConfigLoop, Parts
from agent.config_mailboxes import JointReport, SplitInbox
from agent.health.log import StderrLog
from agent.mailboxes import Inbox, ReportBox
from agent.remote_settings import RemoteSettings
from agent.slots.config_file import ConfigFile
from agent.slots.disk import Disk
from agent.update.config_health import Vitals
from agent.update.floors import Floors, effective_now
from contract.config_states import settings_digest
from contract.errors import StorageFull, TransientError
from contract.messages import ConfigOrder, DesiredState, Order, Probation, ReportedState
from contract.signature import OrderKey, sign_configuration, sign_order
from tests.fakes.agent_clock import HandClock

SIGNER, THIEF = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
KEY = OrderKey(SIGNER.public_key.keyid, SIGNER.public_key.keyval["public"])
SHORT = "[windows]\nframes = 64\n"
LATE = "[line]\nqueue = 3\n"


class _Inbox(SplitInbox):
    """Never waits."""

    def take(self, within_s: float) -> DesiredState | None:
        return super().take(0.0)


@dataclass
class Plant:
    """A station of which only the loop for its settings is real, and what it does to the line can be told."""

    folder: Path
    clock: HandClock = field(default_factory=HandClock)
    frames: int = 0
    troubles: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    broker: bool = True
    seq: int = 0
    keys: list[OrderKey] = field(default_factory=lambda: [KEY])
    disk: Disk = field(default_factory=Disk)
    agreed: Floors = field(default_factory=Floors)

    def __post_init__(self) -> None:
        (self.folder / "agent.toml").write_text('station = "s1"\nhome = "state"\n[broker]\nport = 1883\n')
        self.store = ConfigFile(self.folder / "config", disk=self.disk)
        log = StderrLog(io.StringIO(), self.clock, name="s1")
        self.remote = RemoteSettings(self.folder / "agent.toml", self.store, log)
        self.updates, self.box = Inbox(), ReportBox()
        self.said: list[ReportedState] = []
        self.boot()

    def boot(self) -> None:
        """Start the station, with whatever the store says."""
        self.stop = threading.Event()
        self.settings = self.remote.load(self.stop)
        self.frames, self.troubles, self.restarts = 0, {}, 0
        self.inbox = _Inbox(self.updates, held=self.remote.on_trial() is not None)
        self.report = JointReport(self.box, self.clock)
        parts = Parts(
            self.store, self.inbox, self.report, self.remote, lambda: self.keys, self.vitals, self.clock, self.now
        )
        self.loop = ConfigLoop("s1", parts)
        self.report.publish(ReportedState("s1", "b", self.clock.now(), "", "IDLE"))
        self.started = False
        with contextlib.suppress(TransientError):
            self.start()

    def start(self) -> None:
        if not self.started:
            self.loop.start()
            self.started = True

    def now(self) -> float:
        return effective_now(self.agreed, self.clock.now())

    def vitals(self) -> Vitals:
        return Vitals(self.frames, dict(self.troubles), self.restarts, self.broker)

    def order(self, settings: str, deployment: str, **changes: object) -> ConfigOrder:
        self.seq += 1
        now = self.clock.now()
        order = ConfigOrder("s1", settings, deployment, self.seq, now, now + 3600.0, 10.0)
        return msgspec.structs.replace(order, **changes)

    def send(self, order: ConfigOrder, signer: CryptoSigner = SIGNER) -> None:
        self.inbox.put(DesiredState("s1", "", configuration=sign_configuration(order, signer)))

    def run(self, seconds: int = 30, *, late: int = 0, fps: int = 10) -> None:
        """Let the line judge, `late` frames of each second too late, and start anew whenever the station asks for it."""
        for _ in range(seconds):
            self.clock.forward(1.0)
            self.frames += fps
            trial = self.remote.on_trial()
            on_trial = trial is not None and ("COMMITTED", trial.order.config_seq) not in (
                (state.config_state, state.config_seq) for state in self.said
            )
            self.troubles["late"] = self.troubles.get("late", 0) + (late if on_trial else 0)
            with contextlib.suppress(TransientError):  # as the loop's own guard
                self.start()
                self.loop.tick(0.0)
            state = self.box.current()
            if state is not None:
                self.said.append(state)
            if self.stop.is_set():
                self.boot()

    def state(self) -> ReportedState:
        state = self.box.current()
        assert state is not None
        return state

    def follow(self, order: ConfigOrder, **line: int) -> ReportedState:
        self.send(order)
        self.run(**line)
        return self.state()


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def test_settings_under_which_the_station_is_well_are_kept(plant: Plant) -> None:
    state = plant.follow(plant.order(SHORT, "d1"))
    assert (state.config_state, state.configuration, state.config_seq) == ("COMMITTED", settings_digest(SHORT), 1)
    assert plant.settings.windows.frames == 64
    names = [each.config_state for each in plant.said]
    assert list(dict.fromkeys(names)) == ["CHECKED", "TRIAL", "PROBATION", "COMMITTED"]
    plant.boot()
    assert plant.state() == msgspec.structs.replace(state, at=plant.state().at)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"late": 1}, "10% of frames are late, 0% were before"),
        ({"late": 10}, "100% of frames are late"),
    ],
)
def test_settings_under_which_it_is_not_are_taken_back_and_banned(plant: Plant, line: dict[str, int], why: str) -> None:
    plant.follow(plant.order(SHORT, "d1"))
    bad = plant.order(LATE, "d2")
    state = plant.follow(bad, **line)
    assert (state.config_state, state.configuration) == (
        "ROLLED_BACK",
        settings_digest(SHORT),
    ) and why in state.config_reason
    assert plant.settings.windows.frames == 64 and plant.settings.line.queue == 2
    # The retained order comes again and again: it says what became of it. Under a new number it is still the same failure.
    assert plant.follow(bad).config_state == "ROLLED_BACK"
    state = plant.follow(plant.order(LATE, "d2"))
    assert state.config_state == "REFUSED" and "already failed here" in state.config_reason
    assert plant.follow(plant.order(LATE, "d3")).config_state == "COMMITTED"


def test_a_line_that_stood_still_before_may_stand_still(plant: Plant) -> None:
    plant.run(10, fps=0)
    assert plant.follow(plant.order(LATE, "d1"), fps=0).config_state == "COMMITTED"


def test_a_line_that_stops_or_hangs_or_loses_its_broker_takes_settings_back(plant: Plant) -> None:
    for deployment, hurt, why in (
        ("silent", {"frames": -10_000}, "no verdict"),
        ("hung", {"restarts": 1}, "hung"),
        ("deaf", {"broker": False}, "the broker is not reached"),
    ):
        plant.broker = True
        plant.run(10)
        plant.send(plant.order(LATE, deployment))
        for _ in range(40):
            if plant.state().config_state == "PROBATION":
                break
            plant.run(1)
        if "restarts" in hurt:
            plant.restarts = 1
        if "broker" in hurt:
            plant.broker = False
        plant.run(20, fps=0 if "frames" in hurt else 10)
        assert plant.state().config_state == "ROLLED_BACK" and why in plant.state().config_reason, deployment


@pytest.mark.parametrize(
    ("away", "state"), [(1, "COMMITTED"), (3, "COMMITTED"), (4, "ROLLED_BACK"), (9, "ROLLED_BACK")]
)
def test_a_broker_that_is_away_for_a_moment_as_a_probation_ends_says_nothing_of_the_settings(
    plant: Plant, away: int, state: str
) -> None:
    plant.send(plant.order(LATE, "d1"))
    while plant.state().config_state != "PROBATION":
        plant.run(1)
    plant.run(10 - away)
    plant.broker = False
    plant.run(away)
    plant.broker = True
    plant.run(1)
    assert plant.state().config_state == state and (plant.store.banned() == set()) == (state == "COMMITTED")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"station": "s2"}, "is for 's2'"),
        ({"expires_at": 1.0}, "expired"),
        ({"config_seq": 0}, "not newer"),
        ({"config_seq": (1 << 20) + 1}, "ahead of the last ones"),
        ({"probation_s": 0.0}, "probation"),
        ({"probation_s": float("1e9")}, "probation"),
        ({"settings": "#" * 20_000}, "bytes"),
        ({"settings": "[line\n"}, "no TOML"),
        ({"settings": 'station = "s2"\n'}, "'station'"),
        ({"settings": "[line]\nqueue = 0\n"}, "line 2"),
    ],
)
def test_what_must_not_be_followed_is_refused_with_its_reason_and_changes_nothing(
    plant: Plant, changes: dict[str, object], why: str
) -> None:
    before = plant.settings
    state = plant.follow(msgspec.structs.replace(plant.order(LATE, "d1"), **changes))
    assert state.config_state == "REFUSED" and why in state.config_reason, state.config_reason
    assert plant.settings == before and plant.store.trial() is None and plant.loop.refused_orders == 1
    assert not (plant.folder / "config/state").exists()


def test_unsigned_stolen_and_foreign_envelopes_are_refused(plant: Plant) -> None:
    order = plant.order(LATE, "d1")
    now = plant.clock.now()
    bundle = Order("s1", "a" * 64, 1, "d", 1, 0, now, now + 60.0, Probation(1, 0.0))
    for envelope in (
        msgspec.json.encode(order).decode(),
        sign_configuration(order, THIEF),
        sign_order(bundle, SIGNER),
        "",
    ):
        plant.inbox.put(DesiredState("s1", "", configuration=envelope))
        plant.run(5)
        assert plant.state().config_state == ("REFUSED"), envelope[:40]
        assert plant.state().config_deployment == "" and plant.store.trial() is None
    assert plant.loop.refused_orders == 3, "no order at all is none to refuse"


def test_an_order_signed_by_a_key_that_becomes_known_a_moment_later_is_followed_without_being_sent_again(
    plant: Plant,
) -> None:
    plant.send(plant.order(SHORT, "d1"), THIEF)
    plant.run(10)
    assert plant.state().config_state == "REFUSED" and plant.loop.refused_orders == 1
    plant.keys = [KEY, OrderKey(THIEF.public_key.keyid, THIEF.public_key.keyval["public"])]
    plant.run(30)
    assert (plant.state().config_state, plant.settings.windows.frames) == ("COMMITTED", 64)


def test_a_replayed_order_and_a_replayed_roll_back_are_refused(plant: Plant) -> None:
    first, second, third = plant.order(SHORT, "d1"), plant.order(LATE, "d2"), plant.order("", "d3")
    for order in (first, second, third):
        assert plant.follow(order).config_state == "COMMITTED"
    for order in (first, second):
        state = plant.follow(order)
        assert state.config_state == "REFUSED" and "not newer" in state.config_reason
        assert state.configuration == "" and plant.settings.windows.frames == 256
    # What is in force, delivered again at a reconnection long after it expired, is no fault.
    plant.clock.forward(10_000.0)
    assert plant.follow(third).config_state == "COMMITTED"


def test_a_clock_set_back_revives_no_order(plant: Plant) -> None:
    old = plant.order(LATE, "d1", expires_at=plant.clock.now() + 5.0)
    plant.clock.forward(1000.0)
    plant.agreed = Floors(time=plant.clock.now())  # an update on which both sides agreed
    plant.clock.wall -= 10_000.0
    state = plant.follow(msgspec.structs.replace(old, config_seq=5))
    assert state.config_state == "REFUSED" and "expired" in state.config_reason


@pytest.mark.parametrize(
    "stolen",
    [{"issued_at": 253402000000.0, "expires_at": 253402200000.0}, {"config_seq": 1 << 40}, {"config_seq": 1 << 20}],
)
def test_one_order_by_a_stolen_key_does_not_end_remote_settings_for_good(
    plant: Plant, stolen: dict[str, object]
) -> None:
    plant.follow(plant.order(SHORT, "thief", **stolen))
    seq = plant.store.floor().config_seq + 1
    assert seq <= (1 << 20) + 1
    state = plant.follow(plant.order("[windows]\nframes = 128\n", "owner", config_seq=seq))
    assert state.config_state == "COMMITTED" and plant.settings.windows.frames == 128


def test_another_broker_is_kept_only_where_this_very_order_is_handed_over(plant: Plant) -> None:
    moved = plant.order("[broker]\nport = 1884\n", "d1")
    state = plant.follow(moved)
    assert state.config_state == "ROLLED_BACK" and "no orders for this station" in state.config_reason
    assert plant.settings.broker.port == 1883
    moved = plant.order("[broker]\nport = 1884\n", "d2")
    plant.send(moved)
    for _ in range(40):
        plant.run(1)
        if plant.state().config_state == "PROBATION":
            plant.send(moved)
    assert plant.state().config_state == "COMMITTED" and plant.settings.broker.port == 1884


def test_a_broker_that_agent_toml_does_not_name_is_refused_whatever_it_would_hand_over(plant: Plant) -> None:
    stolen = plant.order('[broker]\nhost = "thief.example"\n', "d1")
    state = plant.follow(stolen)
    assert state.config_state == "REFUSED" and "thief.example" in state.config_reason
    assert plant.settings.broker.host == "127.0.0.1" and plant.store.trial() is None


def test_while_settings_are_on_trial_no_bundle_is_and_the_other_way_round(plant: Plant) -> None:
    plant.report.publish(ReportedState("s1", "b", 0.0, "", "PROBATION"))
    plant.send(plant.order(SHORT, "d1"))
    plant.run(20)
    assert plant.state().config_state == "CHECKED", "a bundle is on trial"
    plant.report.publish(ReportedState("s1", "b", 0.0, "", "COMMITTED"))
    while plant.state().config_state != "PROBATION":
        plant.run(1)
    plant.updates.take(0.0)
    plant.inbox.put(DesiredState("s1", "an order"))
    assert plant.updates.take(0.0) is None, "settings are on trial"
    plant.run(20)
    assert plant.state().config_state == "COMMITTED"
    assert plant.updates.take(0.0) == DesiredState("s1", "an order")


def test_an_abort_reaches_a_bundle_on_trial_whatever_settings_wait_for_its_end(plant: Plant) -> None:
    plant.report.publish(ReportedState("s1", "b", 0.0, "", "PROBATION"))
    settings = sign_configuration(plant.order(SHORT, "d1"), SIGNER)
    plant.inbox.put(DesiredState("s1", "the bundle", configuration=settings))
    plant.run(20)
    assert plant.state().config_state == "CHECKED"
    plant.inbox.put(DesiredState("s1", "the abort", configuration=settings))
    assert plant.updates.take(0.0) == DesiredState("s1", "the abort", configuration=settings)


def test_settings_wait_until_the_update_loop_has_said_whether_a_bundle_is_on_trial(plant: Plant) -> None:
    assert JointReport(plant.box, plant.clock).update_in_the_way()
    assert not plant.report.update_in_the_way(), "it said that it has nothing to do"


@pytest.mark.parametrize("state", ["META", "DOWNLOAD"])
def test_settings_wait_ten_minutes_for_a_fetch_however_often_it_is_begun_again(plant: Plant, state: str) -> None:
    plant.send(plant.order(SHORT, "d1"))
    for _ in range(59):
        plant.report.publish(ReportedState("s1", "b", 0.0, "", state, reason="the server is away"))
        plant.run(10)
    assert plant.state().config_state == "CHECKED"
    plant.run(40)
    assert plant.state().config_state == "COMMITTED"


@pytest.mark.parametrize("state", ["STAGED", "SELFTEST", "TRIAL", "PROBATION"])
def test_settings_wait_for_the_end_of_a_self_test_and_a_trial_however_long(plant: Plant, state: str) -> None:
    plant.report.publish(ReportedState("s1", "b", 0.0, "", "DOWNLOAD"))
    plant.report.publish(ReportedState("s1", "b", 0.0, "", state))
    plant.send(plant.order(SHORT, "d1"))
    plant.run(700)
    assert plant.state().config_state == "CHECKED"
    plant.report.publish(ReportedState("s1", "b", 0.0, "", "ROLLED_BACK"))
    plant.run(30)
    assert plant.state().config_state == "COMMITTED"


def test_a_disk_that_is_full_when_settings_would_begin_keeps_no_order_from_the_update_loop(tmp_path: Path) -> None:
    disk = _FailingDisk(10**6, 10**6)
    plant = Plant(tmp_path, disk=disk)
    disk.at = disk.steps
    plant.send(plant.order(SHORT, "d1"))
    plant.run(30)
    assert plant.state().config_state == "CHECKED"
    plant.inbox.put(DesiredState("s1", "an order"))
    assert plant.updates.take(0.0) == DesiredState("s1", "an order")


def test_a_newer_order_takes_the_place_of_one_not_yet_tried_and_waits_for_one_that_is(plant: Plant) -> None:
    plant.send(plant.order(LATE, "d1"))
    plant.run(1)
    plant.send(plant.order(SHORT, "d2"))
    plant.run(30)
    assert {each.config_deployment for each in plant.said if each.config_state == "PROBATION"} == {"d2"}
    plant.send(plant.order(LATE, "d3"))
    while plant.state().config_state != "PROBATION":
        plant.run(1)
    plant.send(plant.order("", "d4"))
    plant.run(60)
    kept = [each.config_deployment for each in plant.said if each.config_state == "COMMITTED"]
    assert list(dict.fromkeys(kept)) == ["d2", "d3", "d4"]
    assert plant.state().configuration == ""


class _FailingDisk(Disk):
    """Fails `times` steps, beginning with step `at`."""

    def __init__(self, at: int, times: int) -> None:
        self.at, self.times, self.steps = at, times, 0

    def fail(self) -> None:
        self.steps += 1
        if self.at <= self.steps - 1 < self.at + self.times:
            raise StorageFull("no room")

    def write(self, path: Path, chunks: Iterable[bytes], *, append: bool = False) -> None:
        self.fail()
        super().write(path, chunks, append=append)

    def fsync(self, path: Path) -> None:
        self.fail()
        super().fsync(path)

    def fsync_folder(self, folder: Path) -> None:
        self.fail()
        super().fsync_folder(folder)

    def rename(self, source: Path, target: Path) -> None:
        self.fail()
        super().rename(source, target)


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "rolled back"])
@pytest.mark.parametrize("times", [1, 6])
def test_a_disk_that_fails_at_any_step_delays_a_change_and_spoils_nothing(
    tmp_path: Path, keep: bool, times: int
) -> None:
    steps, at = 1, 0
    while at < steps:
        folder = tmp_path / str(at)
        folder.mkdir()
        disk = _FailingDisk(at, times)
        plant = Plant(folder, disk=disk)
        order = plant.order(SHORT, "d1")
        plant.send(order)
        plant.run(60, late=0 if keep else 5)
        plant.send(order)  # the retained order comes again at the next connection
        plant.run(60, late=0 if keep else 5)
        state = plant.state()
        assert state.config_state == ("COMMITTED" if keep else "ROLLED_BACK"), f"step {at}: {state}"
        assert plant.settings.windows.frames == (64 if keep else 256)
        assert plant.store.trial() is None and plant.store.floor().config_seq == 1
        steps, at = disk.steps, at + 1
    assert at > 15


def test_starts_counted_before_the_disk_failed_stay_counted_when_the_order_comes_again(plant: Plant) -> None:
    order = plant.order(SHORT, "d1")
    plant.store.begin(order, Vitals())
    for _ in range(2):
        plant.store.count_try()
    plant.store.begin(order, Vitals())
    trial = plant.store.trial()
    assert trial is not None and trial.tries == 2


class _Unreadable:
    """Lets `pass_` reads of sealed files through, then fails `times` of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pass_: int, times: int) -> None:
        self.reads, real = 0, Path.read_bytes

        def read(path: Path) -> bytes:
            if path.parent.name != "config":
                return real(path)
            self.reads += 1
            if pass_ < self.reads <= pass_ + times:
                raise OSError(errno.EIO, "Input/output error")
            return real(path)

        monkeypatch.setattr(Path, "read_bytes", read)


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "rolled back"])
def test_a_disk_that_cannot_be_read_at_any_moment_delays_a_change_and_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    at, reads = 0, 1
    while at < reads:
        folder = tmp_path / str(at)
        folder.mkdir()
        plant = Plant(folder)
        plant.follow(plant.order("[windows]\nframes = 128\n", "d0"))
        with monkeypatch.context() as patch:
            disk = _Unreadable(patch, at, 3)
            order = plant.order(SHORT, "d1")
            for _ in range(2):  # the retained order comes again at the next connection
                plant.send(order)
                plant.run(40, late=0 if keep else 5)
            plant.inbox.put(DesiredState("s1", "an order"))
            plant.run(3)
        state = plant.state()
        assert state.config_state == ("COMMITTED" if keep else "ROLLED_BACK"), f"read {at}: {state}"
        assert plant.settings.windows.frames == (64 if keep else 128)
        assert plant.store.trial() is None and plant.store.floor().config_seq == 2
        assert plant.updates.take(0.0) == DesiredState("s1", "an order"), f"read {at}: kept from the update loop"
        reads, at = disk.reads, at + 3
    assert at > 15


def test_what_is_in_force_delivered_again_ends_nothing_that_waits(plant: Plant) -> None:
    first = plant.order(SHORT, "d1")
    plant.follow(first)
    plant.report.publish(ReportedState("s1", "b", 0.0, "", "PROBATION"))
    plant.send(plant.order(LATE, "d2"))
    plant.run(5)
    plant.send(first)
    plant.run(5)
    assert (plant.state().config_state, plant.state().config_deployment) == ("CHECKED", "d2")
    plant.report.publish(ReportedState("s1", "b", 0.0, "", "COMMITTED"))
    plant.run(30)
    assert (plant.state().config_state, plant.settings.line.queue) == ("COMMITTED", 3)
