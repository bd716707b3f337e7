"""From labels to a new model: decides for each series whether one is called for, has it made, and hands it to the rollout."""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cloud.drift.accuracy import AuditLabel, accuracy
from cloud.drift.causes import FAULTS, Cause
from cloud.ports.alarms import Alarm, AlarmBook, Decided, Retrain
from cloud.ports.registry import Releases
from cloud.ports.rollouts import RolloutBook
from cloud.ports.samples import Sample, SampleBook
from cloud.ports.series import series_name, split_series
from cloud.ports.stations import StationBook
from cloud.review.label_choice import is_right
from cloud.review.retrain_policy import Evidence, Measured, RetrainPolicy, Trigger, decide_retrain
from cloud.rollout.rollout_states import LIVE, RolloutState
from contract.errors import NotFound, RefusedError

_log = logging.getLogger(__name__)

# A version made by a retrain is named after its base, "v1" -> "v1.r7", and so is its successor, "v1.r9".
_RETRAINED = re.compile(r"\.r\d+$")
# Nothing hurries where no alarm is open, and every label of every series is read to see whether anything calls for a retrain.
_QUIET_LOOK_S = 60.0


@dataclass(frozen=True, slots=True)
class RetrainBooks:
    """The tables this reads, and writes retrains and decisions to."""

    stations: StationBook
    alarms: AlarmBook
    samples: SampleBook
    rollouts: RolloutBook


@dataclass(frozen=True, slots=True)
class _Moment:
    """What the tables say now; read once for all series."""

    now: float
    alarms: Sequence[Alarm]
    retrains: Sequence[Retrain]
    bundles: Mapping[str, str]
    stations: Collection[str]


class RetrainTrigger:
    """`tick` is called by one thread. All it knows is in the tables, so a restart at any point goes on where it was."""

    def __init__(
        self,
        books: RetrainBooks,
        releases: Releases,
        *,
        carry_out: Callable[[Retrain, Sequence[Sample], str, str], bool],
        start_rollout: Callable[[str, tuple[str, ...], str], int],
        policy: RetrainPolicy,
        automatic: bool,
        now: Callable[[], float],
    ) -> None:
        self._books, self._releases, self._now = books, releases, now
        self._carry_out, self._start_rollout = carry_out, start_rollout
        self._policy, self._automatic = policy, automatic
        # One retrain at a time: training takes the machine, and the next one should start from the last one's model.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="retrain")
        self._busy: set[int] = set()
        self._starting = threading.Lock()
        self._looked_at: float | None = None
        self._noted = {decided.series: decided for decided in books.alarms.decisions()}

    def tick(self) -> None:
        """Decide for every series, then move each retrain one step further."""
        if self._automatic:
            self._decide()
        self._resume()

    def start(self, alarm_id: int, reason: str) -> int:
        """Start a retrain for an open alarm because a person says so; any thread may. Return its id.

        Raises:
            NotFound: no such alarm is open.
            RefusedError: another retrain is under way, the cause is a fault, or nothing is labelled.
        """
        books = self._books
        with self._starting:
            alarm = next((each for each in books.alarms.open() if each.id == alarm_id), None)
            if alarm is None:
                raise NotFound(f"no alarm {alarm_id} is open", hint="look at the alarms again")
            if (under_way := self._under_way()) is not None:
                raise RefusedError(f"retrain {under_way} is under way", hint="one at a time: wait for it")
            own = alarm.station in books.stations.names()
            if own and Cause(alarm.cause) in FAULTS:
                raise RefusedError("the cause is a fault of the station", hint="mend it, no model can")
            if not self._labelled(alarm.id):
                raise RefusedError("nothing of this alarm is labelled", hint="label its parts on the page Review first")
            whose = alarm.series if own else self._most_labelled(alarm)
            return books.alarms.start_retrain(alarm, reason, self._now(), series=whose, trigger=Trigger.DRIFT.value)

    def _under_way(self) -> int | None:
        return next((r.id for r in self._books.alarms.retrains() if r.ended_at is None), None)

    def close(self) -> None:
        """Let go of the worker; a retrain that is under way is begun again at the next start."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _decide(self) -> None:
        now, open_alarms = self._now(), {alarm.series: alarm for alarm in self._books.alarms.open()}
        quiet_too = self._looked_at is None or not 0.0 <= now - self._looked_at < _QUIET_LOOK_S
        if not open_alarms and not quiet_too:
            return
        moment = self._moment()
        for alarm in open_alarms.values():
            moment = self._judge(alarm.series, alarm, moment)
        if not quiet_too:
            return
        self._looked_at = now
        for series in sorted({*self._books.samples.labelled_series(), *self._noted} - open_alarms.keys()):
            moment = self._judge(series, None, moment)

    def _moment(self) -> _Moment:
        return _Moment(
            self._now(),
            self._books.alarms.all(),
            self._books.alarms.retrains(),
            {s.station: s.bundle for s in self._books.stations.status()},
            set(self._books.stations.names()),
        )

    def _judge(self, series: str, alarm: Alarm | None, moment: _Moment) -> _Moment:
        """Decide for one series; return what the tables say then."""
        now, decision = moment.now, decide_retrain(self._evidence(series, alarm, moment), self._policy)
        if decision.go:
            whose = series if alarm is None or alarm.station in moment.stations else self._most_labelled(alarm)
            with self._starting:
                if self._under_way() is not None:  # a person was quicker
                    return self._moment()
                self._books.alarms.start_retrain(alarm, decision.why, now, series=whose, trigger=decision.trigger.value)
            self._noted[series] = Decided(series, now, True, decision.trigger.value, decision.why)
            return self._moment()
        before = self._noted.get(series)
        # Written only when it changes: a tick is half a second.
        if before is None or (before.go, before.why) != (False, decision.why):
            decided = Decided(series, now, False, decision.trigger.value, decision.why)
            self._books.alarms.note_decision(decided)
            self._noted[series] = decided
        return moment

    def _most_labelled(self, alarm: Alarm) -> str:
        """Return the series that most of the labels of an alarm that many share are of: its model is the one to be mended."""
        labelled = Counter(series_name(s.station, s.camera) for s in self._labelled(alarm.id))
        return max(sorted(labelled), key=lambda series: labelled[series])

    def _evidence(self, series: str, alarm: Alarm | None, moment: _Moment) -> Evidence:
        now, books = moment.now, self._books
        mine = _of_series(series, moment.retrains, moment.alarms)
        released = [r for r in mine if r.ended_at is not None and r.state != "failed"]
        # What failed for another alarm says nothing of this one.
        tries = [r for r in mine if alarm is None or r.alarm == alarm.id]
        failed = _failed_in_a_row(tries)
        answered = [r.id for r in tries if alarm is not None and r.state != "failed"]
        labelled = self._labelled(alarm.id) if alarm else self._unlearnt(series)
        unsettled = self._unsettled(alarm.id) if alarm else books.samples.unsettled(*split_series(series))
        first_label = min((s.labelled_at for s in labelled if s.labelled_at is not None), default=now)
        return Evidence(
            labels=len(labelled),
            audit=self._measured(
                labelled, unsettled, None if alarm else moment.bundles.get(split_series(series)[0], "")
            ),
            alarm_lasted_s=now - alarm.opened_at if alarm else None,
            # A fault is a camera's own: what many share is none, whichever of them the alarm's sentence was taken from.
            is_fault=alarm is not None and alarm.station in moment.stations and Cause(alarm.cause) in FAULTS,
            under_way=next((r.id for r in moment.retrains if r.ended_at is None), None),
            answered_by=answered[-1] if answered else None,
            released_s_ago=_since(released, now),
            failures=len(failed),
            failed_s_ago=_since(failed, now) or 0.0,
            period_s=now - first_label if not released else _since(released, now) or 0.0,
        )

    def _labelled(self, alarm: int) -> list[Sample]:
        """Return the labels a retrain for an alarm learns from."""
        return [s for s in self._books.samples.of_alarm(alarm) if s.truth is not None]

    def _unsettled(self, alarm: int) -> list[Sample]:
        """Return the samples of an alarm on which people disagree."""
        return [s for s in self._books.samples.of_alarm(alarm) if s.truth is None and s.again]

    def _unlearnt(self, series: str) -> list[Sample]:
        """Return the labels of the series that none of the retrains has learnt from, however old they are."""
        unlearnt = self._books.alarms.unlearnt(series)
        return [s for s in self._books.samples.labelled(*split_series(series)) if s.sample in unlearnt]

    def _measured(self, labelled: Sequence[Sample], unsettled: Sequence[Sample], bundle: str | None) -> Measured:
        """Return the accuracy on random frames; without an alarm that says since when, on the newest that `bundle` judged."""
        audit, argued = ([s for s in some if s.reason == "audit"] for some in (labelled, unsettled))
        if bundle is not None:
            mine = [s for s in audit if s.bundle == bundle]
            audit = mine[-self._policy.labels :]
            since = audit[0].captured_at if len(audit) < len(mine) else 0.0
            argued = [s for s in argued if s.bundle == bundle and s.captured_at >= since]
        told = [AuditLabel(is_right(s.label, s.truth), s.inclusion) for s in audit]
        told += [AuditLabel(None, s.inclusion) for s in argued]
        found = accuracy(told)
        if found is None:
            return Measured(0, 1.0, 1.0, len(told))
        return Measured(found.labels, found.estimate, found.high, found.disputed)

    def _resume(self) -> None:
        """Give the worker every retrain that has not ended: new ones, and those a restart interrupted."""
        # Noted before reading: the row of one that ends meanwhile is out of date and must not start it again.
        under_way = set(self._busy)
        for retrain in self._books.alarms.retrains():
            if retrain.id in under_way:
                continue
            if retrain.ended_at is None:
                self._busy.add(retrain.id)
                self._worker.submit(self._retrain, retrain)
            elif retrain.state == "released":
                self._roll_out(retrain)

    def _retrain(self, retrain: Retrain) -> None:
        try:
            base = self._running_version(retrain.station)
            version = f"{_RETRAINED.sub('', base)[:60]}.r{retrain.id}"
            if any(release.version == version for release in self._releases.all()):
                # The process ended between the release and its record; its name is taken, so it cannot be made again.
                now = self._now()
                self._books.alarms.update_retrain(retrain.id, state="released", version=version, ended_at=now)
            elif self._carry_out(retrain, self._lesson(retrain), base, version):
                _log.info("retrain %d is released", retrain.id)
            else:
                _log.error("retrain %d failed; see its figures", retrain.id)
        except Exception:  # noqa: BLE001 - the worker's outermost guard
            # The worker must say why, and the retrain must not look as if it were still under way.
            _log.exception("retrain %d broke", retrain.id)
            self._books.alarms.update_retrain(retrain.id, state="failed", ended_at=self._now())
        finally:
            self._busy.discard(retrain.id)

    def _lesson(self, retrain: Retrain) -> list[Sample]:
        """Return what was labelled when the retrain was begun; what came later, or was said to be something else since, is for
        the next."""
        books = self._books
        told = books.alarms.lesson(retrain.id)
        of_alarm = retrain.alarm is not None
        found = (
            self._labelled(retrain.alarm or 0) if of_alarm else books.samples.labelled(*split_series(retrain.series))
        )
        lesson = [s for s in found if told.get(s.sample) == s.truth]
        books.alarms.leave_out(retrain.id, told.keys() - {s.sample for s in lesson})
        return lesson

    def _roll_out(self, retrain: Retrain) -> None:
        rollouts = self._books.rollouts.all()
        if any(r.version == retrain.version or r.state in LIVE for r in rollouts):
            return
        if all(release.version != retrain.version for release in self._releases.all()):
            return  # staged: it is rolled out once its signatures are published
        # Of an alarm that many share, all that the lesson was taken from are meant to answer otherwise.
        lesson = self._labelled(retrain.alarm) if retrain.alarm is not None else []
        others = {sample.station for sample in lesson} - {retrain.station}
        self._start_rollout(retrain.version, (retrain.station, *sorted(others)), "plumbline")

    def _running_version(self, station: str) -> str:
        """Return the version a station runs, else the newest one that was rolled out whole."""
        for status in self._books.stations.status():
            if status.station == station and (release := self._releases.by_digest(status.bundle)) is not None:
                return release.version
        done = [r.version for r in self._books.rollouts.all() if r.state is RolloutState.DONE]
        return done[-1] if done else self._releases.all()[0].version


def _of_series(series: str, retrains: Sequence[Retrain], alarms: Sequence[Alarm]) -> list[Retrain]:
    """Return the retrains of a series or of an alarm that many share; one of a version without cameras is its alarm's."""
    by_alarm = {alarm.id: alarm for alarm in alarms}

    def belongs(retrain: Retrain) -> bool:
        alarm = by_alarm.get(retrain.alarm or 0)
        if alarm is None or (alarm.station != retrain.station and retrain.series == series):
            return retrain.series == series
        return alarm.series == series

    return [r for r in retrains if belongs(r)]


def _failed_in_a_row(retrains: Sequence[Retrain]) -> list[Retrain]:
    """Return those that failed since the last that did not."""
    ended = [r for r in retrains if r.ended_at is not None]
    last_good = max((n for n, r in enumerate(ended) if r.state != "failed"), default=-1)
    return ended[last_good + 1 :]


def _since(retrains: Sequence[Retrain], now: float) -> float | None:
    return now - max(r.ended_at or 0.0 for r in retrains) if retrains else None
