"""TensorRT engines: cached whole or not at all, built by a process that may hang, crash or lie.

No TensorRT is on the machines these tests were written on: the builder here is a real process that writes files. The real builder
is only seen to say that there is no TensorRT.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.runtime import load as load_module
from agent.runtime.device_facts import EngineFacts, driver_version, read_engine_facts
from agent.runtime.load import ModelLoader
from agent.runtime.providers import Provider
from agent.runtime.tensorrt_build import BuildPhase, EngineBuilds, builder_command
from agent.runtime.tensorrt_cache import EngineCache
from agent.runtime.upgrading import UpgradingRuntime
from contract.errors import BadModel
from tests.tiny_bundle import manifest_of, model_bytes

BUILDER = Path(__file__).with_name("fake_builder.py")
FACTS = EngineFacts("a" * 64, "fp16", "1.23.2", "101300", "8.7", "L4T 36.4.3 driver 540.4.0")
KEY = FACTS.key()


class Plant:
    """A cache, builds with the fake builder in `mode`, and what was said and became ready."""

    def __init__(self, folder: Path, mode: str = "ok", *, within_s: float = 60.0, max_bytes: int = 1 << 20) -> None:
        self.mode = mode
        self.folder = folder / "engines"
        self.witness = folder / "pids"
        self.said: list[str] = []
        self.ready: list[Path] = []
        self.refuse = ""
        self.event = threading.Event()
        self.cache = EngineCache(self.folder, max_bytes=max_bytes, max_tries=2)
        self.builds = EngineBuilds(self.cache, SystemClock(), self._say, within_s=within_s, command=self._command)

    def _command(self, _model: Path, _precision: str, folder: Path) -> Sequence[str]:
        if self.mode == "hang":
            # A shell: it has started its child long before its time is up, however busy the machine is.
            hang = 'echo half > "$0/half.engine"; echo $$ >> "$1"; sleep 60 & echo $! >> "$1"; wait'
            return ("sh", "-c", hang, str(folder), str(self.witness))
        return (sys.executable, str(BUILDER), self.mode, str(folder), str(self.witness))

    def _say(self, text: str) -> None:
        self.said.append(text)

    def _on_ready(self, folder: Path) -> None:
        if self.refuse:
            raise BadModel(self.refuse)
        self.ready.append(folder)

    def request(self, key: str = KEY) -> None:
        self.builds.request(key, Path("model.onnx"), "fp16", self._on_ready)

    def wait(self, phase: BuildPhase, key: str = KEY) -> None:
        wait_until(lambda: self.builds.states()[key].phase is phase)

    def pids(self) -> list[int]:
        return [int(line) for line in self.witness.read_text().split()] if self.witness.exists() else []

    def names(self) -> set[str]:
        return {entry.name for entry in self.folder.iterdir()}


def wait_until(true: Callable[[], bool], within_s: float = 60.0) -> None:
    pause = threading.Event()
    for _ in range(int(within_s / 0.01)):
        if true():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen")


@pytest.fixture
def plants(tmp_path: Path) -> Iterator[Callable[..., Plant]]:
    made: list[Plant] = []

    def make(*args: object, **kwargs: object) -> Plant:
        made.append(Plant(tmp_path, *args, **kwargs))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for plant in made:
        plant.builds.close()


def test_an_engine_is_built_in_the_background_published_whole_and_found_again(plants: Callable[..., Plant]) -> None:
    plant = plants("slow")
    plant.request()
    assert plant.builds.states()[KEY].phase in (BuildPhase.QUEUED, BuildPhase.BUILDING)
    plant.wait(BuildPhase.BUILDING)
    state = plant.builds.states()[KEY]
    assert state.since > 1.7e9 and state.tries == 1
    plant.wait(BuildPhase.READY)
    assert plant.ready == [plant.folder / KEY]
    assert plant.names() == {KEY}
    plant.builds.close()
    again = plants("fail")
    again.request()
    again.wait(BuildPhase.READY)
    assert again.ready == plant.ready
    assert len(again.pids()) == 1  # of the first build


def test_two_cameras_of_one_model_share_one_build(plants: Callable[..., Plant]) -> None:
    plant = plants("slow")
    plant.request()
    plant.request()
    wait_until(lambda: len(plant.ready) == 2)
    assert len(plant.pids()) == 1


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("fail", "ended with 3: layer 7: no implementation out of memory"),
        ("crash", "ended with -11"),
        ("nothing", "left no engine"),
        ("words", "ended with 1: xxx"),
    ],
)
def test_a_build_that_fails_is_said_and_given_up_after_its_tries(
    plants: Callable[..., Plant], mode: str, words: str
) -> None:
    plant = plants(mode)
    for tries in (1, 2):
        plant.request()
        plant.wait(BuildPhase.FAILED)
        state = plant.builds.states()[KEY]
        assert words in state.why and state.tries == tries and len(state.why) < 500
        assert plant.names() == {f"{KEY}.tries"}
        plant.builds.close()
        plant = plants(mode)  # the tries outlive the process
    plant.request()
    plant.wait(BuildPhase.GIVEN_UP)
    assert words in plant.builds.states()[KEY].why
    assert len(plant.pids()) == 2
    assert plant.ready == []
    assert any("given up after 2 tries" in line for line in plant.said)
    plant.mode = "ok"
    plant.request("f" * 64)  # another key (a new driver, say) has tries of its own
    plant.wait(BuildPhase.READY, "f" * 64)


def test_a_build_that_hangs_is_killed_with_its_children(plants: Callable[..., Plant]) -> None:
    plant = plants("hang", within_s=1.5)
    plant.request()
    plant.wait(BuildPhase.FAILED)
    assert "longer than 1.5 s and was killed" in plant.builds.states()[KEY].why
    pids = plant.pids()
    assert len(pids) == 2
    wait_until(lambda: not any(_runs(pid) for pid in pids))


def test_stopping_kills_the_build_and_is_no_failed_try(plants: Callable[..., Plant]) -> None:
    plant = plants("hang")
    plant.request()
    wait_until(lambda: len(plant.pids()) == 2)
    plant.builds.close()
    wait_until(lambda: not any(_runs(pid) for pid in plant.pids()))
    assert plant.cache.tries(KEY)[0] == 0
    assert not any(name.endswith(".tmp") for name in plant.names())
    plant.request()
    assert plant.ready == []


def test_an_engine_that_does_not_load_is_deleted_and_its_build_counted(plants: Callable[..., Plant]) -> None:
    plant = plants()
    plant.refuse = "serialization version mismatch"
    for tries in (1, 2):
        plant.request()
        plant.wait(BuildPhase.FAILED)
        assert plant.builds.states()[KEY].tries == tries
        assert KEY not in plant.names()
        plant.builds.close()
        plant = plants()
        plant.refuse = "serialization version mismatch"
    plant.request()
    plant.wait(BuildPhase.GIVEN_UP)
    assert len(plant.pids()) == 2


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # also where it ends while it is looked at
        return False


def fill(cache: EngineCache, key: str, size: int = 100) -> Path:
    scratch = cache.begin(key)
    assert scratch is not None
    (scratch / "model.engine").write_bytes(bytes(size))
    folder = cache.publish(key)
    cache.confirm(key)
    return folder


def _flip(folder: Path) -> None:
    (folder / "model.engine").write_bytes(b"\1" + bytes(99))


def _truncate(folder: Path) -> None:
    (folder / "model.engine").write_bytes(bytes(50))


def _add(folder: Path) -> None:
    (folder / "other.engine").write_bytes(b"foreign")


def _delete(folder: Path) -> None:
    (folder / "model.engine").unlink()


def _unlist(folder: Path) -> None:
    (folder / "engine.json").unlink()


def _foreign(folder: Path) -> None:
    listing = folder / "engine.json"
    listing.write_bytes(listing.read_bytes().replace(KEY.encode(), b"b" * 64))


def _garble(folder: Path) -> None:
    (folder / "engine.json").write_bytes(b"\xff{")


@pytest.mark.parametrize("damage", [_flip, _truncate, _add, _delete, _unlist, _foreign, _garble])
def test_a_torn_changed_or_foreign_cache_is_deleted_and_built_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    cache = EngineCache(tmp_path, max_bytes=1 << 20)
    folder = fill(cache, KEY)
    assert cache.find(KEY) == folder
    damage(folder)
    assert cache.find(KEY) is None
    assert list(tmp_path.iterdir()) == []
    fill(cache, KEY)
    assert cache.find(KEY) == folder


def test_what_a_killed_station_left_is_swept_away_and_its_try_stays_counted(tmp_path: Path) -> None:
    scratch = EngineCache(tmp_path, max_bytes=1).begin(KEY)
    assert scratch is not None
    (scratch / "half.engine").write_bytes(b"half")
    cache = EngineCache(tmp_path, max_bytes=1)
    assert cache.find(KEY) is None
    assert not scratch.exists()
    assert cache.tries(KEY)[0] == 1


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(0, 3000), st.sets(st.integers(0, 7)))
@settings(max_examples=40, deadline=None)
def test_garbage_collection_keeps_what_is_in_use_and_the_budget(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], budget: int, used: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("engines")
    cache = EngineCache(folder, max_bytes=budget)
    keys = [f"{index:064x}" for index in range(len(sizes))]
    for key, size in zip(keys, sizes, strict=True):
        fill(cache, key, size)
    in_use = [key for index, key in enumerate(keys) if index in used]
    gone = cache.collect_garbage(in_use)
    left = {entry.name for entry in folder.iterdir()}
    assert set(in_use) <= left
    assert left == set(keys) - set(gone)
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert total <= budget or left == set(in_use)
    assert gone == [key for key in keys if key not in in_use][: len(gone)]  # oldest first


def test_every_fact_an_engine_depends_on_changes_its_key() -> None:
    keys = {KEY}
    for field in msgspec.structs.fields(EngineFacts):
        keys.add(msgspec.structs.replace(FACTS, **{field.name: "other"}).key())
    assert len(keys) == 1 + len(msgspec.structs.fields(EngineFacts))


def test_the_facts_are_read_from_the_machine(tmp_path: Path) -> None:
    for name, text in (
        ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"),
        ("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    assert driver_version(tmp_path) == "L4T 36.4.3 driver 580.95.05"
    assert driver_version(tmp_path / "nowhere") == ""
    model = tmp_path / "model.onnx"
    model.write_bytes(b"abc")
    facts = read_engine_facts(model, "fp16", root=tmp_path)
    assert facts.model_sha256.startswith("ba7816bf")
    assert facts.onnxruntime == onnxruntime.__version__


def test_the_real_builder_says_when_there_is_no_tensorrt(tmp_path: Path) -> None:
    if Provider.TENSORRT.value in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has TensorRT")
    builder = subprocess.Popen(
        builder_command(tmp_path / "model.onnx", "fp16", tmp_path),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert builder.wait(60) == 1
    assert builder.stdin is not None and builder.stderr is not None
    assert "no TensorRT" in builder.stderr.read()
    builder.stdin.close()
    builder.stderr.close()


def test_the_builder_ends_when_the_station_is_gone() -> None:
    code = "from agent.runtime.build_engine import end_with_parent; import time; end_with_parent(); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as builder:
        assert builder.stdin is not None
        builder.stdin.close()  # as the kernel does for a station killed with -9
        assert builder.wait(60) == 1


class Scores:
    """A runtime that answers `scores`, or fails."""

    def __init__(self, *scores: float, fails: str = "") -> None:
        self._scores = np.asarray(scores, np.float32)
        self._fails = fails
        self.closed = 0

    def run(self, tensor: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        if self._fails:
            raise BadModel(self._fails)
        return self._scores

    def activation_map(self, index: int) -> None:
        return None

    def close(self) -> None:
        self.closed += 1


TENSOR = np.zeros((1, 1, 8, 8), np.float32)


def test_the_faster_session_takes_over_between_frames_and_the_old_one_is_freed() -> None:
    present, faster, said = Scores(5.0, -5.0), Scores(5.01, -5.0), list[str]()
    runtime = UpgradingRuntime(present, said.append)
    runtime.run(TENSOR)
    runtime.upgrade(faster)
    assert runtime.run(TENSOR)[0] == 5.0
    assert runtime.run(TENSOR)[0] == np.float32(5.01)
    assert present.closed == 1 and runtime.upgraded
    runtime.close()
    assert faster.closed == 1


@pytest.mark.parametrize(
    ("faster", "words"),
    [
        (Scores(-5.0, 5.0), "differs by 10 on a live frame"),
        (Scores(float("nan"), 0.0), "no usable scores"),
        (Scores(1.0), "no usable scores"),
        (Scores(fails="out of memory"), "out of memory"),
    ],
)
def test_a_faster_session_that_answers_otherwise_is_not_used(faster: Scores, words: str) -> None:
    present, said = Scores(5.0, -5.0), list[str]()
    runtime = UpgradingRuntime(present, said.append)
    runtime.upgrade(faster)
    for _ in range(3):
        assert runtime.run(TENSOR)[0] == 5.0
    assert faster.closed == 1 and present.closed == 0 and not runtime.upgraded
    assert len(said) == 1 and words in said[0]


def test_an_upgrade_that_comes_after_the_end_is_freed() -> None:
    present, waiting, late = Scores(1.0), Scores(1.0), Scores(1.0)
    runtime = UpgradingRuntime(present, lambda _: None)
    runtime.upgrade(waiting)
    runtime.close()
    runtime.upgrade(late)
    assert (present.closed, waiting.closed, late.closed) == (1, 1, 1)


def test_a_bundle_on_tensorrt_serves_at_once_and_says_why_it_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Provider.TENSORRT.value in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has TensorRT")
    # As on a device whose ONNX Runtime claims TensorRT; the builder process here finds out that there is none.
    monkeypatch.setattr(load_module, "available_providers", lambda: (Provider.TENSORRT.value, Provider.CPU.value))
    model, said = model_bytes(), list[str]()
    (tmp_path / "model.onnx").write_bytes(model)
    loader = ModelLoader(said.append, SystemClock(), provider="tensorrt", engines=tmp_path / "engines")
    runtime, _ = loader.load(tmp_path, manifest_of(model))
    scores = runtime.run(np.full((1, 1, 8, 8), 0.75, np.float32))
    np.testing.assert_allclose(scores, [5.0, -5.0], rtol=1e-5)
    wait_until(lambda: [state.phase for state in loader.engine_states().values()] == [BuildPhase.FAILED])
    assert any("no TensorRT" in line and "goes on serving" in line for line in said)
    runtime.run(TENSOR)
    runtime.close()
    loader.close()
