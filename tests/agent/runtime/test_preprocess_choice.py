"""The GPU prepares frames only where a bench on this device said that it is right and clearly faster."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.runtime.preparing import MeasuredPreprocess
from agent.runtime.preprocess_choice import (
    ChoiceFile,
    ChosenPreprocess,
    PreprocessBench,
    bench_preprocess,
    choose_preprocess,
)
from contract.errors import BadImage, BadModel
from contract.preprocess import PreprocessSpec, preprocess
from tests.fakes.agent_clock import HandClock

SPEC = PreprocessSpec(8, 8, 1, mean=(0.5,), std=(0.25,))
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)


class Ticking(HandClock):
    """Every look costs `look_us`; the GPU adds its own time."""

    def __init__(self, look_us: float = 50.0) -> None:
        super().__init__()
        self._look_us = look_us

    def monotonic(self) -> float:
        self.mono += self._look_us * 1e-6
        return self.mono


class Gpu:
    """Answers rightly, `off_by` u8 steps wrongly, or fails."""

    device = "Orin"

    def __init__(self, clock: Ticking, *, saves_us: float = 0.0, off_by: float = 0.0, fails: str = "") -> None:
        self._clock = clock
        self._saves_us = saves_us
        self._off_by = off_by
        self.fails = fails
        self.calls = 0
        self.closed = 0

    def __call__(self, pixels: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        self.calls += 1
        if self.fails:
            raise BadModel(self.fails)
        self._clock.mono -= self._saves_us * 1e-6
        return np.asarray(preprocess(pixels, SPEC) + np.float32(self._off_by / 255 / 0.25), np.float32)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    ("saves_us", "off_by", "used"),
    [(30.0, 0.0, True), (30.0, 1.0, True), (30.0, 2.0, False), (5.0, 0.0, False), (-100.0, 0.0, False)],
)
def test_the_gpu_is_used_only_when_right_and_clearly_faster(
    tmp_path: Path, saves_us: float, off_by: float, used: bool
) -> None:
    clock, said = Ticking(), list[str]()
    gpu = Gpu(clock, saves_us=saves_us, off_by=off_by)
    chosen = choose_preprocess(SPEC, lambda: gpu, ChoiceFile(tmp_path / "c.json"), PIXELS, clock, said.append)
    assert gpu.closed == (0 if used else 1)
    before = gpu.calls
    chosen(PIXELS)
    assert gpu.calls == before + used
    assert len(said) == 1 and "us" in said[0]


def test_a_bench_is_made_once_a_device_spec_and_shape(tmp_path: Path) -> None:
    clock, choices = Ticking(), ChoiceFile(tmp_path / "home" / "c.json")
    gpu = Gpu(clock, saves_us=30.0)

    def choose(spec: PreprocessSpec = SPEC, pixels: Any = PIXELS) -> int:
        before = gpu.calls
        choose_preprocess(spec, lambda: gpu, choices, pixels, clock, lambda _: None)
        return gpu.calls - before

    assert choose() > 1
    assert choose() == 0
    assert choose(pixels=PIXELS[:10]) > 1
    assert choose() == 0
    gpu.device = "another"
    assert choose() > 1
    (tmp_path / "home" / "c.json").write_bytes(b"\xff torn")
    assert choose() > 1


def test_no_gpu_is_said_and_the_cpu_serves(tmp_path: Path) -> None:
    said: list[str] = []

    def none() -> Gpu:
        raise BadModel("no pycuda")

    chosen = choose_preprocess(SPEC, none, ChoiceFile(tmp_path / "c"), PIXELS, Ticking(), said.append)
    np.testing.assert_array_equal(chosen(PIXELS), preprocess(PIXELS, SPEC))
    assert said == ["preprocessing on the CPU: no pycuda"]
    failing = Gpu(Ticking(), fails="out of memory")
    choose_preprocess(SPEC, lambda: failing, ChoiceFile(tmp_path / "c"), PIXELS, Ticking(), said.append)
    assert failing.closed == 1 and "out of memory" in said[1]


def test_a_gpu_that_fails_is_closed_said_and_never_asked_again() -> None:
    gpu, said = Gpu(Ticking()), list[str]()
    chosen = ChosenPreprocess(SPEC, gpu, said.append)
    chosen(PIXELS)
    gpu.fails = "launch failed"
    for _ in range(3):
        np.testing.assert_array_equal(chosen(PIXELS), preprocess(PIXELS, SPEC))
    assert (gpu.calls, gpu.closed, len(said)) == (2, 1, 1)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_difference_is_counted_in_steps_of_each_channel(layout: str) -> None:
    spec = PreprocessSpec(6, 6, 3, mean=(0.4, 0.5, 0.6), std=(0.1, 0.5, 2.0), layout=layout)

    class Off(Gpu):
        def __call__(self, pixels: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            off = preprocess(pixels, spec).copy()
            channel = off[:, 2] if layout == "NCHW" else off[..., 2]
            channel += np.float32(3 / 255 / 2.0)
            return off

    bench = bench_preprocess(Off(Ticking()), spec, np.zeros((9, 9, 3), np.uint8), Ticking(), repeats=2)
    assert bench.worst_step == pytest.approx(3.0, abs=0.01)
    assert not bench.pays()


def test_a_bench_survives_its_file(tmp_path: Path) -> None:
    choices, bench = ChoiceFile(tmp_path / "c"), PreprocessBench(100.0, 20.0, 0.0)
    choices.put("Orin", SPEC, (2, 3), bench)
    assert choices.get("Orin", SPEC, (2, 3)) == bench
    assert choices.get("Orin", msgspec.structs.replace(SPEC, mean=(0.4,)), (2, 3)) is None


def test_the_line_is_served_from_the_first_frame_while_the_gpu_is_measured_beside_it() -> None:
    clock, measured = Ticking(), threading.Event()
    gpu = Gpu(clock)

    def choose(pixels: NDArray[np.uint8]) -> ChosenPreprocess:
        assert measured.wait(60)
        return ChosenPreprocess(SPEC, gpu, said.append)

    said: list[str] = []
    prepare = MeasuredPreprocess(SPEC, choose, said.append)
    assert np.array_equal(prepare(PIXELS), preprocess(PIXELS, SPEC))
    assert np.array_equal(prepare(PIXELS), preprocess(PIXELS, SPEC))
    assert gpu.calls == 0
    measured.set()
    assert prepare.settle(20)
    assert np.array_equal(prepare(PIXELS), preprocess(PIXELS, SPEC))
    assert gpu.calls == 1
    prepare.close()
    assert gpu.closed == 1


def test_a_gpu_that_breaks_in_another_way_leaves_the_cpu_and_says_so() -> None:
    def choose(pixels: NDArray[np.uint8]) -> ChosenPreprocess:
        raise OSError("libcuda.so.1: cannot open shared object file")

    said: list[str] = []
    prepare = MeasuredPreprocess(SPEC, choose, said.append)
    prepare(PIXELS)
    assert prepare.settle(20)
    assert np.array_equal(prepare(PIXELS), preprocess(PIXELS, SPEC))
    assert "libcuda" in said[0]


def test_a_model_closed_while_the_gpu_is_measured_frees_it() -> None:
    clock, measured = Ticking(), threading.Event()
    gpu = Gpu(clock)

    def choose(pixels: NDArray[np.uint8]) -> ChosenPreprocess:
        assert measured.wait(60)
        return ChosenPreprocess(SPEC, gpu, lambda _text: None)

    prepare = MeasuredPreprocess(SPEC, choose, lambda _text: None)
    prepare(PIXELS)
    prepare.close()
    measured.set()
    prepare.settle(20)
    assert gpu.closed == 1


def test_a_frame_that_cannot_be_prepared_starts_no_measuring() -> None:
    prepare = MeasuredPreprocess(SPEC, lambda _pixels: pytest.fail("measured"), lambda _text: None)
    with pytest.raises(BadImage):
        prepare(np.zeros((2, 2, 4), np.uint8))
    assert not prepare.settle(0.0)
