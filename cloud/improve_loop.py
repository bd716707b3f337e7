"""From drift to a better model: watch, alarm, ask people, retrain, hand over to the rollout (DESIGN 4 and 7)."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cloud.drift.accuracy import AuditLabel, accuracy
from cloud.drift.causes import FAULTS, Cause
from cloud.drift.fleet import DriftEvent, EventKind, FleetDrift, StationDrift, StationPhase
from cloud.drift.observation import WindowRecord
from cloud.drift.policy import DriftPolicy
from cloud.drift_notices import DriftNotices
from cloud.label_watch import LabelWatch
from cloud.ports.alarms import Alarm, AlarmBook, Opened, Retrain
from cloud.ports.link import Link
from cloud.ports.records import AuditLog, CommandLog, SummaryLog
from cloud.ports.registry import Releases
from cloud.ports.rollouts import RolloutBook
from cloud.ports.samples import Sample, SampleBook
from cloud.ports.series import series_name, split_series
from cloud.ports.stations import StationBook
from cloud.review.choose import Candidate, choose_for_review
from cloud.review.retrain_policy import RetrainPolicy, decide_retrain
from cloud.rollout.rollout_states import RolloutState
from cloud.sample_requests import SampleRequests
from cloud.spot_checks import SpotChecks
from contract.codec import decode_summary
from contract.errors import BadMessage, SketchMismatch
from contract.sketches.wire import from_wire

_log = logging.getLogger(__name__)

_BATCH = 500
# A version made by a retrain is named after its base, "v1" -> "v1.r7", and so is its successor, "v1.r9".
_RETRAINED = re.compile(r"\.r\d+$")
_RETRY_AFTER_S = 3_600.0
_MOST_TRIES = 3


@dataclass(frozen=True, slots=True)
class ImproveRules:
    """How many frames people look at for an alarm, and when that leads to a new model; and of each camera a day without one."""

    labels_per_alarm: int
    audit_share: float
    ask_again_s: float
    automatic: bool
    retrain: RetrainPolicy = field(default_factory=RetrainPolicy)
    spot_labels_per_day: int = 0


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
    ) -> None:
        self._stored, self._releases, self._now = stored, releases, now
        self._carry_out, self._start_rollout, self._rules = carry_out, start_rollout, rules
        self._policy, self._labels = policy, labels
        self._lock = threading.Lock()
        self._load()
        # One retrain at a time: training takes the machine, and the next one should start from the last one's model.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="retrain")
        self._busy: set[int] = set()
        self._requests = SampleRequests(stored.samples, stored.commands, link)
        self._spot_checks = SpotChecks(stored.stations, stored.samples, self._requests, rules.spot_labels_per_day)
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
            self._ask_people(alarm)
            self._judge(alarm)
        self._spot_checks.ask(sorted(set(self._seen()) - {alarm.series for alarm in alarms}), self._now())
        self._resume()

    def close(self) -> None:
        """Let go of the worker; a retrain that is under way is begun again at the next start."""
        self._worker.shutdown(wait=False, cancel_futures=True)

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

    def re_enrol(self, series: str, actor: str, reason: str) -> None:
        """Take what the series' camera sees from now on as its normal; its open alarm is closed."""
        now = self._now()
        self._labels.re_enrolled(series, now)
        with self._lock:
            events = self._fleet.re_enrol(series, reason, now)
            self._keep([series], _opened(events, now), [(series, now, reason), *_cleared(events, now)])
        self._stored.audit.append(now, actor, "re-enrol", f"{series}: {reason}")

    def _watch(self) -> None:
        while rows := self._stored.summaries.after(self._cursor, _BATCH):
            with self._lock:
                try:
                    opened = self._observe(rows)
                except BaseException:
                    # An alarm that could not be stored would be known here and nowhere else: go on from what is stored.
                    self._load()
                    raise
            for alarm in opened:
                _log.warning("drift alarm on %s: %s", alarm.series, alarm.sentence)

    def _judge_labels(self) -> None:
        """Open an alarm where people's labels say that the answers became wrong."""
        opened = self._labels.concept_alarms(self._statuses, self._now())
        if opened:
            with self._lock:
                self._keep([], opened, [])
        for alarm in opened:
            _log.warning("drift alarm on %s: %s", alarm.series, alarm.sentence)

    def _observe(self, rows: Sequence[tuple[int, bytes]]) -> list[Opened]:
        events: list[DriftEvent] = []
        seen: set[str] = set()
        for cursor, payload in rows:
            self._cursor = cursor
            try:
                summary = decode_summary(payload)
                if summary.window is None:
                    continue
                h, window = summary.header, from_wire(summary.window)
                series = series_name(h.station, h.camera)
                self._labels.saw(cursor, h, window)
                events += self._fleet.observe(WindowRecord(series, h.boot, h.seq, h.started_at, h.ended_at, window))
            except (BadMessage, SketchMismatch) as error:
                # Stored by a version that let it through: one window less must not end the watch over every station.
                _log.error("summary row %d is left out of the drift watch: %s", cursor, error.one_line())
                continue
            seen.add(series)
        opened = _opened(events, self._now())
        self._labels.keep()
        self._keep(seen, opened, _cleared(events, self._now()))
        return opened

    def _load(self) -> None:
        self._fleet = FleetDrift(self._policy)
        self._cursor, snapshots = self._stored.alarms.load_state()
        for snapshot in snapshots:
            self._fleet.restore_station(snapshot)

    def _keep(self, series: Iterable[str], opened: Sequence[Opened], cleared: Sequence[tuple[str, float, str]]) -> None:
        snapshots = {each: self._fleet.snapshot_station(each) for each in series}
        self._stored.alarms.commit(self._cursor, snapshots, opened, cleared)

    def _seen(self) -> Sequence[str]:
        with self._lock:
            return self._fleet.stations()

    def _statuses(self, series: Iterable[str]) -> list[StationDrift]:
        with self._lock:
            return [self._fleet.status(each) for each in series]

    def _ask_people(self, alarm: Alarm) -> None:
        """Ask the station for pixels until as many parts as the budget allows are before people."""
        now, samples, rules = self._now(), self._stored.samples, self._rules
        asked = samples.of_alarm(alarm.id)
        coming = [s for s in asked if s.received_at is not None or (s.requested_at or 0) > now - rules.ask_again_s]
        lost = [s for s in asked if s not in coming]
        wanted = rules.labels_per_alarm - len(coming)
        if wanted <= 0:
            return
        candidates = [
            Candidate(s.sample, s.part, s.confidence, s.reason == "audit")
            for s in samples.unasked(alarm.station, alarm.camera, alarm.seen_at)
        ]
        parts = {s.part for s in coming} | {s.part for s in lost}
        chosen = choose_for_review(candidates, parts, wanted, rules.audit_share)
        # A command can be lost with a station's process, so its frames are asked for again; but after the new ones, for a
        # station that no longer keeps them would otherwise be asked for nothing else.
        chosen += [s.sample for s in lost][: wanted - len(chosen)]
        self._requests.ask(alarm.station, alarm.camera, chosen, alarm.id, now)

    def _judge(self, alarm: Alarm) -> None:
        """Start a retrain when the labels call for one."""
        retrains = [r for r in self._stored.alarms.retrains() if r.alarm == alarm.id]
        failed = [r for r in retrains if r.state == "failed"]
        # A full disk or a killed trainer passes; what fails three times needs a person.
        rest = not failed or self._now() - (failed[-1].ended_at or 0.0) < _RETRY_AFTER_S or len(failed) >= _MOST_TRIES
        if not self._rules.automatic or (retrains and rest) or len(retrains) > len(failed):
            return
        labelled = [s for s in self._stored.samples.of_alarm(alarm.id) if s.truth is not None]
        audit = [s for s in labelled if s.reason == "audit"]
        estimate = accuracy(AuditLabel(s.truth == s.label, s.inclusion) for s in audit)
        decision = decide_retrain(
            is_fault=Cause(alarm.cause) in FAULTS,
            labels=len(labelled),
            audit_labels=len(audit),
            accuracy=estimate.estimate if estimate else 1.0,
            accuracy_upper=estimate.high if estimate else 1.0,
            lasted_s=self._now() - alarm.opened_at,
            policy=self._rules.retrain,
        )
        if decision.go:
            self._stored.alarms.start_retrain(alarm, decision.why, self._now())

    def _resume(self) -> None:
        """Give the worker every retrain that has not ended: new ones, and those a restart interrupted."""
        # Noted before reading: the row of one that ends meanwhile is out of date and must not start it again.
        under_way = set(self._busy)
        for retrain in self._stored.alarms.retrains():
            if retrain.id in under_way:
                continue
            if retrain.ended_at is None:
                self._busy.add(retrain.id)
                self._worker.submit(self._retrain, retrain)
            elif retrain.state == "released":
                self._roll_out(retrain)

    def _retrain(self, retrain: Retrain) -> None:
        try:
            labelled = [s for s in self._stored.samples.of_alarm(retrain.alarm or 0) if s.truth is not None]
            base = self._running_version(retrain.station)
            version = f"{_RETRAINED.sub('', base)[:60]}.r{retrain.id}"
            if any(release.version == version for release in self._releases.all()):
                # The process ended between the release and its record; its name is taken, so it cannot be made again.
                now = self._now()
                self._stored.alarms.update_retrain(retrain.id, state="released", version=version, ended_at=now)
            elif self._carry_out(retrain, labelled, base, version):
                _log.info("retrain %d is released", retrain.id)
            else:
                _log.error("retrain %d failed; see its figures", retrain.id)
        except Exception:  # noqa: BLE001 - the worker's outermost guard
            # The worker must say why, and the retrain must not look as if it were still under way.
            _log.exception("retrain %d broke", retrain.id)
            self._stored.alarms.update_retrain(retrain.id, state="failed", ended_at=self._now())
        finally:
            self._busy.discard(retrain.id)

    def _roll_out(self, retrain: Retrain) -> None:
        rollouts = self._stored.rollouts.all()
        if any(
            r.version == retrain.version or r.state in (RolloutState.RUNNING, RolloutState.ABORTING) for r in rollouts
        ):
            return
        self._start_rollout(retrain.version, (retrain.station,), "plumbline")

    def _answer_done(self) -> None:
        """Close an alarm once the version that answers it runs everywhere, and learn the camera's new normal."""
        done = {r.version for r in self._stored.rollouts.all() if r.state is RolloutState.DONE}
        open_alarms = {alarm.id: alarm for alarm in self._stored.alarms.open()}
        for retrain in self._stored.alarms.retrains():
            alarm = open_alarms.get(retrain.alarm or 0)
            if alarm is not None and retrain.version in done:
                self.re_enrol(alarm.series, "plumbline", f"answered by {retrain.version}")

    def _running_version(self, station: str) -> str:
        """Return the version a station runs, else the newest one that was rolled out whole."""
        for status in self._stored.stations.status():
            if status.station == station and (release := self._releases.by_digest(status.bundle)) is not None:
                return release.version
        done = [r.version for r in self._stored.rollouts.all() if r.state is RolloutState.DONE]
        return done[-1] if done else self._releases.all()[0].version


def _opened(events: Sequence[DriftEvent], now: float) -> list[Opened]:
    kinds = (EventKind.ALARM_RAISED, EventKind.SHARED_ALARM_RAISED)
    return [Opened(e.subject, now, e.at, e.cause.value, e.sentence) for e in events if e.kind in kinds]


def _cleared(events: Sequence[DriftEvent], now: float) -> list[tuple[str, float, str]]:
    kinds = (EventKind.ALARM_CLEARED, EventKind.SHARED_ALARM_CLEARED)
    return [(e.subject, now, e.sentence) for e in events if e.kind in kinds]
