"""`pycuda.driver` without a GPU: the real kernels, compiled as plain C++ by g++, run over the host's memory.

It holds callers to CUDA's rules that matter here: calls only inside a pushed context, balanced per thread, no memory left behind.
"""

from __future__ import annotations

import ctypes
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PRELUDE = """
#include <cstdint>
#define __global__
#define __device__
#define __forceinline__ inline
struct Index { unsigned x, y, z; };
static thread_local Index blockIdx, blockDim, threadIdx;
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
"""
_LOOP = """
extern "C" void host_{name}(unsigned grid, unsigned block{parameters}) {{
    blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x) {name}({arguments});
}}
"""
SIGNATURES = {
    "luma": "ppi",
    "resize_across": "ppiiiipppi",
    "resize_down": "ppiipppi",
    "to_float": "ppiiiipp",
    "to_bytes": "ppiiii",
}
_TYPES = {
    "luma": ["const unsigned char*", "unsigned char*"],
    "resize_across": ["const unsigned char*", "unsigned char*", "const int*", "const int*", "const int*"],
    "resize_down": ["const unsigned char*", "unsigned char*", "const int*", "const int*", "const int*"],
    "to_float": ["const unsigned char*", "float*", "const float*", "const float*"],
    "to_bytes": ["const unsigned char*", "unsigned char*"],
}
_GUARD = 64


class Error(Exception):
    """What `pycuda.driver.Error` is."""


def compile_for_host(source: str, folder: Path, compiler: str) -> ctypes.CDLL:
    """Return the kernels of `source` as a library whose `host_NAME(grid, block, ...)` runs NAME for every thread in turn."""
    loops = []
    for name, signature in SIGNATURES.items():
        pointers = iter(_TYPES[name])
        kinds = [next(pointers) if kind == "p" else "int" for kind in signature]
        parameters = "".join(f", {kind} a{i}" for i, kind in enumerate(kinds))
        arguments = ", ".join(f"a{i}" for i in range(len(kinds)))
        loops.append(_LOOP.format(name=name, parameters=parameters, arguments=arguments))
    written, library = folder / "kernels.cpp", folder / "kernels.so"
    written.write_text(_PRELUDE + source + "".join(loops))
    # No fused multiply-add: the kernels round each step by itself. Undefined behaviour (overflow, shifts) ends the process.
    flags = [
        "-O2",
        "-std=c++17",
        "-Wall",
        "-Werror",
        "-ffp-contract=off",
        "-fsanitize=undefined",
        "-fno-sanitize-recover",
    ]
    subprocess.run([compiler, *flags, "-shared", "-fPIC", "-o", str(library), str(written)], check=True, timeout=120)
    return ctypes.CDLL(str(library))


class Memory:
    """Device memory: host bytes between two guards that nobody may write."""

    def __init__(self, driver: HostDriver, size: int) -> None:
        self._driver = driver
        self.bytes = np.full(size + 2 * _GUARD, 0xA5, np.uint8)
        self.size = size
        driver.live_bytes += size

    def pointer(self) -> int:
        return self.bytes.ctypes.data + _GUARD

    def view(self) -> NDArray[np.uint8]:
        return self.bytes[_GUARD : _GUARD + self.size]

    def intact(self) -> bool:
        return bool(np.all(self.bytes[:_GUARD] == 0xA5) and np.all(self.bytes[_GUARD + self.size :] == 0xA5))

    def __del__(self) -> None:
        self._driver.freed_outside += not self._driver.pushed()
        self._driver.live_bytes -= self.size
        self._driver.torn += not self.intact()


class _Pinned:
    """Page-locked host memory; an array made of it has this as its `base`, as pycuda's has."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self._memory = np.zeros(shape, dtype)
        self.__array_interface__ = self._memory.__array_interface__

    def get_device_pointer(self) -> int:
        return int(self._memory.ctypes.data)


class HostDriver:
    """The part of `pycuda.driver` that CudaPreprocess uses. `fail` names a call that shall raise."""

    Error = Error
    device_attribute = SimpleNamespace(INTEGRATED="integrated")
    host_alloc_flags = SimpleNamespace(DEVICEMAP=2)

    def __init__(self, library: ctypes.CDLL, *, integrated: bool) -> None:
        self._library = library
        self._integrated = integrated
        self._stacks = threading.local()
        self.live_bytes = 0
        self.torn = 0
        self.freed_outside = 0
        self.contexts = 0
        self.launched: list[str] = []
        self.fail = ""
        driver = self

        class Context:
            @staticmethod
            def pop() -> None:
                driver._stack().pop()

        class Stream:
            def __init__(self) -> None:
                driver.check("Stream")

            def synchronize(self) -> None:
                driver.check("synchronize")

        self.Context = Context
        self.Stream = Stream

    def _stack(self) -> list[int]:
        if not hasattr(self._stacks, "stack"):
            self._stacks.stack = []
        stack: list[int] = self._stacks.stack
        return stack

    def pushed(self) -> int:
        return len(self._stack())

    def check(self, call: str) -> None:
        if not self.pushed():
            raise AssertionError(f"{call} outside a context")
        if self.fail == call:
            raise Error(f"{call} failed")

    def Device(self, index: int) -> SimpleNamespace:
        def retain() -> SimpleNamespace:
            self.contexts += 1
            return SimpleNamespace(push=lambda: self._stack().append(1))

        return SimpleNamespace(
            name=lambda: "host", get_attribute=lambda _: int(self._integrated), retain_primary_context=retain
        )

    def module_from_file(self, _path: str) -> SimpleNamespace:
        self.check("module_from_file")
        return SimpleNamespace(get_function=self._function)

    def _function(self, name: str) -> Any:
        function = self._library[f"host_{name}"]

        def launch(*arguments: Any, block: tuple[int, int, int], grid: tuple[int, int], stream: object) -> None:
            self.check("launch")
            assert isinstance(stream, self.Stream)
            assert len(arguments) == len(SIGNATURES[name])
            passed: list[Any] = [ctypes.c_uint(grid[0]), ctypes.c_uint(block[0])]
            for kind, argument in zip(SIGNATURES[name], arguments, strict=True):
                if kind == "i":
                    assert isinstance(argument, np.int32), f"{name}: CUDA takes an argument by its exact width"
                    passed.append(ctypes.c_int(int(argument)))
                else:
                    pointer = argument.pointer() if isinstance(argument, Memory) else int(argument)
                    passed.append(ctypes.c_void_p(pointer))
            self.launched.append(name)
            function(*passed)

        return launch

    def mem_alloc(self, size: int) -> Memory:
        self.check("mem_alloc")
        return Memory(self, int(size))

    def memcpy_htod(self, target: Memory, source: NDArray[Any]) -> None:
        self.check("memcpy_htod")
        target.view()[:] = source.reshape(-1).view(np.uint8)

    def memcpy_htod_async(self, target: Memory, source: NDArray[Any], _stream: object) -> None:
        self.memcpy_htod(target, source)

    def memcpy_dtoh_async(self, target: NDArray[Any], source: Memory, _stream: object) -> None:
        self.check("memcpy_dtoh_async")
        target.reshape(-1).view(np.uint8)[:] = source.view()

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any, *, mem_flags: int) -> NDArray[Any]:
        self.check("pagelocked_empty")
        assert mem_flags == self.host_alloc_flags.DEVICEMAP
        return np.asarray(_Pinned(shape, dtype))
