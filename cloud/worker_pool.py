"""Processes that are started, started again when they end, and stopped together."""

from __future__ import annotations

import logging
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)

_LEAST_WAIT_S, _MOST_WAIT_S = 0.5, 30.0
# One that lived so long was well: its next start is not late for what happened before.
_WELL_AFTER_S = 60.0
_LOOK_S = 0.2
_PATIENCE_S = 30.0


@dataclass(slots=True)
class _Worker:
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    wait_s: float = _LEAST_WAIT_S
    exit_code: int = 0
    starts: int = field(default=0)


class WorkerPool:
    """Runs one process a command until told to stop; for one thread, `stop` aside, which a signal handler may call.

    `clock` is monotonic.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._workers = [_Worker(command) for command in commands]
        self._clock, self._sleep = clock, sleep
        self._stopping = False

    def stop(self) -> None:
        """Let `run` end every process and return."""
        self._stopping = True

    def run(self) -> int:
        """Keep all running until `stop`, then end them; return the worst exit code that one of them ended with."""
        while not self._stopping:
            for worker in self._workers:
                self._tend(worker)
            self._sleep(_LOOK_S)
        return self._end_all()

    def _tend(self, worker: _Worker) -> None:
        now = self._clock()
        if worker.process is not None:
            code = worker.process.poll()
            if code is None:
                return
            if now - worker.started_at >= _WELL_AFTER_S:
                worker.wait_s = _LEAST_WAIT_S
            worker.process, worker.exit_code = None, _exit_code(code)
            worker.start_at = now + worker.wait_s
            _log.error("worker ended with %d; starting it again in %.1f s", worker.exit_code, worker.wait_s)
            worker.wait_s = min(worker.wait_s * 2, _MOST_WAIT_S)
        if worker.process is None and now >= worker.start_at:
            worker.process, worker.started_at = subprocess.Popen(list(worker.command)), now
            worker.starts += 1

    def _end_all(self) -> int:
        running = [(worker, worker.process) for worker in self._workers if worker.process is not None]
        for _, process in running:
            process.send_signal(signal.SIGTERM)
        until = self._clock() + _PATIENCE_S
        for worker, process in running:
            try:
                code = process.wait(max(until - self._clock(), 0.1))
                # One that was only just starting dies of the signal: it did as it was told, and had nothing at hand.
                worker.exit_code = 0 if code == -signal.SIGTERM else _exit_code(code)
            except subprocess.TimeoutExpired:
                process.kill()  # what it took and did not commit comes again (P1)
                worker.exit_code = _exit_code(process.wait())
        return max((worker.exit_code for worker in self._workers), default=0)


def _exit_code(code: int) -> int:
    """Return what a shell would call it: 128 and the signal's number for one that was killed."""
    return 128 - code if code < 0 else code
