"""Where the three loops leave things for each other, all in memory: what must survive a power cut is in SQLite or the slots."""

from __future__ import annotations

import queue
import threading

from agent.ports.slots import InstalledBundle, Trial, TrialOutcome
from contract.messages import DesiredState, ReportedState


class Switch:
    """`agent.ports.slots.BundleSwitch` between two threads."""

    def __init__(self) -> None:
        self._trials: queue.Queue[Trial] = queue.Queue()
        self._outcomes: queue.Queue[TrialOutcome] = queue.Queue()
        self._recalls: queue.Queue[tuple[InstalledBundle | None]] = queue.Queue()

    def offer(self, trial: Trial) -> None:
        """Update loop: ask the frame loop to take this trial up at its next frame boundary."""
        self._trials.put(trial)

    def next_trial(self) -> Trial | None:
        """Frame loop: return a trial offered and not yet taken up, once."""
        try:
            return self._trials.get_nowait()
        except queue.Empty:
            return None

    def conclude(self, outcome: TrialOutcome) -> None:
        """Frame loop: say how the trial ended."""
        self._outcomes.put(outcome)

    def recall(self, bundle: InstalledBundle | None) -> None:
        """Update loop: end whatever trial there is, without an outcome, and put `bundle` in charge; None: nothing."""
        while self.next_trial() is not None:
            pass  # what was offered before is recalled with the rest
        self._recalls.put((bundle,))

    def next_recall(self) -> tuple[InstalledBundle | None] | None:
        """Frame loop: return what was recalled to and not yet taken up, once, the latest; None when nothing was."""
        recalled = None
        while True:
            try:
                recalled = self._recalls.get_nowait()
            except queue.Empty:
                return recalled

    def next_outcome(self, within_s: float) -> TrialOutcome | None:
        """Update loop: return an outcome concluded and not yet seen, waiting at most `within_s`."""
        try:
            return self._outcomes.get(timeout=within_s) if within_s > 0 else self._outcomes.get_nowait()
        except queue.Empty:
            return None


class Inbox:
    """`agent.ports.orders.OrderInbox` between two threads: one place, the newest wins."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._desired: DesiredState | None = None

    def put(self, desired: DesiredState) -> None:
        """Uplink loop: leave the retained desired state; a newer one replaces one not yet taken."""
        with self._changed:
            self._desired = desired
            self._changed.notify_all()

    def take(self, within_s: float) -> DesiredState | None:
        """Update loop: return the desired state left and not yet taken, waiting at most `within_s`."""
        with self._changed:
            if self._desired is None and within_s > 0:
                self._changed.wait(within_s)
            desired, self._desired = self._desired, None
            return desired


class ReportBox:
    """`agent.ports.orders.Report` between two threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: ReportedState | None = None
        self._taken = False

    def publish(self, state: ReportedState) -> None:
        """Update loop: replace the retained reported state; sent when the link is up."""
        with self._lock:
            self._state, self._taken = state, False

    def latest(self) -> ReportedState | None:
        """Uplink loop: return the newest state if it was not returned yet since `reset`, else None."""
        with self._lock:
            if self._taken:
                return None
            self._taken = True
            return self._state

    def current(self) -> ReportedState | None:
        """Local API: return the newest state, taken or not."""
        with self._lock:
            return self._state

    def reset(self) -> None:
        """Uplink loop: forget what was returned, so that a new connection sends it again."""
        with self._lock:
            self._taken = False
