"""Where there is a GPU and pycuda: the kernels themselves, against contract.preprocess. Skipped, and said, elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent.clock import SystemClock
from agent.runtime.cuda_preprocess import CudaPreprocess, open_cuda_preprocess
from agent.runtime.preprocess_choice import bench_preprocess
from contract.errors import BadModel
from contract.preprocess import PreprocessSpec, preprocess

CASES = [
    ((1080, 1920, 3), PreprocessSpec(224, 224, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
    ((1200, 1600), PreprocessSpec(96, 96, 1, (0.5,), (0.25,))),
    ((200, 200, 3), PreprocessSpec(96, 96, 1, (0.5,), (0.25,))),
    ((64, 48, 3), PreprocessSpec(100, 30, 3, (0.0,) * 3, (1.0,) * 3, layout="NHWC", dtype="uint8")),
    ((96, 96), PreprocessSpec(96, 96, 3, (0.5,) * 3, (0.25,) * 3)),
]
Opened = Callable[[PreprocessSpec], CudaPreprocess]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    def open_or_skip(spec: PreprocessSpec) -> CudaPreprocess:
        try:
            return open_cuda_preprocess(spec, tmp_path)
        except BadModel as error:
            pytest.skip(f"NO GPU HERE, the kernels were not run on one: {error.one_line()}")

    return open_or_skip


@pytest.mark.parametrize(("shape", "spec"), CASES)
def test_the_gpu_gives_contract_preprocess_bit_for_bit(
    opened: Opened, shape: tuple[int, ...], spec: PreprocessSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    cuda = opened(spec)
    rng = np.random.default_rng(0)
    for _ in range(3):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        assert cuda(pixels).tobytes() == preprocess(pixels, spec).tobytes()
    bench = bench_preprocess(cuda, spec, pixels, SystemClock())
    with capsys.disabled():
        print(f"\n{cuda.device} {shape} -> {spec.height}x{spec.width}: {bench}, pays: {bench.pays()}")
    cuda.close()


def test_the_gpu_serves_any_thread(opened: Opened) -> None:
    shape, spec = CASES[2]
    cuda = opened(spec)
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    answers: list[bytes] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: answers.append(cuda(pixels).tobytes()))
        thread.start()
        thread.join()
    assert answers == [preprocess(pixels, spec).tobytes()] * 3
    cuda.close()
