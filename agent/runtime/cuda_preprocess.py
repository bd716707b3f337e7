"""contract.preprocess on a GPU, byte for byte: pycuda, the primary context, buffers made once."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.runtime.kernel_build import build_cubin, find_nvcc
from agent.runtime.triangle_filter import TriangleFilter, pillow_resizes_down_first, triangle_filter
from contract.errors import BadImage, BadModel
from contract.preprocess import PreprocessSpec

_BLOCK = 256
_MAX_ELEMENTS = 1 << 30  # of one kernel; a grid's first axis holds 2**31 - 1 blocks of 256


def open_cuda_preprocess(spec: PreprocessSpec, kernels: Path) -> CudaPreprocess:
    """Return preprocessing on this machine's first GPU; compiled kernels are kept in the folder `kernels`.

    Raises:
        BadModel: there is no pycuda, no GPU or no compiler; the message says which.
    """
    try:
        import pycuda.driver as driver  # never pycuda.autoinit: its context belongs to the importing thread alone
    except ImportError as error:
        raise BadModel(f"no pycuda: {error}", hint="pip install 'plumbline-edge[jetson]'") from error
    try:
        driver.init()
        if driver.Device.count() == 0:
            raise BadModel("there is no CUDA device")
        device = driver.Device(0)
        major, minor = device.compute_capability()
    except driver.Error as error:
        raise BadModel(f"CUDA does not start: {error}", hint="check the NVIDIA driver") from error
    return CudaPreprocess(spec, build_cubin(kernels, f"sm_{major}{minor}", find_nvcc()), driver=driver)


class CudaPreprocess:
    """Preprocessing of one spec. Any thread may call it, one at a time: the context is pushed and popped in every call."""

    def __init__(self, spec: PreprocessSpec, cubin: Path, *, driver: Any) -> None:
        """Load the kernels in `cubin`. `driver` is `pycuda.driver`, initialised.

        Raises:
            BadModel: CUDA refused.
        """
        self._spec = spec
        self._driver = driver
        self._plan: _Plan | None = None
        std = np.asarray(spec.std or (1.0,), np.float32)
        # As in contract.preprocess: one multiply and one subtraction, in float32.
        scale, shift = np.float32(1 / 255) / std, np.asarray(spec.mean or (0.0,), np.float32) / std
        try:
            device = driver.Device(0)
            self.device = str(device.name())
            # On a Jetson the GPU reads the camera's memory itself; across PCIe one copy is faster than many small reads.
            self._shares_memory = bool(device.get_attribute(driver.device_attribute.INTEGRATED))
            self._context: Any = _primary_context(driver)
        except driver.Error as error:
            raise BadModel(f"CUDA does not start: {error}", hint="check the NVIDIA driver") from error
        with self._pushed(), self._failing("CUDA does not start"):
            module = driver.module_from_file(str(cubin))
            self._module = module
            self._kernels = {
                name: module.get_function(name)
                for name in ("luma", "resize_across", "resize_down", "to_float", "to_bytes")
            }
            self._stream = driver.Stream()
            self._scale, self._shift = self._upload(scale), self._upload(shift)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return what `contract.preprocess.preprocess(pixels, spec)` returns.

        Raises:
            BadImage: the pixels have another dtype or shape.
            BadModel: CUDA failed, or this Pillow resizes otherwise than the kernels do.
        """
        if self._context is None:
            raise BadModel("CUDA preprocessing is closed")
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.size == 0:
            raise BadImage(f"pixels must be u8[H,W] or u8[H,W,C], not {pixels.dtype}{list(pixels.shape)}")
        if pixels.ndim == 3 and pixels.shape[2] not in (1, 3):
            raise BadImage(f"pixels have {pixels.shape[2]} channels", hint="convert to grey or RGB")
        shape = (pixels.shape[0], pixels.shape[1], pixels.shape[2] if pixels.ndim == 3 else 1)
        with self._pushed(), self._failing("CUDA preprocessing failed"):
            plan = self._plan
            if plan is None or plan.shape != shape:
                self._plan = None  # the old buffers go first: there may be no room for both
                plan = self._plan = self._make_plan(shape)
            return self._run(plan, pixels.reshape(shape))

    def close(self) -> None:
        """Free the device's memory."""
        if self._context is None:
            return
        with self._pushed():
            # pycuda frees what is no longer named, and must do so inside the context.
            self._plan = None
            self._kernels = {}
            self._module = self._scale = self._shift = self._stream = None
        self._context = None

    @contextmanager
    def _pushed(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        why = ""
        try:
            yield
        except self._driver.Error as error:
            why = f"{what}: {error}"
            # The traceback holds buffers; pycuda can free them only inside the context, so it ends here and not at the caller.
            traceback.clear_frames(error.__traceback__)
        if why:
            raise BadModel(why, hint="check the NVIDIA driver; the CPU serves")

    def _run(self, plan: _Plan, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        np.copyto(plan.host_in, pixels)
        if not self._shares_memory:
            self._driver.memcpy_htod_async(plan.pixels, plan.host_in, self._stream)
        for step in plan.steps:
            self._kernels[step.kernel](
                *step.arguments,
                block=(_BLOCK, 1, 1),
                grid=((step.elements + _BLOCK - 1) // _BLOCK, 1),
                stream=self._stream,
            )
        if not self._shares_memory:
            self._driver.memcpy_dtoh_async(plan.host_out, plan.tensor, self._stream)
        self._stream.synchronize()
        # A copy: the next frame may be prepared while this one is still being inferred.
        return plan.host_out.copy()

    def _make_plan(self, shape: tuple[int, int, int]) -> _Plan:
        spec, driver = self._spec, self._driver
        in_height, in_width, channels = shape
        down_first = pillow_resizes_down_first(in_height, in_width, spec.height, spec.width)
        if down_first is None:
            raise BadModel("the installed Pillow resizes otherwise than the CUDA kernels do", hint="the CPU serves")
        if max(in_height, spec.height) * max(in_width, spec.width) * 3 > _MAX_ELEMENTS:
            raise BadModel(f"an image of {in_width}x{in_height} is too large for the CUDA kernels")
        planar = spec.layout == "NCHW"
        out = (spec.channels, spec.height, spec.width) if planar else (spec.height, spec.width, spec.channels)
        flags = driver.host_alloc_flags.DEVICEMAP
        host_in = driver.pagelocked_empty(shape, np.uint8, mem_flags=flags)
        host_out = driver.pagelocked_empty((1, *out), np.dtype(spec.dtype), mem_flags=flags)
        if self._shares_memory:
            pixels = np.intp(host_in.base.get_device_pointer())
            tensor = np.intp(host_out.base.get_device_pointer())
        else:
            pixels, tensor = driver.mem_alloc(host_in.nbytes), driver.mem_alloc(host_out.nbytes)
        steps: list[_Step] = []
        current, owned = pixels, [pixels, tensor]
        if channels == 3 and spec.channels == 1:
            grey = driver.mem_alloc(in_height * in_width)
            steps.append(_Step("luma", (current, grey, np.int32(in_height * in_width)), in_height * in_width))
            owned.append(grey)
            current, channels = grey, 1
        height, width = in_height, in_width
        for vertical in (down_first, not down_first):
            wanted = spec.height if vertical else spec.width
            if wanted == (height if vertical else width):
                continue
            filter_ = triangle_filter(height if vertical else width, wanted)
            tables = self._tables(filter_)
            source_width = width
            height, width = (wanted, width) if vertical else (height, wanted)
            count = height * width * channels
            target = driver.mem_alloc(count)
            taps = np.int32(filter_.weights.shape[1])
            if vertical:
                sizes: tuple[Any, ...] = (np.int32(height), np.int32(width * channels))
            else:
                sizes = (np.int32(height), np.int32(source_width), np.int32(width), np.int32(channels))
            kernel = "resize_down" if vertical else "resize_across"
            steps.append(_Step(kernel, (current, target, *sizes, *tables, taps), count))
            owned += [target, *tables]
            current = target
        counts = (np.int32(height * width), np.int32(channels), np.int32(spec.channels), np.int32(planar))
        elements = height * width * spec.channels
        if spec.dtype == "uint8":
            steps.append(_Step("to_bytes", (current, tensor, *counts), elements))
        else:
            steps.append(_Step("to_float", (current, tensor, *counts, self._scale, self._shift), elements))
        return _Plan(shape, host_in, host_out, pixels, tensor, tuple(steps), tuple(owned))

    def _tables(self, filter_: TriangleFilter) -> tuple[Any, Any, Any]:
        return self._upload(filter_.starts), self._upload(filter_.counts), self._upload(filter_.weights)

    def _upload(self, values: NDArray[Any]) -> Any:
        memory = self._driver.mem_alloc(values.nbytes)
        self._driver.memcpy_htod(memory, np.ascontiguousarray(values))
        return memory


@cache
def _primary_context(driver: Any) -> Any:
    """Return the context that ONNX Runtime uses too (a second one would cost memory and time slices), retained once a process.

    It is never let go of: pycuda's `detach` of a primary context leaves it pushed on the thread (cuda.hpp: "pop is implicit in
    detach", which is so for other contexts only).
    """
    return driver.Device(0).retain_primary_context()


@dataclass(frozen=True, slots=True)
class _Step:
    kernel: str
    arguments: tuple[Any, ...]
    elements: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything for frames of one shape; `owned` keeps the device's memory alive."""

    shape: tuple[int, int, int]
    host_in: NDArray[np.uint8]
    host_out: NDArray[Any]
    pixels: Any
    tensor: Any
    steps: tuple[_Step, ...]
    owned: tuple[Any, ...]
