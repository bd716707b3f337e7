"""Plain lines on stderr, repeated faults rate-limited."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from typing import TextIO

from agent.ports.clock import Clock
from contract.log_line import log_line


class StderrLog:
    """`2026-11-20T18:01:00Z station text` a line. A fault's repeats within `quiet_s` become one "(n times)"."""

    def __init__(self, stream: TextIO, clock: Clock, *, name: str, quiet_s: float = 30.0, form: str = "text") -> None:
        """`form` "json": one object a line (`contract.log_line`)."""
        self._json = form == "json"
        self._stream = stream
        self._clock = clock
        self._name = name
        self._quiet_s = quiet_s
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, int]] = {}

    def say(self, text: str) -> None:
        """Write one line."""
        self._write("info", text)

    def _write(self, level: str, text: str) -> None:
        stamp = datetime.fromtimestamp(self._clock.now(), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = " ".join(text.split())
        line = log_line(stamp, level, self._name, said) if self._json else f"{stamp} {self._name} {said}"
        with self._lock:
            try:
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except (OSError, ValueError):
                # Nobody reads our journal any more: no reason to stop judging parts.
                return

    def fault(self, key: str, text: str) -> None:
        """Write one line about a fault that may repeat; repeats under the same `key` are counted, not written."""
        now_s = self._clock.monotonic()
        with self._lock:
            written_s, repeats = self._last.get(key, (float("-inf"), 0))
            if now_s - written_s < self._quiet_s:
                self._last[key] = (written_s, repeats + 1)
                return
            self._last[key] = (now_s, 0)
        self._write("warning", f"{text} ({repeats} more times since)" if repeats else text)
