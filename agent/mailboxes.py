"""Where the three loops leave things for each other, all in memory: what must survive a power cut is in SQLite or the slots."""

from __future__ import annotations

import queue
import threading
from collections import deque

from agent.ports.slots import InstalledBundle, Trial, TrialNews, TrialOutcome
from contract.messages import DesiredState, ReportedState


class Switch:
    """`agent.ports.slots.BundleSwitch` between two threads.

    The frame loop asks at every frame, and nearly always there is nothing: it then takes no lock, and finds at the next frame what
    was left while it looked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trial: Trial | None = None
        self._news: TrialNews | None = None
        self._withdrawn: deque[tuple[str, str]] = deque()
        self._outcomes: queue.Queue[TrialOutcome] = queue.Queue()
        self._judge: str | None = None
        self._recalled: tuple[InstalledBundle | None] | None = None

    def offer(self, trial: Trial) -> None:
        """Update loop: ask the frame loop to take this trial up at its next frame boundary."""
        with self._lock:
            self._trial = trial

    def next_trial(self) -> Trial | None:
        """Frame loop: return a trial offered and not yet taken up, once."""
        if self._trial is None:
            return None
        with self._lock:
            trial, self._trial = self._trial, None
            return trial

    def tell(self, news: TrialNews) -> None:
        """Frame loop: say how the trial under way stands; the newest replaces what was not yet seen."""
        with self._lock:
            self._news = news

    def news(self) -> TrialNews | None:
        """Update loop: return the newest news not yet seen. A trial's are told before its outcome."""
        with self._lock:
            news, self._news = self._news, None
            return news

    def conclude(self, outcome: TrialOutcome) -> None:
        """Frame loop: say how the trial ended."""
        self._outcomes.put(outcome)

    def next_outcome(self, within_s: float) -> TrialOutcome | None:
        """Update loop: return an outcome concluded and not yet seen, waiting at most `within_s`."""
        try:
            return self._outcomes.get(timeout=within_s) if within_s > 0 else self._outcomes.get_nowait()
        except queue.Empty:
            return None

    def withdraw(self, deployment: str, bundle: str) -> None:
        """Update loop: say that this trial is given up, whatever it has come to: its bundle must be in charge no more."""
        with self._lock:
            if self._trial is not None and (self._trial.deployment, self._trial.bundle.digest) == (deployment, bundle):
                self._trial = None
        self._withdrawn.append((deployment, bundle))

    def next_withdrawn(self) -> tuple[str, str] | None:
        """Frame loop: return the (deployment, bundle) of a trial withdrawn and not yet heeded, once."""
        return self._withdrawn.popleft() if self._withdrawn else None

    def judged_by(self, digest: str) -> None:
        """Frame loop: say which bundle is in charge, "" for none. Told at every change, and not while another one loads."""
        if self._judge == digest:
            return
        with self._lock:
            if self._recalled is None:
                self._judge = digest

    def judge(self) -> str | None:
        """Update loop: return which bundle is in charge, "" for none; None while that is changing, or not known yet."""
        with self._lock:
            return self._judge

    def recall(self, bundle: InstalledBundle | None) -> None:
        """Update loop: end whatever trial there is, and put `bundle` in charge; None: nothing."""
        with self._lock:
            self._trial = None
            self._judge = None
            self._recalled = (bundle,)

    def next_recall(self) -> tuple[InstalledBundle | None] | None:
        """Frame loop: return what was recalled to and not yet heeded, once, the latest; None when nothing was."""
        if self._recalled is None:
            return None
        with self._lock:
            recalled, self._recalled = self._recalled, None
            return recalled


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
