"""P2 for settings: a power cut at any step leaves settings that were committed, or a trial that is counted. Steps are traced."""

from __future__ import annotations

import errno
import io
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from power_cut import ModelDisk, PowerCut

from agent.clock import SystemClock
from agent.health.log import StderrLog
from agent.remote_settings import RemoteSettings
from agent.slots.config_file import ConfigFile
from agent.update.config_health import Vitals
from contract.config_states import MAX_CONFIG_TRIES, settings_digest
from contract.errors import TransientError
from contract.messages import ConfigOrder

OLD = ConfigOrder("s1", "[windows]\nframes = 64\n", "d1", 1, 1_795_200_000.0, 1_795_300_000.0, 5.0)
NEW = ConfigOrder("s1", "[windows]\nframes = 32\n", "d2", 2, 1_795_200_100.0, 1_795_300_000.0, 5.0)
BEFORE = Vitals(100, {"late": 3}, 0, True)


def remote(folder: Path, store: ConfigFile) -> RemoteSettings:
    (folder / "agent.toml").write_text('station = "s1"\nhome = "state"\n')
    return RemoteSettings(folder / "agent.toml", store, StderrLog(io.StringIO(), SystemClock(), name="s1"))


def change(folder: Path, store: ConfigFile, *, keep: bool) -> int:
    """Go through a change as a station does; return what it starts with in the end."""
    store.begin(NEW, BEFORE)
    starts = remote(folder, store)
    assert starts.load(threading.Event()).windows.frames == 32
    if keep:
        store.commit(NEW)
    else:
        store.roll_back(NEW, "late")
    return starts.load(threading.Event()).windows.frames


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "rolled back"])
@pytest.mark.parametrize("power", [True, False], ids=["power cut", "kill"])
def test_a_cut_before_every_step_starts_with_settings_that_were_kept_or_are_counted(
    tmp_path: Path, keep: bool, power: bool
) -> None:
    home = tmp_path / "home"
    ConfigFile(home).commit(OLD)
    shutil.copytree(home, tmp_path / "before")
    traced = ModelDisk(home)
    assert change(tmp_path, ConfigFile(home, disk=traced), keep=keep) == (32 if keep else 64)
    traced.close()
    steps = traced.steps
    assert len(steps) > 20
    seen = set()
    for cut_at in range(len(steps)):
        shutil.rmtree(home)
        shutil.copytree(tmp_path / "before", home)
        disk = ModelDisk(home, cut_at)
        with pytest.raises(PowerCut):
            change(tmp_path, ConfigFile(home, disk=disk), keep=keep)
        if power:
            disk.forget()
        disk.close()
        where = f"cut before step {cut_at}: {steps[cut_at]}"
        store = ConfigFile(home)
        in_force, trial = store.in_force(), store.trial()
        assert in_force in ((OLD, NEW) if keep else (OLD,)), where
        assert trial is None or (trial.order, trial.before) == (NEW, BEFORE), where
        assert store.floor().config_seq >= in_force.config_seq if in_force else True, where
        last = store.last()
        if last is not None and last.kept:
            assert in_force is not None and in_force.config_seq >= last.order.config_seq, f"{where}: kept, not in force"
        tries = trial.tries if trial else 0
        starts = remote(tmp_path, store)
        frames = starts.load(threading.Event()).windows.frames
        after = store.trial()
        assert starts.on_trial() is None or in_force == OLD, f"{where}: what is committed is not tried again"
        if starts.on_trial() is not None:
            assert (frames, after.tries if after else 0) == (32, tries + 1), where  # counted before use
        else:
            assert frames == {OLD: 64, NEW: 32}[store.in_force() or OLD], where
            assert after is None, where
        seen.add((store.in_force() == NEW, starts.on_trial() is not None))
    assert len(seen) >= 2, "cuts early and late differ"


def test_settings_that_stop_the_station_three_times_are_rolled_back_at_the_next_start(tmp_path: Path) -> None:
    store = ConfigFile(tmp_path / "home")
    store.commit(OLD)
    store.begin(NEW, BEFORE)
    for start in range(MAX_CONFIG_TRIES):
        starts = remote(tmp_path, ConfigFile(tmp_path / "home"))
        assert starts.load(threading.Event()).windows.frames == 32
        trial = store.trial()
        assert trial is not None and trial.tries == start + 1
    starts = remote(tmp_path, ConfigFile(tmp_path / "home"))
    assert starts.load(threading.Event()).windows.frames == 64 and starts.on_trial() is None
    last = store.last()
    assert last is not None and not last.kept and last.reason == "the station stopped 3 times during the trial"
    assert store.banned() == {(settings_digest(NEW.settings), "d2")} and store.floor().config_seq == 2


def test_a_state_file_that_cannot_be_read_means_the_settings_committed_last(tmp_path: Path) -> None:
    store = ConfigFile(tmp_path)
    store.commit(OLD)
    store.begin(NEW, BEFORE)
    (tmp_path / "state").write_bytes(b"torn")
    assert store.trial() is None and store.in_force() == OLD
    last = store.last()
    assert last is not None and last.kept and last.order == OLD


@pytest.mark.parametrize("lost", ["settings.a", "settings.b", "floor.a", "floor.b", "state"])
def test_any_one_file_lost_loses_neither_settings_nor_floor(tmp_path: Path, lost: str) -> None:
    store = ConfigFile(tmp_path)
    store.commit(OLD)
    store.commit(NEW)
    (tmp_path / lost).unlink()
    assert store.in_force() == NEW
    assert store.floor().config_seq == 2


def test_both_floors_lost_the_settings_in_force_still_hold_the_floor_up(tmp_path: Path) -> None:
    store = ConfigFile(tmp_path)
    store.commit(NEW)
    for name in ("floor.a", "floor.b", "state"):
        (tmp_path / name).unlink()
    assert store.floor().config_seq == 2


@given(st.binary(max_size=60), st.sampled_from(["settings.a", "settings.b", "floor.a", "floor.b", "state"]))
def test_any_bytes_in_a_file_read_as_absent(
    tmp_path_factory: pytest.TempPathFactory, rubbish: bytes, name: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-config"
    store = ConfigFile(folder)
    if store.in_force() is None:
        store.commit(NEW)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(rubbish)
    found = (store.in_force(), store.floor().config_seq, store.trial())
    (folder / name).write_bytes(whole)
    assert found == (NEW, 2, None)


def test_a_file_changed_so_that_the_remote_settings_no_longer_fit_is_used_alone(tmp_path: Path) -> None:
    store = ConfigFile(tmp_path / "home")
    store.commit(ConfigOrder("s1", "[line]\ndeadline_ms = 100.0\n", "d", 1, 0.0, 1.0, 5.0))
    starts = remote(tmp_path, store)
    assert starts.load(threading.Event()).line.deadline_ms == 100.0 and not starts.problem()
    (tmp_path / "agent.toml").write_text('station = "s1"\nhome = "state"\n[line]\ndeadline_ms = 50.0\n')
    assert starts.load(threading.Event()).line.deadline_ms == 50.0
    assert "deadline_ms" in starts.problem() and store.in_force() is not None


class Failing:
    """A disk that does not give the files named, `times` times each, as a medium at its end does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: dict[str, int] = {}
        real = Path.read_bytes

        def read(path: Path) -> bytes:
            if self.left.get(path.name, 0) > 0:
                self.left[path.name] -= 1
                raise OSError(errno.EIO, "Input/output error")
            return real(path)

        monkeypatch.setattr(Path, "read_bytes", read)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    return Failing(monkeypatch)


def test_a_disk_that_does_not_give_the_state_for_a_moment_costs_no_ban(tmp_path: Path, failing: Failing) -> None:
    store = ConfigFile(tmp_path)
    store.roll_back(NEW, "late")
    banned = store.banned()
    for write in (lambda: store.begin(OLD, BEFORE), store.count_try, lambda: store.roll_back(OLD, "x")):
        failing.left = {"state": 1}
        with pytest.raises(TransientError):
            write()
        assert store.banned() == banned != frozenset()


def test_one_copy_that_the_disk_does_not_give_is_made_up_for_and_both_are_an_error(
    tmp_path: Path, failing: Failing
) -> None:
    store = ConfigFile(tmp_path)
    store.commit(NEW)
    for lost in ("settings.a", "settings.b", "floor.a", "floor.b"):
        failing.left = {lost: 9}
        assert (store.in_force(), store.floor().config_seq) == (NEW, 2)
    failing.left = {"settings.a": 9, "settings.b": 9}
    with pytest.raises(TransientError):
        store.in_force()
    (tmp_path / "settings.b").write_bytes(b"torn")
    failing.left = {"settings.a": 1}
    with pytest.raises(TransientError):
        store.in_force()


def test_a_station_waits_a_moment_for_its_settings_and_then_runs_as_its_file_says_and_says_so(
    tmp_path: Path, failing: Failing
) -> None:
    store = ConfigFile(tmp_path / "home")
    store.commit(OLD)
    starts = remote(tmp_path, store)
    failing.left = {"settings.a": 2, "settings.b": 2, "state": 2}
    assert starts.load(threading.Event()).windows.frames == 64 and not starts.problem()
    failing.left = {"settings.a": 99, "settings.b": 99}
    assert starts.load(threading.Event()).windows.frames == 256
    assert "cannot be read" in starts.problem() and "Input/output error" in starts.problem()
    failing.left = {}
    assert starts.load(threading.Event()).windows.frames == 64 and not starts.problem()


def test_a_trial_that_cannot_be_read_at_the_start_is_not_tried_and_not_lost(tmp_path: Path, failing: Failing) -> None:
    store = ConfigFile(tmp_path / "home")
    store.commit(OLD)
    store.begin(NEW, BEFORE)
    starts = remote(tmp_path, store)
    failing.left = {"state": 5}
    assert starts.load(threading.Event()).windows.frames == 64 and starts.on_trial() is None
    assert starts.load(threading.Event()).windows.frames == 32
    failing.left = {"state": 99}
    assert not starts.give_up("it does not run"), "what cannot be read is not given up"
    failing.left = {}
    assert starts.give_up("it does not run") and store.trial() is None
