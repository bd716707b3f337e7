"""Preprocessing on the GPU only where it was measured, on this device, to pay; on the CPU everywhere else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.ports.clock import Clock
from contract.errors import BadModel
from contract.preprocess import PreprocessSpec, preprocess

# The GPU must win clearly: it is also wanted for the model, and a draw is not worth its memory.
WORTH_IT = 0.8


class GpuPreprocess(Protocol):
    """CudaPreprocess, or what stands for it."""

    device: str

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return what contract.preprocess returns."""

    def close(self) -> None:
        """Free the device's memory."""


class PreprocessBench(msgspec.Struct, frozen=True):
    """Median microseconds a frame on each, and the largest difference in steps of the u8 stage."""

    cpu_us: float
    gpu_us: float
    worst_step: float

    def pays(self) -> bool:
        """Return whether the GPU is to be used: right, and clearly faster."""
        return self.worst_step <= 1.0 and self.gpu_us < WORTH_IT * self.cpu_us


def bench_preprocess(
    gpu: GpuPreprocess, spec: PreprocessSpec, pixels: NDArray[np.uint8], clock: Clock, *, repeats: int = 30
) -> PreprocessBench:
    """Time both on `pixels`, one after the other and in turns, and compare what they give.

    Raises:
        BadModel: the GPU failed.
    """
    wanted, given = preprocess(pixels, spec), gpu(pixels)
    if wanted.shape != given.shape or wanted.dtype != given.dtype:
        raise BadModel(f"the GPU gives {given.dtype}{list(given.shape)}, not {wanted.dtype}{list(wanted.shape)}")
    difference = np.abs(wanted.astype(np.float64) - given.astype(np.float64))
    if spec.dtype == "float32":
        std = np.asarray(spec.std, np.float64)
        axes = (1, 1, 1, -1) if spec.layout == "NHWC" else (1, -1, 1, 1)
        # A channel's step: what one u8 level is worth after (value / 255 - mean) / std. The rest is float32 rounding.
        difference = np.maximum(difference * (255.0 * std.reshape(axes)) - 1e-3, 0.0)
    cpu_s, gpu_s = [], []
    for _ in range(repeats):
        cpu_s.append(_time(lambda: preprocess(pixels, spec), clock))
        gpu_s.append(_time(lambda: gpu(pixels), clock))
    return PreprocessBench(median(cpu_s) * 1e6, median(gpu_s) * 1e6, float(difference.max()))


class ChoiceFile:
    """What was measured on this station, by device, spec and frame shape; a file that cannot be read is measured again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, device: str, spec: PreprocessSpec, shape: tuple[int, ...]) -> PreprocessBench | None:
        """Return the bench kept for this device, spec and shape; None when there is none."""
        return self._read().get(_name(device, spec, shape))

    def put(self, device: str, spec: PreprocessSpec, shape: tuple[int, ...], bench: PreprocessBench) -> None:
        """Keep a bench.

        Raises:
            OSError: the disk refused.
        """
        kept = self._read() | {_name(device, spec, shape): bench}
        temporary = self._path.with_name(self._path.name + ".tmp")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(kept))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def _read(self) -> dict[str, PreprocessBench]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, PreprocessBench])
        except (OSError, msgspec.DecodeError, ValueError):
            return {}


class ChosenPreprocess:
    """contract.preprocess, on the GPU when `gpu` is given; a GPU that fails is closed, said, and never asked again."""

    def __init__(self, spec: PreprocessSpec, gpu: GpuPreprocess | None, say: Callable[[str], None]) -> None:
        self._spec = spec
        self._gpu = gpu
        self._say = say

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the model's input for one image.

        Raises:
            BadImage: the pixels have another dtype or shape.
        """
        if self._gpu is not None:
            try:
                return self._gpu(pixels)
            except BadModel as error:
                self._say(f"preprocessing goes back to the CPU: {error.one_line()}")
                self.close()
        return preprocess(pixels, self._spec)

    def close(self) -> None:
        """Free the device's memory."""
        gpu, self._gpu = self._gpu, None
        if gpu is not None:
            gpu.close()


def choose_preprocess(
    spec: PreprocessSpec,
    open_gpu: Callable[[], GpuPreprocess],
    choices: ChoiceFile,
    pixels: NDArray[np.uint8],
    clock: Clock,
    say: Callable[[str], None],
) -> ChosenPreprocess:
    """Return preprocessing for frames like `pixels`: on the GPU when a bench, kept or made now, says that it pays."""
    try:
        gpu = open_gpu()
    except BadModel as error:
        say(f"preprocessing on the CPU: {error.one_line()}")
        return ChosenPreprocess(spec, None, say)
    try:
        bench = choices.get(gpu.device, spec, pixels.shape)
        if bench is None:
            bench = bench_preprocess(gpu, spec, pixels, clock)
            choices.put(gpu.device, spec, pixels.shape, bench)
    except BadModel as error:
        gpu.close()
        say(f"preprocessing on the CPU: {error.one_line()}")
        return ChosenPreprocess(spec, None, say)
    except OSError as error:
        say(f"the choice of preprocessing is not kept: {error.strerror or error}")
    if bench is None or not bench.pays():
        gpu.close()
        figures = f"{bench.gpu_us:.0f} us, here {bench.cpu_us:.0f} us" if bench else "not measured"
        say(f"preprocessing on the CPU: on {gpu.device} it takes {figures}")
        return ChosenPreprocess(spec, None, say)
    say(f"preprocessing on {gpu.device}: {bench.gpu_us:.0f} us a frame, on the CPU {bench.cpu_us:.0f} us")
    return ChosenPreprocess(spec, gpu, say)


def _time(work: Callable[[], object], clock: Clock) -> float:
    started_s = clock.monotonic()
    work()
    return clock.monotonic() - started_s


def _name(device: str, spec: PreprocessSpec, shape: tuple[int, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode((device, spec, shape))).hexdigest()
