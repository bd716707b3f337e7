"""How much memory this process holds, passed in."""

from __future__ import annotations

from collections.abc import Callable

ProcessMemory = Callable[[], float]
"""Returns the MiB of this process that no file backs; 0 where the system will not say."""
