"""How stations with a new bundle change against those without it: collected from their summaries, judged by pure rules.

Everything here can be lost: after a restart it is read again from the summaries, bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cloud.ports.records import Cursor
from cloud.ports.rollout_evidence import EvidenceSource, SpotCounts, WindowRow
from cloud.ports.rollouts import Rollout, RolloutMember
from cloud.ports.stations import StationStatus
from cloud.rollout.ab_report import AbReport, ArmStation, ab_report
from cloud.rollout.compare import Change, Frames, Limits, compare
from cloud.rollout.evidence import Compared
from cloud.rollout.plan import RolloutPlan
from cloud.rollout.rollout_states import MemberState

_BEFORE_S = 3600.0
"""A station's own time before the rollout's first order that its time after is held against."""
_LOOK_EVERY_S = 10.0
_ROWS_A_LOOK = 10_000
# Latency takes the payload decoded: of the first stations of each wave, and of a few windows of each.
_TIMED_A_WAVE = 150
_TIMED_WINDOWS = 4
_TIMED_A_LOOK = 200
_WITHOUT = (MemberState.PLANNED, MemberState.SHADOWING, MemberState.SHADOWED)


@dataclass(slots=True)
class _Collected:
    """What is known of one rollout. `after` begins anew with each wave; `windows` counts those looked into for latency."""

    rollout: int
    first_order: float
    wave: int
    wave_at: float
    cursor: Cursor
    live: bool = False
    before: dict[str, Frames] = field(default_factory=dict)
    after_old: dict[str, Frames] = field(default_factory=dict)
    after_new: dict[str, Frames] = field(default_factory=dict)
    windows: dict[tuple[str, str], int] = field(default_factory=dict)


class RolloutWatch:
    """Compares. One thread's. Without a `source` nothing is compared."""

    def __init__(self, source: EvidenceSource | None, now: Callable[[], float]) -> None:
        self._source, self._now = source, now
        self._got: _Collected | None = None
        self._memory: tuple[int, dict[str, float]] = (0, {})
        self._looked_at = -math.inf

    def compared(
        self,
        rollout: Rollout,
        plan: RolloutPlan,
        members: Sequence[RolloutMember],
        status: Mapping[str, StationStatus],
        now: float,
    ) -> tuple[tuple[Compared, ...], AbReport | None] | None:
        """Return what is compared by now, and the report of an A/B rollout; None where nothing new is known since the last time."""
        self._remember_memory(rollout, members, status)
        ordered = [m.ordered_at for m in members if m.ordered_at is not None]
        if self._source is None or not ordered or 0.0 <= now - self._looked_at < _LOOK_EVERY_S:
            return None
        self._looked_at = now
        got = self._collected(rollout, min(ordered))
        for _ in range(2):
            rows = self._source.rows(got.cursor, _ROWS_A_LOOK)
            self._take(got, rollout, members, rows)
            if got.live and len(rows) == _ROWS_A_LOOK:
                return None  # more is there than was read: who judges by a part of it judges wrongly
            if got.live:
                break
            if len(rows) == _ROWS_A_LOOK and rows[-1].started_at <= got.first_order:
                return None
            # All before the first order is read; what came between that and this wave is nobody's evidence now.
            got.live, got.cursor = True, max(got.cursor, self._source.begin(got.wave_at))
        changes = self._changes(got, rollout, members, status)
        limits = Limits(plan.max_shift, plan.max_latency_ratio, plan.max_memory_mib, plan.confidence)
        compared = compare(*changes, limits)
        return compared, self._report(got, rollout, plan, members) if rollout.kind == "ab" else None

    def _collected(self, rollout: Rollout, first_order: float) -> _Collected:
        assert self._source is not None
        if self._got is None or self._got.rollout != rollout.id:
            begin = self._source.begin(first_order - _BEFORE_S)
            self._got = _Collected(rollout.id, first_order, rollout.wave, rollout.wave_started_at, begin)
        elif self._got.wave != rollout.wave:
            self._got.wave, self._got.wave_at = rollout.wave, rollout.wave_started_at
            self._got.after_old, self._got.after_new = {}, {}
            self._got.windows = {key: n for key, n in self._got.windows.items() if key[1] == "before"}
        return self._got

    def _take(
        self, got: _Collected, rollout: Rollout, members: Sequence[RolloutMember], rows: Sequence[WindowRow]
    ) -> None:
        assert self._source is not None
        timed, in_wave = set[str](), dict[int, int]()
        for member in members:
            if in_wave.setdefault(member.wave, 0) < _TIMED_A_WAVE:
                in_wave[member.wave] += 1
                timed.add(member.station)
        begin = max(got.wave_at, got.first_order)
        wanted: dict[int, Frames] = {}
        for row in rows:
            got.cursor = row.cursor
            which, kind = None, ""
            if (
                row.bundle != rollout.bundle
                and got.first_order - _BEFORE_S <= row.started_at
                and (row.ended_at <= got.first_order)
            ):
                which, kind = got.before, "before"
            elif row.started_at >= begin:
                new = row.bundle == rollout.bundle
                which, kind = (got.after_new, "new") if new else (got.after_old, "old")
            if which is None:
                continue
            frames = which.setdefault(row.station, Frames())
            frames.decided += row.decided
            frames.passed += row.passed
            frames.rejected += row.rejected
            key = (row.station, kind)
            if row.station in timed and len(wanted) < _TIMED_A_LOOK and got.windows.get(key, 0) < _TIMED_WINDOWS:
                got.windows[key] = got.windows.get(key, 0) + 1
                wanted[row.row] = frames
        for number, (mean_us, count) in self._source.latencies(wanted).items():
            wanted[number].time_us += mean_us * count
            wanted[number].timed += count

    def _changes(
        self,
        got: _Collected,
        rollout: Rollout,
        members: Sequence[RolloutMember],
        status: Mapping[str, StationStatus],
    ) -> tuple[list[Change], list[Change]]:
        """Return (stations with the new bundle, the control group); those that are meant to change are in neither."""
        treated, control = list[Change](), list[Change]()
        changed, memory = set(rollout.changed_stations), self._memory[1]
        for member in members:
            name = member.station
            if name in changed:
                continue
            said = status.get(name)
            memory_now = said.health.memory_mib if said is not None and said.health is not None else None
            if member.state in (MemberState.ORDERED, MemberState.COMMITTED):
                after, group = got.after_new.get(name), treated
                if said is None or said.bundle != rollout.bundle:
                    memory_now = None
            elif member.state in _WITHOUT and (said is None or said.bundle != rollout.bundle):
                after, group = got.after_old.get(name), control
            else:
                continue
            group.append(Change(got.before.get(name, Frames()), after or Frames(), memory.get(name), memory_now))
        return treated, control

    def _remember_memory(
        self, rollout: Rollout, members: Sequence[RolloutMember], status: Mapping[str, StationStatus]
    ) -> None:
        """Note how large agents were before anything was ordered; after a restart in the middle that is not known."""
        if self._memory[0] == rollout.id:
            return
        first: dict[str, float] = {}
        for member in members:
            said = status.get(member.station)
            if member.state is MemberState.PLANNED and said is not None and said.health is not None:
                first[member.station] = said.health.memory_mib
        self._memory = (rollout.id, first)

    def _report(
        self, got: _Collected, rollout: Rollout, plan: RolloutPlan, members: Sequence[RolloutMember]
    ) -> AbReport:
        assert self._source is not None
        labelled = self._source.labelled(max(got.wave_at, got.first_order))
        arms: dict[str, list[ArmStation]] = {"a": [], "b": []}
        for member in members:
            new = member.arm == "b"
            if member.state in (MemberState.SKIPPED, MemberState.RECALLED, MemberState.BACK):
                continue
            frames = (got.after_new if new else got.after_old).get(member.station, Frames())
            spots = labelled.get((member.station, rollout.bundle if new else plan.control_bundle), SpotCounts())
            arms["b" if new else "a"].append(
                ArmStation(
                    verdicts=frames.counts() if frames.decided else {},
                    latency_ms=frames.time_us / frames.timed / 1000.0 if frames.timed else None,
                    labelled=spots.labelled,
                    right=spots.right,
                    disputed=spots.disputed,
                    failed=member.state is MemberState.FAILED,
                )
            )
        return ab_report(arms["a"], arms["b"], (plan.control, rollout.version), plan.confidence)
