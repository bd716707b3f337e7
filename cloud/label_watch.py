"""What people's labels and held-out records say of each series; opens an alarm where answers became wrong (DESIGN 4.7, 4.8)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from cloud.drift.answers import AnswerState, decode_answers, encode_answers, start_anew, take_window
from cloud.drift.causes import Cause
from cloud.drift.concept import ConceptPolicy, ConfidenceSequence, SpotLabel, bounded_sequence
from cloud.drift.fleet_status import StationDrift, StationPhase
from cloud.drift.label_view import LabelView, concept_sentence, label_view, moved_share
from cloud.ports.alarms import Alarm, AlarmBook, Opened
from cloud.ports.labels import AnswerStates, HeldOutBook
from cloud.ports.samples import SampleBook
from cloud.ports.series import series_name, split_series
from cloud.review.label_choice import is_right
from contract.errors import BadMessage
from contract.messages import Header
from contract.sketches.window import Window

_log = logging.getLogger(__name__)

# Far more than decide anything; older ones say little of today.
_MOST_LABELS = 1_000
# A label may be committed a little after one that has a later number (PostgreSQL).
_LABELS_OVERLAP = 1000


class LabelWatch:
    """One thread tells it windows and asks for alarms; any may ask for views and say that a camera was enrolled again."""

    def __init__(
        self,
        *,
        samples: SampleBook,
        states: AnswerStates,
        records: HeldOutBook,
        alarms: AlarmBook,
        policy: ConceptPolicy | None = None,
    ) -> None:
        self._samples, self._stored, self._records, self._alarms = samples, states, records, alarms
        self._policy = policy or ConceptPolicy()
        self._lock = threading.Lock()
        self._states: dict[str, AnswerState] = {}
        for series, payload in states.load().items():
            try:
                self._states[series] = decode_answers(payload)
            except BadMessage as error:
                _log.error("the answers of %s start anew: %s", series, error.one_line())
        self._unsaved: set[str] = set()
        # What may have changed since alarms were last asked for; after a start that is everything.
        self._changed = set(self._states)
        self._labelled: dict[tuple[str, str], tuple[int, int]] = {}
        self._sequences: dict[str, tuple[int, ConfidenceSequence | None]] = {}
        self._views: dict[str, tuple[StationPhase, Cause, LabelView]] = {}

    def saw(self, row: int, header: Header, window: Window) -> None:
        """Count a window; `row` is its place among the stored summaries. A repeated one changes nothing."""
        series = series_name(header.station, header.camera)
        with self._lock:
            before = self._states.get(series, AnswerState())
            after = take_window(before, row, header.bundle, header.boot, header.seq, window)
            if after is not before:
                self._put(series, after)

    def keep(self, series: Iterable[str]) -> None:
        """Store what was counted of these. Call it before their rows are recorded as read: counting them again does no harm."""
        with self._lock:
            self._save(self._unsaved.intersection(series))

    def re_enrolled(self, series: str, at: float) -> None:
        """Forget a series' windows and labels so far: its camera was enrolled again."""
        with self._lock:
            self._put(series, start_anew(self._states.get(series, AnswerState()), at))
            self._save({series})

    def concept_alarms(self, statuses: Callable[[Iterable[str]], Sequence[StationDrift]], now: float) -> list[Opened]:
        """Return the alarms to be opened: of series whose answers became wrong and that have no open alarm."""
        changed = self._take_changed()
        if not changed:
            return []
        alarmed = {alarm.series for alarm in self._alarms.open()}
        opened = []
        for status in statuses(sorted(changed - alarmed)):
            view = self.view(status)
            if view.concept.found and view.concept.crossed_at is not None:
                sentence = concept_sentence(view)
                cause = Cause.CONCEPT_SHIFT.value
                opened.append(Opened(status.station, now, view.concept.crossed_at, cause, sentence))
        return opened

    def view(self, status: StationDrift) -> LabelView:
        """Return the view of the series that the detectors say stands as `status`."""
        series, phase, cause = status.station, status.phase, status.cause
        with self._lock:
            known = self._views.get(series)
            if known is not None and known[:2] == (phase, cause):
                return known[2]
            state = self._states.get(series, AnswerState())
            found = self._records.of(state.bundle) if state.bundle else None
            labels = self._labels(series, state)
            since = labels[0].captured_at if len(labels) == _MOST_LABELS else state.since
            disputed = self._disputed(series, state.bundle, since)
            view = label_view(
                state=state,
                record=found.record if found else None,
                no_record=found.why if found else "no window is in",
                labels=labels,
                sequence=self._sequence(series, labels, disputed),
                betting=_outside(labels, self._others(series) if labels else []),
                phase=phase,
                cause=cause,
                policy=self._policy,
                disputed=disputed,
            )
            self._views[series] = (phase, cause, view)
            return view

    def moved_share(self, series: str, windows: int) -> str:
        """Return which label's share moved most in the latest `windows` windows ("labels: scratch .10 -> .31 (.25 to .38)").

        "" where none is sure to have. Only for a series whose alarm is a label shift: it says nothing when what is seen changed.
        """
        with self._lock:
            state = self._states.get(series, AnswerState())
            return moved_share(state, self._records.of(state.bundle).record, windows)

    def _labels(self, series: str, state: AnswerState) -> list[SpotLabel]:
        if not state.bundle:
            return []
        station, camera = split_series(series)
        found = self._samples.audited(station, camera, state.bundle, state.since, _MOST_LABELS)
        return [
            SpotLabel(s.sample, s.captured_at, is_right(s.label, s.truth), s.inclusion)
            for s in found
            if s.inclusion > 0.0
        ]

    def _disputed(self, series: str, bundle: str, since: float) -> list[SpotLabel]:
        """Return the audit frames on which people disagree, answered by `bundle` and captured at or after `since`."""
        return [
            SpotLabel(s.sample, s.captured_at, False, s.inclusion)
            for s in self._samples.unsettled(*split_series(series))
            if s.reason == "audit" and s.bundle == bundle and s.captured_at >= since and s.inclusion > 0.0
        ]

    def _others(self, series: str) -> list[Alarm]:
        """Return the alarms under which wrong answers of a series are their doing: its own, and those it may share."""
        alarms = [alarm for alarm in self._alarms.all() if alarm.cause != Cause.CONCEPT_SHIFT.value]
        return [alarm for alarm in alarms if alarm.series == series or alarm.series not in self._states]

    def _sequence(
        self, series: str, labels: Sequence[SpotLabel], disputed: Sequence[SpotLabel]
    ) -> ConfidenceSequence | None:
        given = hash((tuple(labels), tuple(disputed)))
        known = self._sequences.get(series)
        if known is None or known[0] != given:
            known = self._sequences[series] = (given, bounded_sequence(labels, disputed))
        return known[1]

    def _put(self, series: str, state: AnswerState) -> None:
        self._states[series] = state
        self._unsaved.add(series)
        self._changed.add(series)
        self._views.pop(series, None)

    def _save(self, series: set[str]) -> None:
        if series:
            self._stored.save({each: encode_answers(self._states[each]) for each in sorted(series)})
            self._unsaved -= series

    def _take_changed(self) -> set[str]:
        """Return the series with a new window or label, each once."""
        newest = max((number for _, number in self._labelled.values()), default=0)
        labelled = self._samples.labelled_since(newest - _LABELS_OVERLAP)
        with self._lock:
            fresh = {series_name(*whose) for whose, seen in labelled.items() if self._labelled.get(whose) != seen}
            self._labelled = labelled
            for series in fresh:
                self._views.pop(series, None)
            changed, self._changed = self._changed | fresh, set()
            return changed


def _outside(labels: Sequence[SpotLabel], alarms: Sequence[Alarm]) -> list[SpotLabel]:
    """Return the labels captured while none of `alarms` was open."""
    spans = [(a.seen_at, float("inf") if a.closed_at is None else a.closed_at) for a in alarms]
    return [label for label in labels if not any(start <= label.captured_at <= end for start, end in spans)]
