"""Whether a GPU that shares the machine's memory may be given some: the kernel's OOM killer gives no second answer.

On a Jetson what CUDA takes is MemAvailable's. A discrete GPU has its own memory, and refuses by itself.

Sources of the figures, none of them measured by us: a 1 MB model on ONNX Runtime's CUDA provider took about 1 GB of a Jetson Nano
(microsoft/onnxruntime#4184, #4259), a 27 MB one 1750 MiB of a Xavier NX where the CPU took 300 (#14038): a context with its
libraries, once a process, and several times the model. A build adds TensorRT's workspace and its timing of alternatives.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.decide.memory import MemoryRoom

CONTEXT_MIB = 1000.0
WORKSPACE_MIB = 1000.0
KEEP_MIB = 256.0
TIMES_THE_FILE = 4.0


class GpuMemoryGuard:
    """Any thread may ask."""

    def __init__(self, room: Callable[[], MemoryRoom | None] = lambda: None, *, shared: bool = False) -> None:
        """`room`: what is left now, None where it is not known. `shared`: the GPU lives on the same memory; else nothing is
        refused."""
        self._room = room
        self._shared = shared
        self._context = False

    def session_lack(self, file_bytes: int, measured_mib: float = 0.0) -> str:
        """Return why a session on the GPU must not be opened, for a person; "" when it may.

        Args:
            file_bytes: of the artefact.
            measured_mib: what the bundle took where it was gated, 0 when it was not measured.
        """
        context_mib = 0.0 if self._context else CONTEXT_MIB
        return self._lack("the GPU", context_mib + max(measured_mib, TIMES_THE_FILE * file_bytes / (1 << 20)))

    def build_lack(self, file_bytes: int) -> str:
        """Return why an engine must not be built, for a person; "" when it may. A build is a process with a context of its own."""
        needed_mib = CONTEXT_MIB + WORKSPACE_MIB + TIMES_THE_FILE * file_bytes / (1 << 20)
        return self._lack("building its engine", needed_mib)

    def opened(self) -> None:
        """Note that this process has its context now."""
        self._context = True

    def _lack(self, what: str, needed_mib: float) -> str:
        room = self._room() if self._shared else None
        if room is None or room.available_mib >= needed_mib + KEEP_MIB:
            return ""
        return (
            f"{what} takes about {needed_mib:.0f} MiB of the memory that it shares, {room.available_mib:.0f} MiB are left"
            f" and {KEEP_MIB:.0f} MiB of them are kept"
        )
