"""How much memory this process holds (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")


def process_memory_mib() -> float:
    """Return the MiB of this process that no file backs; 0 where the system will not say.

    A model file that is mapped, or a library, is left out: the kernel takes those pages back when it needs them.
    """
    try:
        fields = _STATM.read_text("ascii").split()
        return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except (OSError, ValueError, IndexError):
        return 0.0
