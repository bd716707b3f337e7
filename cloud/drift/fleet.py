"""The whole fleet's drift, one window at a time: a pure object that is told windows and says what changed.

Example:
    fleet = FleetDrift(DriftPolicy())
    for event in fleet.observe(WindowRecord(station, boot, seq, started_at, ended_at, window)): ...
    fleet.status("line3-cam1").sentence      # "lens: sharpness -8.2 sd for 4 windows; outputs also shifted"

Statuses depend on the windows alone and not on the order in which they arrived (`timeline`); events tell how they changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import msgspec

from cloud.drift.causes import Cause, Evidence, fault_sentence
from cloud.drift.e_detector import NO_WEALTH
from cloud.drift.fleet_fdr import discoveries, shared_log_e
from cloud.drift.observation import WindowRecord, observation
from cloud.drift.policy import MIN_ENROL_WINDOWS, DriftPolicy
from cloud.drift.timeline import Timeline, TimelineState
from cloud.drift.watch import Phase, WatchState
from contract.errors import BadMessage

T = TypeVar("T")

FLEET = "fleet"
_MIN_COHORT = 3
_SNAPSHOT_VERSION = 1


class StationPhase(str, Enum):
    """What the fleet says of a station."""

    ENROLLING = "enrolling"
    QUIET = "quiet"
    ALARMED = "alarmed"


@dataclass(frozen=True, slots=True)
class StationDrift:
    """A station's drift, for a page or a report.

    `enrolled` of `enrol_windows` windows make its baseline. While alarmed: `since` by the station's clock, `cause`, one
    `sentence` and its `evidence`; `shared_by` names the cohorts that share the cause. `log10_e`: the evidence held, as a power
    of ten. `judged`, `left_out` (too small, or before the device enrolled) and `late` count windows.
    """

    station: str
    phase: StationPhase
    enrolled: int
    enrol_windows: int
    outputs_enrolled: bool
    since: float | None
    cause: Cause
    sentence: str
    evidence: tuple[Evidence, ...]
    log10_e: float
    shared_by: tuple[str, ...]
    judged: int
    left_out: int
    late: int

    @property
    def e_value(self) -> float:
        """The evidence held, at most 1e300."""
        return float(10.0 ** min(self.log10_e, 300.0))


class EventKind(str, Enum):
    """How a status changed."""

    ENROLLED = "enrolled"
    ALARM_RAISED = "alarm_raised"
    ALARM_CLEARED = "alarm_cleared"
    SHARED_ALARM_RAISED = "shared_alarm_raised"
    SHARED_ALARM_CLEARED = "shared_alarm_cleared"


@dataclass(frozen=True, slots=True)
class DriftEvent:
    """A change of a station's status, or of a cohort's for shared alarms (`subject`); `at` is the end of the window that did it."""

    kind: EventKind
    subject: str
    at: float
    cause: Cause
    sentence: str
    evidence: tuple[Evidence, ...]
    log10_e: float


class _StoredStation(msgspec.Struct, frozen=True):
    station: str
    timeline: TimelineState
    v: int = _SNAPSHOT_VERSION


class FleetDrift:
    """Watches every station. Not thread-safe: one thread tells it windows.

    Of a station with several cameras each is watched as a station of its own: any name will do here.
    """

    def __init__(self, policy: DriftPolicy, cohorts: Mapping[str, Sequence[str]] | None = None) -> None:
        """Watch nothing yet.

        Args:
            policy: when a station has drifted.
            cohorts: names of groups of stations that share a property; of three or more stations each. The whole fleet is one.
        """
        self._policy = policy
        self._cohorts = {name: tuple(members) for name, members in (cohorts or {}).items()}
        self._timelines: dict[str, Timeline] = {}
        self._alarmed: frozenset[str] = frozenset()
        self._shared: frozenset[str] = frozenset()

    def observe(self, record: WindowRecord) -> list[DriftEvent]:
        """Take in a window and return what changed by it; nothing for a repeated window."""
        timeline = self._timelines.setdefault(record.station, Timeline(self._policy))
        was_enrolling = timeline.state.inputs is None
        if not timeline.add(observation(record)):
            return []
        events = []
        if was_enrolling and timeline.state.inputs is not None:
            sentence = f"baseline of {timeline.state.inputs.windows} windows enrolled"
            events.append(
                DriftEvent(EventKind.ENROLLED, record.station, record.ended_at, Cause.NONE, sentence, (), 0.0)
            )
        return events + self._changes(record.ended_at)

    def re_enrol(self, station: str, reason: str, at: float) -> list[DriftEvent]:
        """Forget the baseline of `station` (after service, or a release that learnt the new normal) and return what changed."""
        timeline = self._timelines.get(station)
        if timeline is None:
            return []
        timeline.restart()
        return self._changes(at, because=f"enrolled again: {reason}")

    def stations(self) -> tuple[str, ...]:
        """Return the stations seen so far, sorted."""
        return tuple(sorted(self._timelines))

    def status(self, station: str) -> StationDrift:
        """Return the drift of `station`; one that never sent a window is enrolling."""
        timeline = self._timelines.get(station) or Timeline(self._policy)
        state, needed = timeline.state, max(self._policy.enrol_windows, MIN_ENROL_WINDOWS)
        alarmed = station in self._alarmed
        phase = StationPhase.QUIET if state.inputs is not None else StationPhase.ENROLLING
        finding = state.finding if alarmed else None
        return StationDrift(
            station=station,
            phase=StationPhase.ALARMED if alarmed else phase,
            enrolled=len(state.input_windows) if state.inputs is None else state.inputs.windows,
            enrol_windows=needed,
            outputs_enrolled=state.outputs is not None,
            since=finding.since if finding else None,
            cause=finding.cause if finding else Cause.NONE,
            sentence=_sentence(state, alarmed, needed),
            evidence=finding.evidence if finding else (),
            log10_e=_log10(state.peak),
            shared_by=tuple(sorted(name for name in self._shared if station in self._members(name))),
            judged=state.judged,
            left_out=state.left_out,
            late=timeline.stored.late,
        )

    def shared_alarms(self) -> tuple[str, ...]:
        """Return the cohorts (or "fleet") that share an alarm."""
        return tuple(sorted(self._shared))

    def snapshot_station(self, station: str) -> bytes:
        """Return all that is known of one station, for `restore_station`: what a window of it can have changed."""
        timeline = self._timelines.get(station) or Timeline(self._policy)
        return msgspec.msgpack.encode(_StoredStation(station, timeline.stored))

    def restore_station(self, payload: bytes) -> None:
        """Take back what `snapshot_station` gave.

        Raises:
            BadMessage: these bytes are none, or of another version.
        """
        self._take(_decode(payload, _StoredStation))
        self._alarmed, self._shared = self._verdict()

    def snapshot(self) -> bytes:
        """Return all that is known, for `restore`."""
        return msgspec.msgpack.encode([_StoredStation(name, self._timelines[name].stored) for name in self.stations()])

    def restore(self, payload: bytes) -> None:
        """Take back what `snapshot` gave, in place of what is known.

        Raises:
            BadMessage: these bytes are none, or of another version.
        """
        stored = _decode(payload, list[_StoredStation])
        self._timelines = {}
        for station in stored:
            self._take(station)
        self._alarmed, self._shared = self._verdict()

    def _take(self, stored: _StoredStation) -> None:
        if stored.v != _SNAPSHOT_VERSION:
            raise BadMessage(
                f"drift state version {stored.v} is not {_SNAPSHOT_VERSION}", hint="let stations enrol again"
            )
        self._timelines[stored.station] = Timeline(self._policy, stored.timeline)

    def _members(self, cohort: str) -> Sequence[str]:
        return tuple(self._timelines) if cohort == FLEET else self._cohorts.get(cohort, ())

    def _verdict(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the stations and the cohorts alarmed, from the stations' states alone."""
        log_e = {name: timeline.state.peak for name, timeline in self._timelines.items()}
        faulty = {name for name, timeline in self._timelines.items() if timeline.state.is_fault}
        raised = {name for name, timeline in self._timelines.items() if timeline.state.phase is Phase.RAISED}
        if not raised:
            return frozenset(), frozenset()
        streams = {f"s/{name}": value for name, value in log_e.items()}
        for cohort in (FLEET, *self._cohorts):
            members = [log_e[name] for name in self._members(cohort) if name in log_e]
            if len(members) >= _MIN_COHORT:
                streams[f"c/{cohort}"] = shared_log_e(members, self._policy.shared_share)
        found = discoveries(streams, self._policy.alpha)
        stations = {name[2:] for name in found if name.startswith("s/")} & raised
        return frozenset(stations | faulty), frozenset(name[2:] for name in found if name.startswith("c/"))

    def _changes(self, at: float, because: str = "") -> list[DriftEvent]:
        alarmed, shared = self._verdict()
        before, shared_before = self._alarmed, self._shared
        self._alarmed, self._shared = alarmed, shared
        events = []
        for cohort in sorted(shared - shared_before):
            lead = max(
                (self.status(name) for name in self._members(cohort) if name in alarmed), key=lambda s: s.log10_e
            )
            text = f"{cohort}: a cause shared by many stations; {lead.sentence}"
            events.append(
                DriftEvent(EventKind.SHARED_ALARM_RAISED, cohort, at, lead.cause, text, lead.evidence, lead.log10_e)
            )
        covered = {name for cohort in shared for name in self._members(cohort)}
        for name in sorted(alarmed - before - covered):
            status = self.status(name)
            events.append(
                DriftEvent(
                    EventKind.ALARM_RAISED, name, at, status.cause, status.sentence, status.evidence, status.log10_e
                )
            )
        for name in sorted(before - alarmed):
            text = because or f"{self._policy.clear_windows} quiet windows"
            events.append(DriftEvent(EventKind.ALARM_CLEARED, name, at, Cause.NONE, text, (), 0.0))
        for cohort in sorted(shared_before - shared):
            events.append(DriftEvent(EventKind.SHARED_ALARM_CLEARED, cohort, at, Cause.NONE, because, (), 0.0))
        return events


def _sentence(state: WatchState, alarmed: bool, needed: int) -> str:
    if alarmed and state.finding is not None:
        if state.fault is state.finding.cause and state.fault is not Cause.NONE:
            return fault_sentence(state.fault, state.fault_run)
        return state.finding.sentence
    if state.inputs is None:
        return f"enrolling: {len(state.input_windows)} of {needed} windows"
    return "within the enrolled range"


def _log10(log_e: float) -> float:
    return max(log_e, -300.0) / math.log(10.0) if log_e > NO_WEALTH else 0.0


def _decode(payload: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadMessage(f"no drift state: {error}", hint="let stations enrol again") from error
