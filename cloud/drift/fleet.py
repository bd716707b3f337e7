"""The whole fleet's drift, one window at a time: a pure object that is told windows and says what changed.

Example:
    fleet = FleetDrift(DriftPolicy())
    for event in fleet.observe(WindowRecord(station, boot, seq, started_at, ended_at, window)): ...
    fleet.status("line3-cam1").sentence      # "lens: sharpness -8.2 sd for 4 windows; outputs also shifted"

Statuses depend on the windows alone and not on the order in which they arrived (`timeline`); events tell how they changed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from cloud.drift.baseline import InputBaseline
from cloud.drift.causes import Cause, parts_of
from cloud.drift.e_detector import NO_WEALTH, log10_of
from cloud.drift.fleet_fdr import discoveries, members_needed, shared_log_e
from cloud.drift.fleet_status import (
    DriftEvent,
    EventKind,
    StationDrift,
    StationPhase,
    doubtful,
    sentence_of_state,
)
from cloud.drift.observation import Observation, WindowRecord, observation
from cloud.drift.policy import DriftPolicy
from cloud.drift.timeline import Timeline, TimelineState
from cloud.drift.trace import TracePoint
from cloud.drift.watch_state import Phase
from contract.errors import BadMessage

T = TypeVar("T")

FLEET = "fleet"
_MIN_COHORT = 3
_SNAPSHOT_VERSION = 2
# A station whose evidence is in while much of its cohort grows suspicious waits this many windows for them: a cause that many
# share should be one alarm and not one for each, a minute apart.
_WAIT_WINDOWS = 4
_SUSPICIOUS = math.log(20.0)
_SUSPICIOUS_SHARE = 0.4


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
        self._cohorts_of: dict[str, list[str]] = {}
        for cohort, members in self._cohorts.items():
            for member in members:
                self._cohorts_of.setdefault(member, []).append(cohort)
        # Of the many stations of a fleet few have anything to say; only those are weighed at every window.
        self._evident: dict[str, float] = {}
        self._suspicious: set[str] = set()
        self._raised: set[str] = set()
        self._alarmed: frozenset[str] = frozenset()
        self._shared: frozenset[str] = frozenset()
        # Stations whose alarm is their own, as events last told.
        self._alone: frozenset[str] = frozenset()
        self._told_faulty: frozenset[str] = frozenset()

    def observe(self, record: WindowRecord) -> list[DriftEvent]:
        """Take in a window and return what changed by it; nothing for a repeated window."""
        return self.take(record.station, observation(record))

    def take(self, station: str, seen: Observation) -> list[DriftEvent]:
        """Take in the figures of a window of `station`, as `observe`."""
        timeline = self._timelines.get(station)
        if timeline is None:
            timeline = self._timelines[station] = Timeline(self._policy)
        was_enrolling, epoch = timeline.state.inputs is None, timeline.state.input_epoch
        if not timeline.add(seen):
            return []
        events = []
        if was_enrolling and timeline.state.inputs is not None:
            sentence = f"baseline of {timeline.state.inputs.windows} windows enrolled"
            if timeline.state.inputs.doubts:
                sentence += f"; {doubtful(timeline.state.inputs.doubts)}"
            events.append(DriftEvent(EventKind.ENROLLED, station, seen.ended_at, Cause.NONE, sentence, (), 0.0))
        anew = epoch is not None and timeline.state.input_epoch != epoch
        return events + self._changes(station, seen.ended_at, "the station itself enrolled anew" if anew else "")

    def re_enrol(self, station: str, reason: str, at: float) -> list[DriftEvent]:
        """Forget the baseline of `station` (after service, or a release that learnt the new normal) and return what changed."""
        timeline = self._timelines.get(station)
        if timeline is None:
            return []
        timeline.restart()
        return self._changes(station, at, because=f"enrolled again: {reason}")

    def resume(self, told: Iterable[str], at: float = 0.0) -> list[DriftEvent]:
        """Take over, after a restore, which alarms are open, of stations and of cohorts, and return what has changed by it.

        Those are told when they end and the others when they begin; cohorts may have become others over the restart. An open alarm
        of a station that nothing is known of stays open: that a person must settle.
        """
        names = frozenset(told)
        self._alone = names & self._timelines.keys()
        self._shared = names - self._timelines.keys()
        return self._tell_changes(at, "cohorts have changed")

    def stations(self) -> tuple[str, ...]:
        """Return the stations seen so far, sorted."""
        return tuple(sorted(self._timelines))

    def status(self, station: str) -> StationDrift:
        """Return the drift of `station`; one that never sent a window is enrolling."""
        timeline = self._timelines.get(station) or Timeline(self._policy)
        state, needed = timeline.state, self._policy.first_baseline
        alarmed = station in self._alarmed
        phase = StationPhase.QUIET if state.inputs is not None else StationPhase.ENROLLING
        finding = state.shown if alarmed else None
        return StationDrift(
            station=station,
            phase=StationPhase.ALARMED if alarmed else phase,
            enrolled=len(state.input_windows) if state.inputs is None else state.inputs.windows,
            enrol_windows=needed,
            outputs_enrolled=state.outputs is not None,
            since=finding.since if finding else None,
            cause=finding.cause if finding else Cause.NONE,
            sentence=sentence_of_state(state, alarmed, self._policy),
            evidence=finding.evidence if finding else (),
            log10_e=log10_of(state.log_e),
            shared_by=tuple(sorted(name for name in self._shared if station in self._members(name))),
            judged=state.judged,
            left_out=state.left_out,
            late=timeline.stored.late,
            settled=state.inputs is not None and not state.input_windows,
            doubts=state.inputs.doubts if state.inputs is not None else (),
        )

    def trace_point(self, station: str) -> TracePoint | None:
        """Return the evidence of `station` after its last window, for a chart; None while nothing is judged."""
        timeline = self._timelines.get(station)
        return None if timeline is None else timeline.state.trace_point

    def input_baseline(self, station: str) -> InputBaseline | None:
        """Return what `station` usually sees, None while that is being learnt."""
        timeline = self._timelines.get(station)
        return None if timeline is None else timeline.state.inputs

    def alarmed(self) -> tuple[str, ...]:
        """Return the stations that are alarmed, sorted."""
        return tuple(sorted(self._alarmed))

    def evidence(self) -> dict[str, float]:
        """Return the evidence that each station seen so far has drifted: the natural logarithm of its e-value."""
        return {name: timeline.state.log_e for name, timeline in self._timelines.items()}

    def enrolling(self) -> tuple[str, ...]:
        """Return the stations whose normal is not known yet, sorted."""
        return tuple(sorted(name for name, timeline in self._timelines.items() if timeline.state.inputs is None))

    def shared_alarms(self) -> tuple[str, ...]:
        """Return the cohorts (or "fleet") that share an alarm."""
        return tuple(sorted(self._shared))

    def snapshot_station(self, station: str) -> bytes:
        """Return all that is known of one station, for `restore_station`: what a window of it can have changed."""
        timeline = self._timelines.get(station) or Timeline(self._policy)
        return msgspec.msgpack.encode(_StoredStation(station, timeline.stored))

    def restore_station(self, payload: bytes) -> None:
        """Take back what `snapshot_station` gave; `resume` after the last one.

        Raises:
            BadMessage: these bytes are none, or of another version.
        """
        self._restore(_decode(payload, _StoredStation))

    def snapshot(self) -> bytes:
        """Return all that is known, for `restore`."""
        return msgspec.msgpack.encode([_StoredStation(name, self._timelines[name].stored) for name in self.stations()])

    def restore(self, payload: bytes) -> None:
        """Take back what `snapshot` gave, in place of what is known.

        Raises:
            BadMessage: these bytes are none, or of another version.
        """
        stored = _decode(payload, list[_StoredStation])
        self._timelines, self._evident, self._suspicious, self._raised = {}, {}, set(), set()
        for station in stored:
            self._restore(station)
        self._settle_verdict()

    def _restore(self, stored: _StoredStation) -> None:
        if stored.v != _SNAPSHOT_VERSION:
            raise BadMessage(
                f"drift state version {stored.v} is not {_SNAPSHOT_VERSION}", hint="let stations enrol again"
            )
        self._timelines[stored.station] = Timeline(self._policy, stored.timeline)
        self._weigh(stored.station)

    def _members(self, cohort: str) -> Collection[str]:
        if cohort == FLEET:
            return self._timelines.keys()
        return [name for name in self._cohorts.get(cohort, ()) if name in self._timelines]

    def _weigh(self, station: str) -> None:
        """Note what the state of `station` means for the fleet."""
        state = self._timelines[station].state
        self._evident.pop(station, None)
        if state.log_e >= -math.log(self._policy.alpha):
            self._evident[station] = state.log_e
        # Without the latch: suspicion is there one window before evidence that must hold for two.
        newest = state.recent[-1] if state.recent else NO_WEALTH
        for names, belongs in (
            (self._suspicious, state.finding is not None or newest >= _SUSPICIOUS),
            (self._raised, state.phase is Phase.RAISED),
        ):
            names.add(station) if belongs else names.discard(station)

    def _verdict(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the stations and the cohorts alarmed, from the stations' states alone."""
        if not self._raised:
            return frozenset(), frozenset()
        streams = {f"s/{name}": value for name, value in self._evident.items()}
        count = len(self._timelines)
        for cohort in (FLEET, *self._cohorts):
            members = self._members(cohort)
            if len(members) < _MIN_COHORT:
                continue
            count += 1
            needed = members_needed(len(members), self._policy.shared_share)
            # The average of the smallest e-values is at most that of the last member needed.
            if self._count(self._evident.keys(), cohort) >= needed:
                log_e = [self._timelines[name].state.log_e for name in members]
                streams[f"c/{cohort}"] = shared_log_e(log_e, self._policy.shared_share)
        found = discoveries(streams, self._policy.alpha, count)
        shared = frozenset(name[2:] for name in found if name.startswith("c/"))
        stations = {name[2:] for name in found if name.startswith("s/")} & self._raised
        faulty = {name for name in self._raised if self._timelines[name].state.is_fault}
        return frozenset(stations | faulty), shared

    def _waits(self, station: str) -> bool:
        """Return whether an alarm of `station` should wait for what its cohorts are about to say."""
        for cohort in (FLEET, *self._cohorts_of.get(station, ())):
            members = self._members(cohort)
            if len(members) >= _MIN_COHORT:
                few = members_needed(len(members), self._policy.shared_share * _SUSPICIOUS_SHARE)
                if self._count(self._suspicious, cohort) >= max(few, _MIN_COHORT):
                    return True
        return False

    def _count(self, names: Collection[str], cohort: str) -> int:
        """Return how many of `names`, few as a rule, are in `cohort`."""
        if cohort == FLEET:
            return len(names)
        return sum(cohort in self._cohorts_of.get(name, ()) for name in names)

    def _changes(self, station: str, at: float, because: str = "") -> list[DriftEvent]:
        self._weigh(station)
        return self._tell_changes(at, because)

    def _tell_changes(self, at: float, because: str) -> list[DriftEvent]:
        before, shared_before, told = self._alone, self._shared, self._told_faulty
        self._settle_verdict()
        alarmed, shared, alone = self._alarmed, self._shared, self._alone
        self._told_faulty = frozenset(name for name in alone if self._timelines[name].state.is_fault)
        events = []
        for cohort in sorted(shared - shared_before):
            lead = self._lead_of(cohort)
            many = sum(name in alarmed for name in self._members(cohort))
            text = f"{cohort}: a cause shared by {many} of {len(self._members(cohort))} stations; {lead.sentence}"
            events.append(
                DriftEvent(EventKind.SHARED_ALARM_RAISED, cohort, at, lead.cause, text, lead.evidence, lead.log10_e)
            )
        # An alarm that was a fault's and is a drift's now, or the other way round, is told again: its record must not say the one.
        turned = (alone & before) & (told ^ self._told_faulty)
        for name in sorted((alone - before) | turned):
            status = self.status(name)
            events.append(
                DriftEvent(
                    EventKind.ALARM_RAISED, name, at, status.cause, status.sentence, status.evidence, status.log10_e
                )
            )
        for name in sorted(before - alone):
            text = because or f"{self._policy.clear_windows} quiet windows"
            if name in alarmed:
                text = f"part of the alarm of {', '.join(self.status(name).shared_by)}"
            events.append(DriftEvent(EventKind.ALARM_CLEARED, name, at, Cause.NONE, text, (), 0.0))
        for cohort in sorted(shared_before - shared):
            text = because or "fewer stations share it"
            events.append(DriftEvent(EventKind.SHARED_ALARM_CLEARED, cohort, at, Cause.NONE, text, (), 0.0))
        return events

    def _lead_of(self, cohort: str) -> StationDrift:
        """Return the member that stands for what most of an alarmed cohort see: never one whose camera is broken."""
        drifting = [name for name in self._members(cohort) if name in self._alarmed]
        sound = [name for name in drifting if not self._timelines[name].state.is_fault] or drifting
        parts = Counter(part for name in sound for part in parts_of(self.status(name).evidence[:1]))
        most = min(parts, key=lambda part: (-parts[part], part), default="")
        same = [name for name in sound if most in parts_of(self.status(name).evidence[:1])] or sound
        return max((self.status(name) for name in same), key=lambda status: (status.log10_e, status.station))

    def _settle_verdict(self) -> None:
        self._alarmed, self._shared = self._verdict()
        covered: dict[str, set[str]] = {}
        for cohort in self._shared:
            parts = parts_of(self._lead_of(cohort).evidence)
            for name in self._members(cohort):
                covered.setdefault(name, set()).update(parts)
        self._alone = frozenset(name for name in self._alarmed if self._is_alone(name, covered))

    def _is_alone(self, name: str, covered: Mapping[str, Collection[str]]) -> bool:
        """Return whether an alarmed station's alarm is its own, and not part of its cohort's.

        A sensor fault is always its own, and so is a drift that points at other parts than the shared one. Evidence that is new
        waits while much of the cohort grows suspicious. When a shared alarm
        ends, those of its stations that only wait for their last quiet windows are not told one by one; one that still drifts is.
        """
        state = self._timelines[name].state
        if state.is_fault:
            return True
        if name in covered:
            parts = parts_of(state.finding.evidence) if state.finding is not None else frozenset()
            return bool(parts and covered[name]) and parts.isdisjoint(covered[name])
        if name in self._alone:
            return True
        return not self._waits(name) if state.raised_for < _WAIT_WINDOWS else state.is_moving


def _decode(payload: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadMessage(f"no drift state: {error}", hint="let stations enrol again") from error
