"""From drift to a better model: watch, alarm, ask people, retrain, hand over to the rollout (DESIGN 4 and 7)."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cloud.drift.baseline import InputBaseline
from cloud.drift.causes import FAULTS
from cloud.drift.fleet import FLEET
from cloud.drift.fleet_status import StationDrift, StationPhase
from cloud.drift.policy import DriftPolicy
from cloud.drift.trace import TracePoint
from cloud.drift_notices import DriftNotices
from cloud.label_watch import LabelWatch
from cloud.ports.alarms import AlarmBook, Retrain
from cloud.ports.link import Link
from cloud.ports.records import AuditLog, CommandLog, SummaryLog
from cloud.ports.registry import Releases
from cloud.ports.rollouts import RolloutBook
from cloud.ports.samples import Sample, SampleBook
from cloud.ports.series import split_series
from cloud.ports.stations import StationBook
from cloud.retrain_trigger import RetrainBooks, RetrainTrigger
from cloud.review.retrain_policy import RetrainPolicy
from cloud.review_requests import RequestRules, ReviewRequests
from cloud.rollout.rollout_states import RolloutState
from cloud.stored_drift import StoredDrift

_log = logging.getLogger(__name__)

EVIDENCE_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of how much evidence it is counted how many series have it: shares of what an alarm takes."""

_BATCH = 500


@dataclass(frozen=True, slots=True)
class ImproveRules:
    """How many frames people look at, for an alarm and without one, and when that leads to a new model."""

    labels_per_alarm: int
    audit_share: float
    ask_again_s: float
    automatic: bool
    retrain: RetrainPolicy = field(default_factory=RetrainPolicy)
    routine_per_day: int = 0


@dataclass(frozen=True, slots=True)
class DriftOverview:
    """The names of the series that are watched, of those alarmed and enrolling, and of each shared alarm's members, strongest
    first."""

    watched: tuple[str, ...]
    alarmed: tuple[str, ...]
    enrolling: tuple[str, ...]
    shared: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Stored:
    """The tables this loop reads and writes."""

    stations: StationBook
    summaries: SummaryLog
    alarms: AlarmBook
    samples: SampleBook
    commands: CommandLog
    rollouts: RolloutBook
    audit: AuditLog


class ImproveLoop:
    """`tick` is called by one thread; `drift_status`, `drift_of` and `re_enrol` by any."""

    def __init__(
        self,
        *,
        stored: Stored,
        releases: Releases,
        carry_out: Callable[[Retrain, Sequence[Sample], str, str], bool],
        start_rollout: Callable[[str, tuple[str, ...], str], int],
        link: Link,
        labels: LabelWatch,
        policy: DriftPolicy,
        rules: ImproveRules,
        now: Callable[[], float],
        cohorts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`cohorts`: see `FleetDrift`."""
        self._stored, self._now = stored, now
        self._policy, self._cohorts, self._labels = policy, dict(cohorts or {}), labels
        self._lock = threading.Lock()
        self._drift = StoredDrift(policy, self._cohorts, alarms=stored.alarms, labels=labels, now=now)
        self._retrains = RetrainTrigger(
            RetrainBooks(stored.stations, stored.alarms, stored.samples, stored.rollouts),
            releases,
            carry_out=carry_out,
            start_rollout=start_rollout,
            policy=rules.retrain,
            automatic=rules.automatic,
            now=now,
        )
        asking = RequestRules(rules.labels_per_alarm, rules.audit_share, rules.ask_again_s, rules.routine_per_day)
        self._requests = ReviewRequests(stored.stations, stored.samples, stored.commands, link, asking, now)
        self._notices = DriftNotices(
            stored.stations, stored.alarms, stored.commands, link, seen=self._seen, statuses=self._statuses
        )

    def tick(self) -> None:
        """Read what came in, then move every open alarm one step further."""
        self._watch()
        self._judge_labels()
        self._answer_done()
        self._notices.tell(self._now())
        alarms = self._stored.alarms.open()
        for alarm in alarms:
            self._requests.for_alarm(alarm, self._whose)
        self._requests.routinely(set(self._seen()) - {alarm.series for alarm in alarms})
        self._retrains.tick()

    def close(self) -> None:
        """Let go of the worker; a retrain that is under way is begun again at the next start."""
        self._retrains.close()

    def drift_status(self, series: str) -> dict[str, Any]:
        """Return a series' drift state as JSON-ready values; `sentence` is for people."""
        (status,) = self._statuses([series])
        shown: dict[str, Any] = msgspec.to_builtins(status)
        labels: dict[str, Any] = msgspec.to_builtins(self._labels.view(status))
        return {**shown, "camera": split_series(series)[1], "labels": labels}

    def drift_of(self, station: str) -> list[dict[str, Any]]:
        """Return the drift state of each of the station's cameras, alarmed ones first; of its only one before it said a word."""
        mine = [series for series in self._seen() if split_series(series)[0] == station]
        found = [self.drift_status(series) for series in mine or [station]]
        return sorted(found, key=lambda shown: shown["phase"] != StationPhase.ALARMED.value)

    def statuses_of(self, stations: Collection[str]) -> dict[str, list[StationDrift]]:
        """Return the drift of each camera of some stations that sent windows, alarmed ones first: one look for a page of them."""
        wanted, found = frozenset(stations), dict[str, list[StationDrift]]()
        with self._lock:
            for series in self._drift.fleet.stations():
                if (station := split_series(series)[0]) in wanted:
                    found.setdefault(station, []).append(self._drift.fleet.status(series))
        for each in found.values():
            each.sort(key=lambda status: status.phase is not StationPhase.ALARMED)
        return found

    def baseline_of(self, series: str) -> InputBaseline | None:
        """Return what is normal for a series, None while it enrols."""
        with self._lock:
            return self._drift.fleet.input_baseline(series)

    def newest_points(self, series: str) -> list[TracePoint]:
        """Return the points of a series' chart that are not stored yet."""
        with self._lock:
            return self._drift.newest_points(series)

    def overview(self) -> DriftOverview:
        """Return how many series are watched, which are alarmed and enrolling, and who shares an alarm."""
        with self._lock:
            watched = self._drift.fleet.stations()
            alarmed, enrolling = self._drift.fleet.alarmed(), self._drift.fleet.enrolling()
            shared = self._drift.fleet.shared_alarms()
        return DriftOverview(watched, alarmed, enrolling, {cohort: tuple(self._whose(cohort)) for cohort in shared})

    def phases(self) -> dict[str, float]:
        """Return how many series are in each phase."""
        with self._lock:
            watched, alarmed = len(self._drift.fleet.stations()), len(self._drift.fleet.alarmed())
            enrolling = len(self._drift.fleet.enrolling())
        return {"alarmed": alarmed, "enrolling": enrolling, "quiet": max(watched - alarmed - enrolling, 0)}

    def threshold_log10(self) -> float:
        """Return the evidence, as a power of ten, from which one series alone among all that are watched is an alarm."""
        with self._lock:
            return math.log10(max(len(self._drift.fleet.stations()), 1) / self._policy.alpha)

    def evidence(self, but: Collection[str] = ()) -> dict[str, float]:
        """Return how many series, but those of the stations `but`, have each of EVIDENCE_SHARES, or more, of the evidence that
        takes one series alone to an alarm (`threshold_log10`). Of its logarithm: half way there is the square root of the e-value.
        """
        with self._lock:
            found = self._drift.fleet.evidence()
        needed = math.log(max(len(found), 1) / self._policy.alpha)
        held = [log_e / needed for series, log_e in found.items() if split_series(series)[0] not in but]
        return {f"{share:g}": float(sum(each >= share for each in held)) for share in EVIDENCE_SHARES}

    def start_retrain(self, alarm: int, actor: str, reason: str) -> int:
        """Start a retrain for an open alarm from the labels that are there, whatever the policy says; return its id.

        Raises:
            NotFound: no such alarm is open.
            RefusedError: another retrain is under way, or nothing is labelled.
        """
        retrain = self._retrains.start(alarm, f"{actor}: {reason}")
        self._stored.audit.append(self._now(), actor, "retrain", f"alarm {alarm}, retrain {retrain}: {reason}")
        return retrain

    def re_enrol(self, series: str, actor: str, reason: str) -> None:
        """Take what the series' camera sees from now on as its normal; its open alarm is closed.

        Of an alarm that many share ("fleet"), those that drift are enrolled again, all at once.
        """
        now, cameras = self._now(), self._whose(series)
        for camera in cameras:
            self._labels.re_enrolled(camera, now)
        with self._lock:
            self._drift.re_enrol(series, cameras, reason, now)
        for camera in cameras:
            self._stored.audit.append(now, actor, "re-enrol", f"{camera}: {reason}")

    def _watch(self) -> None:
        with self._lock:
            self._drift.tell_untold()
        while rows := self._stored.summaries.after(self._drift.last_read, _BATCH):
            with self._lock:
                opened = self._drift.observe(rows)
            for alarm in opened:
                _log.warning("drift alarm on %s: %s", alarm.series, alarm.sentence)

    def _judge_labels(self) -> None:
        """Open an alarm where people's labels say that the answers became wrong."""
        opened = self._labels.concept_alarms(self._statuses, self._now())
        if opened:
            with self._lock:
                self._drift.add_alarms(opened)
        for alarm in opened:
            _log.warning("drift alarm on %s: %s", alarm.series, alarm.sentence)

    def _seen(self) -> Sequence[str]:
        with self._lock:
            return self._drift.fleet.stations()

    def _statuses(self, series: Iterable[str]) -> list[StationDrift]:
        with self._lock:
            return [self._drift.fleet.status(each) for each in series]

    def _whose(self, series: str) -> list[str]:
        """Return the series that an alarm of `series` is of: those that drift, strongest evidence first, where many share it."""
        if series != FLEET and series not in self._cohorts:
            return [series]
        # A sensor fault is a camera's own, whoever else drifts.
        sharing = [
            status
            for status in self._statuses(self._seen())
            if status.phase is StationPhase.ALARMED and status.cause not in FAULTS and series in status.shared_by
        ]
        return [status.station for status in sorted(sharing, key=lambda status: -status.log10_e)]

    def _answer_done(self) -> None:
        """Close an alarm once the version that answers it runs everywhere, and learn the camera's new normal."""
        done = {r.version for r in self._stored.rollouts.all() if r.state is RolloutState.DONE}
        open_alarms = {alarm.id: alarm for alarm in self._stored.alarms.open()}
        for retrain in self._stored.alarms.retrains():
            alarm = open_alarms.get(retrain.alarm or 0)
            if alarm is not None and retrain.version in done:
                self.re_enrol(alarm.series, "plumbline", f"answered by {retrain.version}")
