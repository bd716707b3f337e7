"""The CUDA kernels give contract.preprocess byte for byte: compiled here as C++ and run; compiled by nvcc where there is one.

No GPU is used: that the device's own machine code does the same is measured on a device (docs/GPU.md).
"""

from __future__ import annotations

import ctypes
import gc
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.runtime.cuda_preprocess import CudaPreprocess, open_cuda_preprocess
from agent.runtime.kernel_build import build_cubin, find_nvcc, kernel_source
from agent.runtime.triangle_filter import pillow_resizes_down_first, resize_integers, triangle_filter
from contract.errors import BadImage, BadModel
from contract.preprocess import PreprocessSpec, preprocess, resize
from tests.agent.runtime.host_driver import HostDriver, compile_for_host

_COMPILER = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
_SIZES = st.integers(1, 300)


def noise(seed: int, *shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@given(_SIZES, _SIZES, _SIZES, _SIZES, st.sampled_from([1, 3]), st.integers(0, 9))
@example(300, 300, 1, 1, 3, 0)
@example(1, 1, 300, 300, 3, 0)
@settings(max_examples=150, deadline=None)
def test_the_integer_tables_give_pillows_bytes(
    h: int, w: int, height: int, width: int, channels: int, seed: int
) -> None:
    pixels = noise(seed, h, w, 3) if channels == 3 else noise(seed, h, w)
    down_first = pillow_resizes_down_first(h, w, height, width)
    assert down_first is not None, "this Pillow resizes in an order or by a rounding that the tables do not know"
    np.testing.assert_array_equal(
        resize_integers(pixels, height, width, down_first=down_first), resize(pixels, height, width)
    )


def test_the_integer_tables_give_pillows_bytes_at_camera_sizes() -> None:
    for (h, w), side in (((1080, 1920), 224), ((1200, 1600), 96)):
        pixels = noise(1, h, w, 3)
        down_first = pillow_resizes_down_first(h, w, side, side)
        assert down_first is not None
        got = resize_integers(pixels, side, side, down_first=down_first)
        np.testing.assert_array_equal(got, resize(pixels, side, side))


@given(_SIZES, _SIZES)
@settings(max_examples=100, deadline=None)
def test_a_filter_reads_only_its_image_and_cannot_overflow(in_size: int, out_size: int) -> None:
    table = triangle_filter(in_size, out_size)
    assert np.all(table.starts >= 0) and np.all(table.counts >= 1)
    assert np.all(table.starts + table.counts <= in_size)
    assert np.all(table.counts <= table.weights.shape[1])
    assert np.all(table.weights.astype(np.int64).sum(axis=1) * 255 + (1 << 21) < 2**31)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if _COMPILER is None:
        pytest.skip("NO C++ COMPILER (g++): the CUDA kernels were not run")
    return compile_for_host(kernel_source(), tmp_path_factory.mktemp("kernels"), _COMPILER)


Make = Callable[..., tuple[CudaPreprocess, HostDriver]]


@pytest.fixture
def make(library: ctypes.CDLL) -> Make:
    def build(spec: PreprocessSpec, *, integrated: bool = False) -> tuple[CudaPreprocess, HostDriver]:
        driver = HostDriver(library, integrated=integrated)
        return CudaPreprocess(spec, Path("preprocess.cubin"), driver=driver), driver

    return build


@st.composite
def _cases(draw: st.DrawFn) -> tuple[PreprocessSpec, np.ndarray[Any, np.dtype[np.uint8]]]:
    channels = draw(st.sampled_from([1, 3]))
    h, w, height, width = (draw(st.integers(1, 120)) for _ in range(4))
    if draw(st.integers(0, 3)) == 0:
        height, width = draw(st.sampled_from([(h, w), (h, width), (height, w)]))
    floats = st.floats(-3, 3, width=32)
    spec = PreprocessSpec(
        height,
        width,
        channels,
        mean=tuple(draw(floats) for _ in range(channels)),
        std=tuple(draw(st.floats(0.015625, 4, width=32)) for _ in range(channels)),
        layout=draw(st.sampled_from(["NCHW", "NHWC"])),
        dtype=draw(st.sampled_from(["float32", "float32", "uint8"])),
    )
    shape = draw(st.sampled_from([(h, w), (h, w, 1), (h, w, 3)]))
    return spec, noise(draw(st.integers(0, 9)), *shape)


@given(_cases(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_the_kernels_run_on_the_host_give_contract_preprocess_bit_for_bit(
    library: ctypes.CDLL, case: tuple[PreprocessSpec, np.ndarray[Any, np.dtype[np.uint8]]], integrated: bool
) -> None:
    spec, pixels = case
    driver = HostDriver(library, integrated=integrated)
    cuda = CudaPreprocess(spec, Path("preprocess.cubin"), driver=driver)
    wanted = preprocess(pixels, spec)
    got = cuda(pixels)
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    assert got.tobytes() == wanted.tobytes()
    cuda.close()
    assert (driver.live_bytes, driver.torn, driver.freed_outside, driver.pushed()) == (0, 0, 0, 0)


SPEC = PreprocessSpec(24, 16, 1, mean=(0.45,), std=(0.2,))


def test_two_cameras_share_one_retained_context(library: ctypes.CDLL) -> None:
    driver = HostDriver(library, integrated=True)
    first = CudaPreprocess(SPEC, Path("preprocess.cubin"), driver=driver)
    second = CudaPreprocess(SPEC, Path("preprocess.cubin"), driver=driver)
    assert driver.contexts == 1
    first.close()
    pixels = noise(1, 40, 30, 3)
    np.testing.assert_array_equal(second(pixels), preprocess(pixels, SPEC))


def test_frames_of_one_shape_reuse_their_buffers_and_another_shape_replaces_them(make: Make) -> None:
    cuda, driver = make(SPEC)
    first = cuda(noise(1, 40, 30, 3))
    held = driver.live_bytes
    for seed in range(2, 6):
        cuda(noise(seed, 40, 30, 3))
        assert driver.live_bytes == held
    np.testing.assert_array_equal(first, preprocess(noise(1, 40, 30, 3), SPEC))  # an answer outlives later frames
    for _ in range(20):
        cuda(noise(1, 60, 50, 3))
        cuda(noise(1, 40, 30, 3))
    gc.collect()
    assert driver.live_bytes == held
    cuda.close()
    cuda.close()
    with pytest.raises(BadModel, match="closed"):
        cuda(noise(1, 40, 30))


def test_a_non_contiguous_frame_is_prepared_too(make: Make) -> None:
    cuda, _ = make(SPEC)
    pixels = noise(3, 80, 60, 3)[::2, ::-1]
    np.testing.assert_array_equal(cuda(pixels), preprocess(pixels, SPEC))


def test_the_context_is_pushed_and_popped_on_whichever_thread_calls(make: Make) -> None:
    cuda, driver = make(SPEC)
    assert driver.pushed() == 0
    depths: list[int] = []

    def call() -> None:
        cuda(noise(1, 40, 30))
        depths.append(driver.pushed())

    for _ in range(3):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert depths == [0, 0, 0]


@pytest.mark.parametrize(
    "call", ["mem_alloc", "memcpy_htod", "launch", "synchronize", "memcpy_dtoh_async", "pagelocked_empty"]
)
def test_a_cuda_failure_is_bad_model_leaves_no_context_and_the_next_call_works(make: Make, call: str) -> None:
    cuda, driver = make(SPEC)
    driver.fail = call
    with pytest.raises(BadModel, match=call):
        cuda(noise(1, 40, 30, 3))
    assert driver.pushed() == 0
    assert driver.freed_outside == 0  # pycuda cannot free there from another thread, and the memory would be lost
    driver.fail = ""
    np.testing.assert_array_equal(cuda(noise(1, 40, 30, 3)), preprocess(noise(1, 40, 30, 3), SPEC))


def test_an_image_it_cannot_take_is_refused_as_contract_preprocess_does(make: Make) -> None:
    cuda, _ = make(SPEC)
    for bad in (np.zeros((4, 4), np.uint16), np.zeros((0, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(BadImage):
            cuda(bad)
        with pytest.raises(BadImage):
            preprocess(bad, SPEC)


def test_without_a_gpu_opening_says_what_is_missing(tmp_path: Path) -> None:
    try:
        open_cuda_preprocess(SPEC, tmp_path).close()
    except BadModel as error:
        assert error.one_line()
    else:
        pytest.skip("this machine has a GPU")


@pytest.mark.parametrize("arch", ["sm_87", "sm_90", "sm_110"])
def test_nvcc_compiles_the_kernels(tmp_path: Path, arch: str) -> None:
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("NO NVCC ON THIS MACHINE: the CUDA kernels were not compiled for a GPU")
    cubin = build_cubin(tmp_path, arch, nvcc)
    content = cubin.read_bytes()
    assert content[:4] == b"\x7fELF"
    for name in (b"luma", b"resize_across", b"resize_down", b"to_float", b"to_bytes"):
        assert name in content
    before = cubin.stat().st_mtime_ns
    assert build_cubin(tmp_path, arch, nvcc) == cubin
    assert cubin.stat().st_mtime_ns == before
    assert [entry.name for entry in tmp_path.iterdir()] == [cubin.name]


def test_an_architecture_nvcc_does_not_know_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("NO NVCC ON THIS MACHINE")
    with pytest.raises(BadModel, match="sm_9999"):
        build_cubin(tmp_path, "sm_9999", nvcc)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadModel, match="no nvcc"):
        build_cubin(tmp_path, "sm_87", None)
