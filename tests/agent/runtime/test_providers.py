"""Providers are chosen by what is there and what the artefact allows; one that fails gives way to the CPU, in words."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.runtime.load import ModelLoader, load_runtime
from agent.runtime.onnx import OnnxRuntime
from agent.runtime.providers import WANTED, Provider, choose_provider, open_session
from contract.errors import BadModel
from contract.manifest import Artefact, OutputKind, RuntimeKind
from tests.tiny_bundle import LABELS, SPEC, manifest_of, model_bytes

ALL = [provider.value for provider in Provider]


def artefact(precision: str) -> Artefact:
    return Artefact("model.onnx", RuntimeKind.ONNX, precision, OutputKind.LOGITS)


@pytest.mark.parametrize(
    ("wanted", "available", "precision", "provider", "meanwhile", "words"),
    [
        ("auto", ALL, "fp32", Provider.TENSORRT, Provider.CUDA, ""),
        ("auto", ALL, "int8", Provider.CPU, Provider.CPU, ""),
        ("auto", ALL, "int8-symmetric", Provider.TENSORRT, Provider.CPU, ""),
        ("auto", [Provider.CUDA.value, Provider.CPU.value], "fp16", Provider.CUDA, Provider.CUDA, ""),
        ("auto", [Provider.CPU.value], "fp32", Provider.CPU, Provider.CPU, ""),
        ("cpu", ALL, "fp32", Provider.CPU, Provider.CPU, ""),
        ("cuda", ALL, "fp32", Provider.CUDA, Provider.CUDA, ""),
        ("cuda", [Provider.CPU.value], "fp32", Provider.CPU, Provider.CPU, "has no CUDAExecutionProvider"),
        ("cuda", ALL, "int8", Provider.CPU, Provider.CPU, "cuda does not run int8"),
        ("tensorrt", [Provider.CUDA.value], "fp32", Provider.CUDA, Provider.CUDA, "has no TensorrtExecutionProvider"),
    ],
)
def test_the_fastest_provider_that_is_there_and_allowed_is_chosen(
    wanted: str, available: list[str], precision: str, provider: Provider, meanwhile: Provider, words: str
) -> None:
    choice = choose_provider(wanted, available, artefact(precision))
    assert (choice.provider, choice.meanwhile) == (provider, meanwhile)
    assert words in choice.why and bool(words) == bool(choice.why)


@given(st.sampled_from(WANTED), st.sets(st.sampled_from([*ALL, "Other"])), st.text(max_size=8))
def test_there_is_always_a_provider_that_serves_at_once(wanted: str, available: set[str], precision: str) -> None:
    choice = choose_provider(wanted, available, artefact(precision))
    assert choice.meanwhile is not Provider.TENSORRT
    for used in (choice.provider, choice.meanwhile):
        assert used is Provider.CPU or used.value in available


def write(folder: Path, model: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model)
    return path


def test_a_provider_that_does_not_start_gives_way_to_the_cpu_and_says_why(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def make(path: str, options: Any, *, providers: list[tuple[str, dict[str, str]]], enable_fallback: int) -> Any:
        asked.append([name for name, _ in providers])
        assert enable_fallback == 0
        if providers[0][0] != Provider.CPU.value:
            raise RuntimeError("CUDA failure 100:\n no CUDA-capable device")
        return onnxruntime.InferenceSession(path, options, providers=providers)

    opened = open_session(write(tmp_path, model_bytes()), Provider.CUDA, threads=1, make=make)
    assert opened.provider is Provider.CPU
    assert opened.why == "CUDAExecutionProvider does not start: CUDA failure 100: no CUDA-capable device"
    assert asked == [[Provider.CUDA.value, Provider.CPU.value], [Provider.CPU.value]]


def test_a_provider_that_onnx_runtime_drops_silently_is_noticed(tmp_path: Path) -> None:
    def make(path: str, options: Any, **_: Any) -> Any:
        return onnxruntime.InferenceSession(path, options, providers=[Provider.CPU.value])

    opened = open_session(write(tmp_path, model_bytes()), Provider.TENSORRT, threads=1, make=make)
    assert opened.provider is Provider.CPU
    assert "left out" in opened.why


def test_a_provider_asked_for_and_not_there_is_said_and_the_model_serves(tmp_path: Path) -> None:
    if Provider.CUDA.value in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    model = model_bytes()
    write(tmp_path, model)
    said: list[str] = []
    loader = ModelLoader(said.append, SystemClock(), provider="cuda", engines=tmp_path / "engines")
    runtime, _ = loader.load(tmp_path, manifest_of(model))
    assert runtime.run(np.full((1, 1, 8, 8), 0.75, np.float32)).shape == (2,)
    assert len(said) == 1 and "has no CUDAExecutionProvider" in said[0]
    runtime.close()
    loader.close()
    assert not (tmp_path / "engines").exists()


def test_bound_buffers_answer_as_unbound_runs_do_and_answers_do_not_change_later(tmp_path: Path) -> None:
    path = write(tmp_path, model_bytes())
    runtime = OnnxRuntime(path, SPEC, len(LABELS))
    plain = onnxruntime.InferenceSession(str(path), providers=[Provider.CPU.value])
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(50):
        tensor = rng.random((1, 1, 8, 8), np.float32)
        wanted = plain.run(None, {"image": tensor})[0].reshape(-1)
        kept.append((runtime.run(tensor), wanted))
    for got, wanted in kept:
        np.testing.assert_array_equal(got, wanted)
    strided = np.asfortranarray(rng.random((1, 1, 16, 8), np.float32))[:, :, ::2, :]
    np.testing.assert_array_equal(runtime.run(strided), plain.run(None, {"image": strided})[0].reshape(-1))
    with pytest.raises(BadModel):
        runtime.run(np.zeros((1, 1, 8, 4), np.float32))
    runtime.run(tensor)


def test_a_session_has_its_pinned_threads_and_does_not_spin(tmp_path: Path) -> None:
    given: list[Any] = []

    def make(path: str, options: Any, **_: Any) -> Any:
        given.append(options)
        return onnxruntime.InferenceSession(path, options, providers=[Provider.CPU.value])

    open_session(write(tmp_path, model_bytes()), Provider.CPU, threads=2, make=make)
    assert (given[0].intra_op_num_threads, given[0].inter_op_num_threads) == (2, 1)
    assert given[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_memory_threads_and_descriptors_return_after_200_reloads_failed_ones_included(tmp_path: Path) -> None:
    model = model_bytes()
    manifest = manifest_of(model)
    folders = {}
    for name, content in (("good", model), ("labels", model_bytes(outputs=5)), ("torn", b"no model" * 1000)):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        write(folders[name], content)
    wrong_type = msgspec.structs.replace(manifest, preprocess=msgspec.structs.replace(SPEC, dtype="uint8"))
    tensor = np.zeros((1, 1, 8, 8), np.float32)

    def reload() -> None:
        runtime = load_runtime(folders["good"], manifest, manifest.artefacts[0])
        runtime.run(tensor)
        runtime.close()
        for folder, said in (("labels", manifest), ("torn", manifest), ("good", wrong_type)):
            with pytest.raises(BadModel):
                load_runtime(folders[folder], said, manifest.artefacts[0])

    process = psutil.Process()
    for _ in range(50):  # allocators and caches fill up first
        reload()
    gc.collect()
    rss, threads, descriptors = process.memory_info().rss, process.num_threads(), process.num_fds()
    for _ in range(200):
        reload()
    gc.collect()
    # A leaked session of even this tiny model is about 100 KiB: 200 would be 20 MiB. The allocator's own noise is under 2.
    assert process.memory_info().rss - rss < 4 << 20
    assert process.num_threads() <= threads
    assert process.num_fds() <= descriptors
