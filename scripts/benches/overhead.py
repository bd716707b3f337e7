"""What the agent costs beyond its work: processor time of a whole station less what decoding, preparing and running took.

`python -m scripts.benches.overhead CONFIG SECONDS WARM` runs the station of CONFIG in this process and prints JSON. The three are
timed where the station calls them, by the processor time of the calling thread: on a machine whose speed changes from one second
to the next, the difference of two runs would be noise. So are the frames' statistics, the largest part of what is left.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import agent.capture
import agent.loading
import agent.sources.folder
from agent.clock import SystemClock
from agent.health.log import StderrLog
from agent.runtime.onnx import OnnxRuntime
from agent.settings import load_settings
from agent.wiring import Station

_WORK = ("decode_us", "preprocess_us", "run_us")


class Stopwatch:
    """Sums the processor time of calls, from any thread, by what was called."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}

    def around(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call`, timed; each `what` is called by one thread at a time."""
        self.spent_s[what] = 0.0

        def timed(*arguments: Any, **named: Any) -> Any:
            began_s = time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                self.spent_s[what] += time.thread_time() - began_s

        return timed


def measure(config: Path, seconds: float, warm: int) -> dict[str, float]:
    """Return processor microseconds a frame: of the whole station, of each of the three, what is left, and of it the statistics."""
    watch = Stopwatch()
    for place, name, what in (
        (agent.sources.folder, "read_image_file", "decode_us"),
        (agent.loading, "preprocess", "preprocess_us"),
        (OnnxRuntime, "run", "run_us"),
        (agent.capture, "frame_stats", "statistics_us"),
    ):
        setattr(place, name, watch.around(what, getattr(place, name)))
    clock = SystemClock()
    station = Station(load_settings(config), clock, StderrLog(sys.stderr, clock, name="overhead"))
    stop, marks = threading.Event(), []

    def observe() -> None:
        while station.frame_loop.frames < warm and not stop.is_set():
            time.sleep(0.05)
        for _ in range(2):
            marks.append((time.process_time(), station.frame_loop.frames, dict(watch.spent_s)))
            stop.wait(seconds)
        stop.set()

    observer = threading.Thread(target=observe, daemon=True)
    observer.start()
    station.run(stop)
    observer.join()
    station.close()
    (cpu_s, frames, spent_s), (cpu_end_s, frames_end, spent_end_s) = marks
    count = max(1, frames_end - frames)
    parts = {what: (spent_end_s[what] - spent_s[what]) / count * 1e6 for what in spent_s}
    whole_us = (cpu_end_s - cpu_s) / count * 1e6
    return {"cpu_us": whole_us, **parts, "overhead_us": whole_us - sum(parts[what] for what in _WORK)}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
