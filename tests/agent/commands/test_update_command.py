"""`plumbline-agent update` with kits that `plumbline-cloud kit make` made: on a stopped station, and on one that runs."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner

sys.path.insert(0, str(Path(__file__).parents[1]))
from kit_plant import STATION, KitPlant, kit_plant
from update_plant import FakeSelfTest

from agent.clock import SystemClock
from agent.health.home_lock import HomeLock
from agent.mailboxes import Inbox, ReportBox, Switch
from agent.ports.slots import TrialOutcome
from agent.settings import load_settings
from agent.slots.ab_slots import Slots
from agent.slots.kit_inbox import KitInbox, KitOutcome
from agent.update_wiring import make_update_loop, read_trust
from cloud.registry.keys import load_keys
from cloud.registry.order_keys import rotate_vouched
from cloud.registry.release import Registry
from contract.codec import decode_control, encode_control
from contract.messages import DesiredState, OrderKeys
from contract.signature import sign_order, sign_order_keys, verify_order, verify_order_keys


@pytest.fixture
def plant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> KitPlant:
    return kit_plant(tmp_path, capsys)


@dataclass
class Running:
    """The update thread of a station that runs; its frame loop ends every trial as `verdict` says ("": kept)."""

    plant: KitPlant
    verdict: str = ""
    switch: Switch = field(default_factory=Switch)
    offered: list[str] = field(default_factory=list)
    recalled: list[str] = field(default_factory=list)
    inbox: Inbox = field(default_factory=Inbox)
    report: ReportBox = field(default_factory=ReportBox)

    def work(self, stop: threading.Event, loop) -> None:
        loop.start()
        while not stop.is_set():
            loop.tick(0.02)
            trial = self.switch.next_trial()
            if trial is not None:
                self.offered.append(trial.bundle.digest)
                self.switch.conclude(
                    TrialOutcome(trial.deployment, trial.bundle.digest, not self.verdict, self.verdict, 10, 9)
                )
            recalled = self.switch.next_recall()
            if recalled is not None:
                self.recalled.append(recalled[0].digest if recalled[0] else "")


@contextmanager
def running(plant: KitPlant, verdict: str = "") -> Iterator[Running]:
    station = Running(plant, verdict)
    settings = load_settings(plant.station / "agent.toml")
    lock, stop = HomeLock(settings.home_folder), threading.Event()
    loop = make_update_loop(
        settings,
        read_trust(settings),
        boot="b1",
        slots=Slots(settings.home_folder / "bundles"),
        switch=station.switch,
        inbox=station.inbox,
        report=station.report,
        http=None,
        clock=SystemClock(),
        roll=lambda: 0.0,
        selftest=FakeSelfTest(),
    )
    thread = threading.Thread(target=station.work, args=(stop, loop), daemon=True)
    thread.start()
    try:
        yield station
    finally:
        stop.set()
        thread.join(60)
        lock.release()


def boots(plant: KitPlant) -> str:
    bundle = Slots(plant.state / "bundles").boot_bundle()
    return bundle.digest if bundle else ""


def nothing_is_left(plant: KitPlant) -> bool:
    """Whether no part of a kit is left; a station that runs tidies up a moment after the command has heard how it ended."""
    kits, until = plant.state / "kits", time.monotonic() + 60
    while (kits / "coming").exists() or (kits / "here").exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_a_running_station_takes_a_kit_up_tries_it_and_keeps_it(plant: KitPlant, tmp_path: Path) -> None:
    released = plant.release("v1")
    kit = plant.make(tmp_path / "kit.plk", "v1")
    with running(plant) as station:
        code, out, error = plant.apply(kit, "--json")
        assert code == 0, error
        assert msgspec.json.decode(out)["end"] == "committed"
        assert station.offered == [released.digest] and boots(plant) == released.digest
        assert nothing_is_left(plant)
        code, out, _ = plant.apply(kit)  # the stick comes round once more
        assert code == 0 and "already" in out
    assert station.offered == [released.digest]


def test_a_bundle_that_fails_its_trial_is_rolled_back_and_the_kit_does_not_try_it_again(
    plant: KitPlant, tmp_path: Path
) -> None:
    plant.release("v1")
    kit = plant.make(tmp_path / "kit", "v1")
    with running(plant, "it decides otherwise"):
        code, _, error = plant.apply(kit)
        assert code == 3 and "it decides otherwise" in error
        assert boots(plant) == "" and nothing_is_left(plant)
        code, _, error = plant.apply(kit)
        assert code == 1 and "already failed here" in error


def test_a_stopped_station_installs_and_tests_and_holds_the_trial_when_it_starts(
    plant: KitPlant, tmp_path: Path
) -> None:
    released = plant.release("v1")
    kit = plant.make(tmp_path / "kit.plk", "v1")
    code, out, error = plant.apply(kit)
    assert code == 0 and "trial begins when the station is started" in out, error
    assert "SELFTEST" in error and boots(plant) == ""
    assert plant.status()["kit"]["waiting"]
    shutil.rmtree(tmp_path / "kit.plk", ignore_errors=True)
    with running(plant) as station:
        until = time.monotonic() + 60
        while boots(plant) != released.digest and time.monotonic() < until:
            time.sleep(0.05)
        assert station.offered == [released.digest]
    assert boots(plant) == released.digest


def test_a_bundle_that_lies_about_itself_is_rolled_back_on_a_stopped_station(plant: KitPlant, tmp_path: Path) -> None:
    plant.release("v1", golden_shift=1.0)
    code, _, error = plant.apply(plant.make(tmp_path / "kit", "v1"))
    assert code == 3 and "self-test" in error and nothing_is_left(plant)


def test_a_kit_for_other_stations_is_refused_and_says_for_whom_it_is(plant: KitPlant, tmp_path: Path) -> None:
    plant.release("v1")
    assert plant.cloud("station", "add", "line4", "--out", tmp_path / "line4")[0] == 0
    kit = plant.make(tmp_path / "kit", "v1", "--station", "line4")
    code, _, error = plant.apply(kit)
    assert code == 1 and "no order for 'line3-cam1' (it is for line4)" in error
    # The other station's order under this one's name is no order for this one.
    (kit / "orders" / "line4.json").rename(kit / "orders" / f"{STATION}.json")
    code, _, error = plant.apply(kit)
    assert code == 1 and "the order is for 'line4'" in error and nothing_is_left(plant)


def test_a_foreign_clouds_kit_is_refused(plant: KitPlant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = kit_plant(tmp_path / "elsewhere", capsys)
    released = other.release("v1")
    kit = other.make(tmp_path / "kit", "v1")
    code, _, error = plant.apply(kit)
    assert code == 1 and "no valid signature by a pinned key" in error
    # An order of the right cloud with the image side of another one installs nothing either.
    plant.release("v1")
    own = plant.make(tmp_path / "own", "v1")
    shutil.copy(own / "orders" / f"{STATION}.json", kit / "orders" / f"{STATION}.json")
    code, _, error = plant.apply(kit)
    assert code == 1 and nothing_is_left(plant), error
    assert released.digest not in str(plant.status()["slots"])


def test_an_old_kit_is_refused_after_a_newer_one(plant: KitPlant, tmp_path: Path) -> None:
    plant.release("v1")
    old = plant.make(tmp_path / "old", "v1")
    second = plant.release("v2", seed=1)
    with running(plant):
        assert plant.apply(plant.make(tmp_path / "new", "v2"))[0] == 0
        code, _, error = plant.apply(old)
        assert code == 1 and "not newer than 2" in error
        # The old metadata with a new order is an old repository: the floors know it.
        fresh = plant.make(tmp_path / "fresh", "v1")
        shutil.rmtree(fresh / "metadata")
        shutil.copytree(old / "metadata", fresh / "metadata")
        code, _, error = plant.apply(fresh)
        assert code == 1 and "backwards" in error, error
    assert boots(plant) == second.digest and nothing_is_left(plant)


def test_an_expired_kit_is_refused(plant: KitPlant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.release("v1")
    kit = plant.make(tmp_path / "kit", "v1", "--days", 1)
    monkeypatch.setattr(SystemClock, "now", lambda _clock: time.time() + 86_400.0 + 1.0)
    code, _, error = plant.apply(kit)
    assert code == 1 and "expired" in error and nothing_is_left(plant)


def damages(kit: Path) -> Iterator[tuple[str, str]]:
    """Damage copies of `kit` in every way; yield what was done, and what must be said."""
    bundle = next((kit / "targets" / "bundles").iterdir())
    timestamp, order = kit / "metadata" / "timestamp.json", kit / "orders" / f"{STATION}.json"
    yield "whole", ""
    for path in (bundle, timestamp, order):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        yield f"{path.name} cut short", "early" if path == bundle else ""
        path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
        yield f"a bit of {path.name} flipped", "damaged at byte" if path == bundle else ""
        path.unlink()
        yield f"{path.name} missing", ""
        path.symlink_to("/etc/passwd")
        yield f"{path.name} a link", ""
        path.unlink()
        os.mkfifo(path)
        yield f"{path.name} a pipe", "no regular file" if path == bundle else ""
        path.unlink()
        path.write_bytes(data)
    (kit / "metadata").rename(kit / "elsewhere")
    (kit / "metadata").symlink_to(kit / "elsewhere")
    yield "metadata a link", ""
    (kit / "metadata").unlink()
    yield "no metadata", ""


def test_a_damaged_stick_is_refused_in_one_sentence_and_leaves_nothing(plant: KitPlant, tmp_path: Path) -> None:
    plant.release("v1", filler_bytes=20_000)
    kit = plant.make(tmp_path / "kit", "v1")
    for number, (what, sentence) in enumerate(damages(kit)):
        if what == "whole":
            continue
        code, out, error = plant.apply(kit)
        assert code == 1 and not out, f"{number} {what}: {error}"
        assert error.count("error:") == 1 and sentence in error, f"{what}: {error}"
        assert nothing_is_left(plant) and not list((plant.state / "bundles" / "slots").iterdir()), what


def test_a_plk_cut_anywhere_is_refused(plant: KitPlant, tmp_path: Path) -> None:
    plant.release("v1")
    kit = plant.make(tmp_path / "kit.plk", "v1")
    data = kit.read_bytes()
    for size in (0, 100, 512, 5_000, len(data) // 2, len(data) - 600):
        kit.write_bytes(data[:size])
        code, _, error = plant.apply(kit)
        assert code == 1 and nothing_is_left(plant), (size, error)
    for junk in (b"PK\x03\x04" * 1000, bytes(4096)):
        kit.write_bytes(junk)
        assert plant.apply(kit)[0] == 1


def test_what_is_no_kit_is_said_to_be_none(plant: KitPlant, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, why in ((tmp_path / "none", "no kit"), (tmp_path / "empty", "kit"), (Path("/dev/null"), "no kit")):
        code, _, error = plant.apply(path)
        assert code == 1 and why in error


def test_a_kit_replaces_one_that_waits(plant: KitPlant, tmp_path: Path) -> None:
    plant.release("v1")
    second = plant.release("v2", seed=1)
    assert plant.apply(plant.make(tmp_path / "one", "v1"))[0] == 0
    assert plant.apply(plant.make(tmp_path / "two", "v2"))[0] == 0
    waiting = KitInbox(plant.state).order()
    assert waiting == decode_control((tmp_path / "two" / "orders" / f"{STATION}.json").read_bytes(), DesiredState)
    with running(plant) as station:
        until = time.monotonic() + 60
        while boots(plant) != second.digest and time.monotonic() < until:
            time.sleep(0.05)
    assert station.offered == [second.digest]


def test_a_kit_that_comes_while_another_is_followed_takes_its_place_and_is_not_lost(
    plant: KitPlant, tmp_path: Path
) -> None:
    plant.release("v1")
    second = plant.release("v2", seed=1)
    one, two = plant.make(tmp_path / "one", "v1"), plant.make(tmp_path / "two", "v2")
    assert plant.apply(one)[0] == 0  # staged
    with running(plant):
        code, _, error = plant.apply(two)  # while the first one's trial begins, is on, or has just ended
        assert code == 0, error
    assert boots(plant) == second.digest and nothing_is_left(plant)


def test_the_end_of_a_kit_does_not_take_away_the_next_one(plant: KitPlant, tmp_path: Path) -> None:
    kits = KitInbox(plant.state)
    kits.prepare()
    kits.put(b"{}")
    first = kits.stamp()
    kits.prepare()
    kits.put(b'{"v":1}')
    kits.conclude(KitOutcome(1, "a" * 64, "committed"), first)
    assert (kits.here / "order.json").read_bytes() == b'{"v":1}'
    kits.conclude(KitOutcome(2, "b" * 64, "committed"), kits.stamp())
    assert kits.stamp() is None


def test_status_says_what_is_where_on_a_stopped_and_on_a_running_station(plant: KitPlant, tmp_path: Path) -> None:
    code, _, error = plant.agent("update", "status")
    assert code == 1 and "no station ever ran" in error
    released = plant.release("v1")
    with running(plant):
        assert plant.apply(plant.make(tmp_path / "kit", "v1"))[0] == 0
        status = plant.status()
        assert status["running"] and status["reported"]["update_state"] == "COMMITTED"
    status = plant.status()
    assert not status["running"] and status["boots"] == released.digest
    (slot,) = status["slots"]
    assert (slot["version"], slot["boots"], slot["deployment"], slot["desired_seq"]) == ("v1", True, "kit-1", 1)
    assert status["last"]["kept"] and status["floors"]["desired_seq"] == 1 and status["trial"] is None
    assert status["kit"] == {
        "waiting": False,
        "last": {"desired_seq": 1, "bundle": released.digest, "ending": "committed", "reason": ""},
    }
    assert status["order_keys"]["version"] == 0 and len(status["order_keys"]["keyids"]) == 1
    (plant.state / "downloads").mkdir(exist_ok=True)
    (plant.state / "downloads" / f"{'ab' * 32}.part").write_bytes(b"12345")
    assert plant.status()["download"]["bytes"] == 5
    code, out, _ = plant.agent("update", "status")
    assert code == 0 and "v1" in out and out.startswith("station ")


def test_a_kit_brings_the_order_keys_that_replaced_those_the_station_knows(plant: KitPlant, tmp_path: Path) -> None:
    plant.release("v1")
    second = plant.release("v2", seed=1)
    old = plant.make(tmp_path / "old", "v2")
    with running(plant):
        assert plant.apply(plant.make(tmp_path / "one", "v1"))[0] == 0
    keys, registry = load_keys(plant.home / "keys"), Registry(plant.home / "registry")
    pinned = [keys.order_key()]
    assert rotate_vouched(registry.tuf(keys), keys, time.time(), revoke=True)
    kit = plant.make(tmp_path / "new", "v2")
    # The order key alone is not enough: a statement that a thief signed with it, of a key of his own.
    thief = CryptoSigner.generate_ed25519()
    own = {thief.public_key.keyid: thief.public_key.keyval["public"]}
    stolen = shutil.copytree(kit, tmp_path / "stolen")
    (path,) = (stolen / "orders").iterdir()
    desired = decode_control(path.read_bytes(), DesiredState)
    order = verify_order(desired.envelope, load_keys(plant.home / "keys").order_keys())
    envelope = sign_order_keys(OrderKeys(1, own, time.time()), keys.signer("order"))
    assert verify_order_keys(envelope, pinned)
    path.write_bytes(encode_control(DesiredState(order.station, sign_order(order, thief), order_keys=envelope)))
    with running(plant) as station:
        code, _, error = plant.apply(stolen)
        assert code == 1 and "do not vouch for order keys" in error
        assert plant.status()["order_keys"]["version"] == 0
        code, _, error = plant.apply(kit)
        assert code == 0, error
        assert plant.status()["order_keys"]["version"] == 1
        code, _, error = plant.apply(old)
        assert code == 1 and "no valid signature" in error  # signed by a key that counts no more
    assert station.offered == [second.digest] and boots(plant) == second.digest


@pytest.mark.parametrize("runs", [True, False])
def test_a_step_back_by_hand_leaves_the_bundle_for_the_one_before(plant: KitPlant, tmp_path: Path, runs: bool) -> None:
    first, second = plant.release("v1"), plant.release("v2", seed=1)
    with running(plant) as station:
        for version in ("v1", "v2"):
            assert plant.apply(plant.make(tmp_path / version, version))[0] == 0
        assert boots(plant) == second.digest
        if runs:
            code, out, error = plant.agent("update", "rollback", "--reason", "rejects good parts")
            assert station.recalled == [first.digest], error
    if not runs:
        code, out, error = plant.agent("update", "rollback", "--reason", "rejects good parts")
    assert code == 0 and first.digest[:12] in out and boots(plant) == first.digest
    status = plant.status()
    assert [second.digest, "kit-2"] in status["banned"] and status["last"]["reason"] == "rejects good parts"
    with running(plant):
        code, _, error = plant.apply(tmp_path / "v2")
        assert code == 1, error
        assert plant.apply(plant.make(tmp_path / "again", "v2"))[0] == 0  # a new order may
    assert boots(plant) == second.digest


def test_there_must_be_something_to_step_back_to(plant: KitPlant, tmp_path: Path) -> None:
    plant.release("v1")
    with running(plant):
        code, _, error = plant.agent("update", "rollback")
        assert code == 1 and "no bundle" in error
        assert plant.apply(plant.make(tmp_path / "kit", "v1"))[0] == 0
        assert plant.agent("update", "rollback")[0] == 1
    assert plant.agent("update", "rollback")[0] == 1
    assert boots(plant)


def test_a_station_that_does_not_answer_is_not_waited_for_for_ever(plant: KitPlant, tmp_path: Path) -> None:
    plant.release("v1")
    kit = plant.make(tmp_path / "kit", "v1")
    plant.state.mkdir()
    lock = HomeLock(plant.state)
    code, _, error = plant.agent("update", "rollback", "--within", "0.3")
    assert code == 1 and "did not answer" in error
    assert plant.apply(kit, "--within", "0.3")[0] == 1
    lock.release()
    with running(plant):  # the kit lies there, the question does not
        code, _, error = plant.apply(kit)
        assert code == 0, error


def test_a_station_that_trusts_nobody_and_another_users_home_are_refused(plant: KitPlant, tmp_path: Path) -> None:
    plant.release("v1")
    kit = plant.make(tmp_path / "kit", "v1")
    config = plant.station / "agent.toml"
    trusting = config.read_text()
    config.write_text(trusting.split("[trust]")[0])
    code, _, error = plant.apply(kit)
    assert code == 2 and "[trust]" in error
    config.write_text(trusting)
    if os.geteuid() == 0:
        os.chown(plant.state, 12345, -1)
        code, _, error = plant.apply(kit)
        assert code == 2 and "sudo" in error
