"""Limits that a process sets on itself before it touches what it does not trust (Linux)."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

# A model has nothing to write, and a crash must not fill the disk with its memory.
_MOST_WRITTEN_BYTES = 1 << 20


def limit_this_process(memory_mib: int = 0, cpu_s: int = 0, wall_s: int = 0, niceness: int = 0) -> None:
    """Limit address space, processor time, wall-clock time and priority; 0 leaves each as it is.

    Whatever is limited at all leaves no core dump, writes no file of more than 1 MiB and is the first to be killed when the
    machine runs out of memory. The alarm ends the process even inside native code, for nobody handles it.
    """
    import resource

    if not (memory_mib or cpu_s or wall_s or niceness):
        return
    limits = (
        (resource.RLIMIT_AS, memory_mib << 20),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, _MOST_WRITTEN_BYTES),
    )
    for kind, value in limits:
        if value > 0:
            _, hard = resource.getrlimit(kind)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if wall_s > 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(wall_s)
    if niceness > 0:
        os.nice(niceness)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")


def peak_memory_mib() -> float:
    """Return the most MiB this process ever held in memory; 0 where the system will not say.

    Not `getrusage`: its figure survives an exec, so a child would answer for its parent.
    """
    try:
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0.0
