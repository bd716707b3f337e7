"""Watches the stages of the pipeline by what gets through, and restarts what hangs, within a budget.

No stage has a timer of its own: a stage is wedged when frames went in and nothing came out. A camera that hangs is opened
afresh; a model that hangs is given up and the next one loaded. When the budget is spent the station ends with an error and
leaves the rest to the service manager, whose watchdog is fed from the same progress.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from agent.capture import Captures
from agent.decide.budget import Budget
from agent.frame_loop import FrameLoop
from agent.health.watchdog import ServiceManager
from agent.ports.clock import Clock
from agent.ports.log import Log
from contract.errors import PlumblineError

# So many restarts at once, and one more for each such time; what hangs more often is not mended by opening it again.
RESTARTS = 5
RESTARTS_PER_S = 1 / 600.0
_EVERY_S = 0.25
# A wait that took so much longer, or a quarter of `wedged_s`: this process was not run (paused, moved, swapped out).
_PAUSED_S = 1.0


class Supervisor:
    """Owns the frame loop's thread. `run` is the station's main thread."""

    def __init__(
        self,
        captures: Captures,
        frame_loop: FrameLoop,
        service: ServiceManager,
        clock: Clock,
        log: Log,
        *,
        wedged_s: float,
        stop_within_s: float = 10.0,
        chores: Iterable[Callable[[], None]] = (),
        why_unsound: Callable[[], str] = lambda: "",
    ) -> None:
        """`wedged_s`: no progress for so long is a hang; `stop_within_s`: at the end, when nothing more is to come.

        `chores` are done each turn. `why_unsound`: a reason to end, or "".
        """
        self._captures = captures
        self._frame_loop = frame_loop
        self._service = service
        self._clock = clock
        self._log = log
        self._wedged_s = wedged_s
        self._stop_within_s = stop_within_s
        self._chores = tuple(chores)
        self._why_unsound = why_unsound
        self._budgets = {capture.name: self._full() for capture in captures}
        self._loop_budget = self._full()
        self._try_again_s: dict[str, float] = {}
        self._rested_s: float | None = None
        self._judge_from_s = float("-inf")
        self._thread: threading.Thread | None = None
        self.restarts = 0
        self.failed = ""
        """Why the station ended by itself; "" when it did not."""

    def run(self, stop: threading.Event) -> None:
        """Run the pipeline until `stop`, until every source is exhausted, or until it cannot go on."""
        self._captures.start()
        self._start_loop(stop)
        self._service.ready()
        while not self._frame_loop.done.wait(_EVERY_S):
            if stop.is_set():
                break
            self.look(stop)
        self._service.stopping()
        self._captures.stop()
        if not self._frame_loop.done.wait(self._stop_within_s):
            if self._frame_loop.replace():
                # A model hangs: its frame is REVIEW, and another thread closes the windows. What took its place may hang too.
                self._start_loop(stop, drain=False)
            # Otherwise the windows are being closed, on a disk that takes its time.
            self._frame_loop.done.wait(self._stop_within_s)
        if not self._frame_loop.done.is_set():
            self.failed = self.failed or "the frame loop hangs beyond help at the stop"
            self._log.say(self.failed)
        self._do_chores()
        self._captures.close()

    def look(self, stop: threading.Event) -> None:
        """Look once: restart what hangs, feed the watchdog if all goes on."""
        fair = self._is_fair()
        self._do_chores()
        failed = self._why_unsound() or (fair and (self._look_at_loop(stop) or self._look_at_cameras())) or ""
        if failed:
            self._log.say(f"stopping: {failed}")
            self.failed = failed
            stop.set()
        elif not self._why_stalled():
            self._service.progressed()
            self._service.status(f"{self._frame_loop.frames} frames judged")
        self._rested_s = self._clock.monotonic()

    def _is_fair(self) -> bool:
        """Return whether a stage that is late is to blame: not after a pause, in which nobody could do anything."""
        now_s = self._clock.monotonic()
        if self._rested_s is not None:
            paused_s = now_s - self._rested_s - _EVERY_S
            if paused_s > max(_PAUSED_S, self._wedged_s / 4):
                self._log.fault("pause", f"this process was not run for {paused_s:.1f} s: nobody is late by that")
                self._judge_from_s = now_s + self._wedged_s
        return now_s >= self._judge_from_s

    def _start_loop(self, stop: threading.Event, *, drain: bool = True) -> None:
        self._thread = threading.Thread(
            target=self._frame_loop.run, args=(stop,), kwargs={"drain": drain}, name="frames", daemon=True
        )
        self._thread.start()

    def _why_stalled(self) -> str:
        """Return "" while the loop turns and a camera answers: one that is dead must not have systemd end the others' work."""
        stalled = [capture.why_stalled(self._wedged_s) for capture in self._captures if not capture.ended]
        return self._frame_loop.why_stalled(self._wedged_s) or ("; ".join(stalled) if all(stalled) else "")

    def _look_at_loop(self, stop: threading.Event) -> str:
        dead = self._thread is not None and not self._thread.is_alive() and not self._frame_loop.done.is_set()
        why = "its thread died" if dead else self._frame_loop.why_stalled(self._wedged_s)
        if not why:
            return ""
        paid, self._loop_budget = self._loop_budget.spend(self._clock.monotonic())
        if not paid:
            return f"the frame loop was restarted too often; {why}"
        if not self._frame_loop.replace():
            return f"the frame loop hangs beyond help; {why}"
        self._log.say(f"the frame loop is restarted: {why}")
        self.restarts += 1
        self._start_loop(stop)
        return ""

    def _look_at_cameras(self) -> str:
        now_s, without_budget = self._clock.monotonic(), 0
        alive = [capture for capture in self._captures if not capture.ended]
        for capture in alive:
            why = capture.why_stalled(self._wedged_s)
            # One that was just tried has as long to answer as any other.
            if not why or now_s < self._try_again_s.get(capture.name, now_s):
                continue
            name = f"camera '{capture.name}'" if capture.name else "the camera"
            paid, self._budgets[capture.name] = self._budgets[capture.name].spend(now_s)
            if not paid:
                without_budget += 1
                self._log.fault(f"budget {capture.name}", f"{name} was restarted too often and rests: {why}")
                continue
            self._log.say(f"{name} is opened afresh: {why}")
            self.restarts += 1
            self._try_again_s[capture.name] = now_s + self._wedged_s
            try:
                capture.restart()
            except PlumblineError as error:
                self._log.fault(f"restart {capture.name}", error.one_line())
            except Exception as error:  # noqa: BLE001 - P6: whatever a driver throws as it is opened ends no station
                self._log.fault(f"restart {capture.name}", f"{type(error).__name__}: {error}")
        return "no camera can be read any more" if alive and without_budget == len(alive) else ""

    def _do_chores(self) -> None:
        for chore in self._chores:
            try:
                chore()
            except PlumblineError as error:
                self._log.fault("chore", error.one_line())
            except Exception as error:  # noqa: BLE001 - the line goes on without it; it is tried again by the next turn
                self._log.fault("chore", f"{type(error).__name__}: {error}")

    def _full(self) -> Budget:
        return Budget.full(RESTARTS, RESTARTS_PER_S, self._clock.monotonic())
