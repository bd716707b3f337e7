"""A station under a wall clock that a test moves: `python jumping_station.py CONFIG OFFSET_FILE` (seconds, as text)."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

from agent.clock import SystemClock
from agent.commands.run import forward_logging
from agent.health.log import StderrLog
from agent.settings import load_settings
from agent.wiring import Station


class JumpingClock(SystemClock):
    """The machine's clocks, the wall's as far off as the file says."""

    def __init__(self, offset: Path) -> None:
        self._offset = offset

    def now(self) -> float:
        return max(0.0, time.time() + float(self._offset.read_text()))


def main(config: Path, offset: Path) -> int:
    """Do what `plumbline-agent run` does."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    settings, clock = load_settings(config), JumpingClock(offset)
    log = StderrLog(sys.stderr, clock, name=settings.station)
    forward_logging(log)
    station = Station(settings, clock, log)
    try:
        return 0 if station.run(stop) else 1
    finally:
        station.close()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
