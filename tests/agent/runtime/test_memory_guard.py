"""A GPU that shares the machine's memory is given some only where enough is left.

No GPU and no Jetson were on the machines these tests were written on: the loader is told of providers that this ONNX Runtime
does not have, which it finds out by itself when it is let to try.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.decide.memory import MemoryRoom
from agent.runtime import load as load_module
from agent.runtime.load import ModelLoader
from agent.runtime.memory_guard import GpuMemoryGuard
from agent.runtime.providers import Provider
from agent.runtime.tensorrt_build import BuildPhase, EngineBuilds
from agent.runtime.tensorrt_cache import EngineCache
from tests.fakes.agent_line import BrightRuntime
from tests.tiny_bundle import manifest_of, model_bytes

BUILDER = Path(__file__).with_name("fake_builder.py")
KEY = "c" * 64


def guard(available_mib: float | None, *, shared: bool = True) -> GpuMemoryGuard:
    room = None if available_mib is None else MemoryRoom(7620.0, available_mib)
    return GpuMemoryGuard(lambda: room, shared=shared)


@pytest.mark.parametrize(
    ("available_mib", "shared", "refused"),
    [(1300.0, True, True), (1370.0, True, False), (1300.0, False, False), (None, True, False)],
)
def test_a_session_takes_a_context_and_some_times_its_file(
    available_mib: float | None, shared: bool, refused: bool
) -> None:
    # 1000 for the context, 4 x 27 MiB for the model, 256 that are kept: 1364.
    assert bool(guard(available_mib, shared=shared).session_lack(27 << 20)) is refused


def test_what_the_gate_measured_counts_where_it_is_more_and_the_context_is_paid_once() -> None:
    some = guard(1500.0)
    assert some.session_lack(27 << 20, 300.0) == (
        "the GPU takes about 1300 MiB of the memory that it shares, 1500 MiB are left and 256 MiB of them are kept"
    )
    some.opened()
    assert some.session_lack(27 << 20, 300.0) == ""
    assert "building its engine takes about 2108 MiB" in some.build_lack(27 << 20)


def loaded_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: GpuMemoryGuard, providers: tuple[str, ...]
) -> tuple[list[str], str]:
    monkeypatch.setattr(load_module, "available_providers", lambda: (*providers, "CPUExecutionProvider"))
    folder = tmp_path / "bundle"
    folder.mkdir()
    manifest = manifest_of(model_bytes())
    (folder / manifest.artefacts[0].file).write_bytes(model_bytes())
    said: list[str] = []
    loader = ModelLoader(said.append, SystemClock(), engines=tmp_path / "engines", guard=guard)
    runtime, _ = loader.load(folder, manifest)
    provider = str(getattr(runtime, "provider", None))
    runtime.close()
    loader.close()
    return said, provider


@pytest.mark.parametrize("provider", ["CUDAExecutionProvider", "TensorrtExecutionProvider"])
def test_a_model_runs_on_the_cpu_where_the_gpu_would_take_the_stations_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    said, ran_on = loaded_on(tmp_path, monkeypatch, guard(800.0), (provider,))
    assert ran_on == "Provider.CPU"
    assert len(said) == 1 and "runs on CPUExecutionProvider: the GPU takes about 1000 MiB" in said[0]
    assert not (tmp_path / "engines").exists()


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_with_memory_the_gpu_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, ran_on = loaded_on(tmp_path, monkeypatch, guard(5000.0), ("CUDAExecutionProvider",))
    assert ran_on == "Provider.CPU"  # this ONNX Runtime has none
    assert len(said) == 1 and "CUDAExecutionProvider" in said[0] and "MiB" not in said[0]


def test_a_second_model_shares_the_first_ones_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Provider] = []

    def load_runtime(*_: object, provider: Provider, **__: object) -> BrightRuntime:
        opened.append(provider)
        runtime = BrightRuntime(None)
        runtime.provider = provider  # type: ignore[attr-defined]
        return runtime

    monkeypatch.setattr(load_module, "available_providers", lambda: ("CUDAExecutionProvider",))
    monkeypatch.setattr(load_module, "load_runtime", load_runtime)
    free_mib = [700.0]
    shared = GpuMemoryGuard(lambda: MemoryRoom(7620.0, free_mib[0]), shared=True)
    loader = ModelLoader(lambda _: None, SystemClock(), engines=tmp_path / "engines", guard=shared)
    for free in (700.0, 2000.0, 700.0, 200.0):
        free_mib[0] = free
        loader.load(tmp_path, manifest_of(model_bytes()))
    assert opened == [Provider.CPU, Provider.CUDA, Provider.CUDA, Provider.CPU]


def test_frames_are_prepared_on_the_cpu_too_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "available_providers", lambda: ("CUDAExecutionProvider",))
    spec = manifest_of(model_bytes()).preprocess
    for free_mib, on_gpu in ((800.0, False), (5000.0, True)):
        loader = ModelLoader(lambda _: None, SystemClock(), engines=tmp_path / "engines", guard=guard(free_mib))
        assert (loader.prepare_for(spec) is not None) is on_gpu


def test_an_engine_that_there_is_no_memory_for_is_not_a_failed_try_and_is_built_when_there_is(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines", max_bytes=1 << 20, max_tries=1)
    said: list[str] = []
    lack, ready = ["building its engine takes about 2000 MiB"], threading.Event()
    builds = EngineBuilds(
        cache,
        SystemClock(),
        said.append,
        within_s=60.0,
        command=lambda _model, _precision, folder: (
            sys.executable,
            str(BUILDER),
            "ok",
            str(folder),
            str(tmp_path / "pids"),
        ),
        why_not=lambda _model: lack[0],
    )
    try:
        builds.request(KEY, Path("model.onnx"), "fp16", lambda _folder: ready.set())
        wait = threading.Event()
        for _ in range(2000):
            if builds.states()[KEY].phase is BuildPhase.FAILED:
                break
            wait.wait(0.01)
        assert said == [f"TensorRT engine {KEY[:12]} is not built: {lack[0]}; the present session goes on serving"]
        assert cache.tries(KEY)[0] == 0 and not (tmp_path / "pids").exists()
        lack[0] = ""
        builds.request(KEY, Path("model.onnx"), "fp16", lambda _folder: ready.set())
        assert ready.wait(60.0)
    finally:
        builds.close()
