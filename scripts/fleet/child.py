"""A child process whose use of the machine can be read."""

from __future__ import annotations

from scripts.benches.process_meter import rss_mb, used
from scripts.story.processes import Process


class Child(Process):
    """A process of `scripts.story.processes` with its number, that leaves no file open."""

    @property
    def pid(self) -> int | None:
        """The process's number, None when it was never started or was stopped."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """Kill -9, and close its output."""
        super().kill()
        if self._output is not None:
            self._output.close()
            self._output = None

    def rss_mb(self) -> float:
        """Return its resident memory in MB, 0 when it is gone."""
        try:
            return 0.0 if self.pid is None else rss_mb(self.pid)
        except (OSError, StopIteration):
            return 0.0

    def cpu_s(self) -> float:
        """Return the CPU seconds that its living threads have used, 0 when it is gone."""
        try:
            return 0.0 if self.pid is None else used(self.pid).cpu_s
        except (OSError, StopIteration):
            return 0.0
