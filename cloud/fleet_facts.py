"""Reads the facts that needs are told from: once a few seconds for everybody who asks, cheap at 10,000 stations."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cloud.facts import CertificateFact, DiskFact, Facts, RolloutFact, SigningFact, StationTrouble
from cloud.needs import Found, find_needs
from cloud.needs_of_stations import CLOCK_S
from cloud.ports.alarms import Alarm, Retrain
from cloud.ports.link import Link
from cloud.ports.needs import Need
from cloud.ports.promises import Promises
from cloud.ports.rollouts import Rollout
from cloud.ports.stations import StationStatus
from cloud.registry.resign_status import Lateness, ResignStatus
from cloud.rollout.plan import read_plan
from cloud.rollout.rollout_states import MemberState, RolloutState
from cloud.store.alarms import Alarms
from cloud.store.fact_rows import FactRows
from cloud.store.rollouts import Rollouts
from cloud.store.samples import Samples
from cloud.store.stations import Stations
from cloud.store.summaries import Summaries
from contract.errors import TransientError

_DAY_S = 86_400.0
# A failed retrain whose alarm is closed is history after a week.
_FAILED_S = 7 * _DAY_S
# The agent renews with a third of its certificate's life left: a plant's is months. People make the servers' anew.
_STATION_CERTIFICATE_S, _OTHER_CERTIFICATE_S = 10 * _DAY_S, 21 * _DAY_S
# What changes slowly, or is dear to read, is read this often.
_COUNTS_S, _CERTIFICATES_S, _AUDIT_S = 15.0, 600.0, 3600.0
# Summaries that wait at a station that has caught up.
_CAUGHT_UP = 3

_UNANSWERED = (MemberState.SHADOWING, MemberState.ORDERED)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FactSources:
    """Where the facts come from.

    `disks`: folders of the server by what they hold ("the cloud's home"). The last five: as in
    `Facts`.
    """

    stations: Stations
    summaries: Summaries
    samples: Samples
    alarms: Alarms
    rollouts: Rollouts
    rows: FactRows
    link: Link
    silent_after_s: float = 1800.0
    repository: Callable[[], ResignStatus] | None = None
    promises: Promises | None = None
    disks: Mapping[str, Path] = field(default_factory=dict)
    known_silent: Callable[[], frozenset[str]] = frozenset
    undelivered: Callable[[], dict[str, int]] = dict
    faults: Callable[[], dict[str, int]] = dict
    lost_database: Callable[[], str] = str
    heard_by_http: Callable[[], Mapping[str, float]] = dict


class FleetFacts:
    """`read` is called by one thread at a time (`NeedsNow` sees to it): it remembers what is dear to read."""

    def __init__(self, sources: FactSources, now: Callable[[], float]) -> None:
        self._sources, self._now = sources, now
        self._began = now()
        self._listening_since: float | None = None
        self._unstored = False
        self._deaf_since = self._began
        self._kept: dict[str, tuple[float, object]] = {}

    def read(self) -> Facts:
        """Return what is so now.

        Raises:
            TransientError: the database cannot be read now.
        """
        now, lost = self._now(), self._sources.lost_database()
        self._look_at_link(now)
        if self._unstored and not lost and self._listening_since is not None:
            # What came meanwhile is stored in a moment: who could not be noted is not silent.
            self._listening_since = now
        self._unstored = bool(lost)
        try:
            return self._read(now, lost)
        except TransientError:
            self._unstored = True
            if not lost:
                raise
            # What is open of it still can be read, and no more: this alone is told then.
            return Facts(now, listening_since=self._listening_since, deaf_since=self._deaf_since, lost_database=lost)

    def _read(self, now: float, lost_database: str) -> Facts:
        s = self._sources
        stations = s.stations.status()
        waiting, disputed, letters = self._every(_COUNTS_S, "counts", now, self._counts)
        return Facts(
            now=now,
            silent_after_s=s.silent_after_s,
            listening_since=self._listening_since,
            deaf_since=self._deaf_since,
            stations=stations,
            retired=s.stations.retired(),
            troubles=self._troubles(stations, now),
            strangers=s.stations.strangers(),
            alarms=(alarms := s.alarms.open()),
            rollouts=self._rollouts(now),
            retrains=_failed(s.alarms.retrains(), alarms, now),
            budgets=s.promises.budgets() if s.promises is not None else (),
            waiting=waiting,
            disputed=disputed,
            dead_letters=letters,
            signing=_signing(s.repository() if s.repository is not None else None),
            certificates=self._every(_CERTIFICATES_S, "certificates", now, lambda: self._certificates(now)),
            disks=[disk for what, path in s.disks.items() if (disk := _disk(what, path)) is not None],
            broken_entry=self._every(_AUDIT_S, "audit", now, s.rows.first_broken),
            known_silent=s.known_silent(),
            undelivered=s.undelivered(),
            faults=s.faults(),
            lost_database=lost_database,
            heard_by_http=s.heard_by_http(),
        )

    def _look_at_link(self, now: float) -> None:
        if self._sources.link.connected():
            if self._listening_since is None:
                self._listening_since = now
        elif self._listening_since is not None:
            self._listening_since, self._deaf_since = None, now

    def _every(self, seconds: float, name: str, now: float, read: Callable[[], T]) -> T:
        """Return what was read within `seconds`, else what `read` returns."""
        at, value = self._kept.get(name, (float("-inf"), None))
        if not 0.0 <= now - at < seconds:
            value = read()
            self._kept[name] = now, value
        return value  # type: ignore[return-value]  # what is kept under a name is what its reader returned

    def _counts(self) -> tuple[int, int, int]:
        s = self._sources
        return s.samples.counts()[0], s.samples.disputed(), s.summaries.dead_letter_count()

    def _certificates(self, now: float) -> list[CertificateFact]:
        found = self._sources.rows.ending_certificates(now + _STATION_CERTIFICATE_S, now + _OTHER_CERTIFICATE_S)
        return [CertificateFact(each.kind, each.subject, each.not_after) for each in found]

    def _troubles(self, stations: Sequence[StationStatus], now: float) -> list[StationTrouble]:
        rows = self._sources.rows
        ends, gaps = rows.newest_window_ends(), rows.gaps_since(now - _DAY_S)
        found = []
        for status in stations:
            name = status.station
            ahead = _ahead_s(status, ends.get(name, 0.0))
            if abs(ahead) > CLOCK_S or name in gaps:
                found.append(StationTrouble(name, ahead, gaps.get(name, 0)))
        return found

    def _rollouts(self, now: float) -> list[RolloutFact]:
        s = self._sources
        recent = [r for r in s.rollouts.all() if r.ended_at is None or now - r.ended_at < _DAY_S]
        # One that went well afterwards says that somebody saw to it.
        recent = [r for r in recent if r.state is not RolloutState.DONE and not _made_good(r, recent)]
        if not recent:
            return []
        ids = [r.id for r in recent]
        counts, approved, by_people = s.rows.member_counts(ids), s.rows.approved(ids), s.rows.stopped_by_people()
        found = []
        for r in recent:
            members = counts.get(r.id, {})
            proposed = r.state is RolloutState.PROPOSED
            asked = max(read_plan(r.plan).approvals - approved.get(r.id, 0), 1) if proposed else 0
            unanswered = sum(members.get((r.wave, state.value), 0) for state in _UNANSWERED)
            failed = sum(n for (_, state), n in members.items() if state == MemberState.FAILED.value)
            recalled = sum(n for (_, state), n in members.items() if state == MemberState.RECALLED.value)
            found.append(RolloutFact(r, r.id not in by_people, unanswered, failed, asked, recalled))
        return found


class NeedsNow:
    """What needs a person, for pages and alerts: read at most every `every_s`, by whoever asks first. Thread-safe."""

    def __init__(self, facts: FleetFacts, now: Callable[[], float], every_s: float = 3.0) -> None:
        self._facts, self._now, self._every_s = facts, now, every_s
        self._lock = threading.Lock()
        self._found = Found()
        self._read_at = float("-inf")

    def current(self) -> list[Need]:
        """Return what needs a person, the most urgent first.

        Raises:
            TransientError: the database cannot be read now.
        """
        return list(self.found().needs)

    def found(self) -> Found:
        """Return that, and what is hidden by it.

        Raises:
            TransientError: the database cannot be read now.
        """
        with self._lock:
            now = self._now()
            if not 0.0 <= now - self._read_at < self._every_s:
                self._found = find_needs(self._facts.read())
                self._read_at = now
            return self._found


def _ahead_s(status: StationStatus, window_ended_at: float) -> float:
    """Return how far a station's clock is ahead, by when its newest window ended and when it came; 0 where that cannot be told."""
    if window_ended_at <= 0.0 or status.summary_at <= 0.0 or status.simulated:
        return 0.0
    ahead = window_ended_at - status.summary_at
    if ahead > 0.0:
        return ahead
    # What it sends may be old: only one that has caught up tells of its clock.
    caught_up = status.online and status.health is not None and status.health.outbox <= _CAUGHT_UP
    return ahead if caught_up else 0.0


def _failed(retrains: Sequence[Retrain], alarms: Sequence[Alarm], now: float) -> list[Retrain]:
    newest = {retrain.series: retrain for retrain in retrains}
    open_alarms = {alarm.id for alarm in alarms}
    return [
        r
        for r in newest.values()
        if r.state == "failed" and (r.alarm in open_alarms or now - (r.ended_at or r.started_at) < _FAILED_S)
    ]


def _made_good(rollout: Rollout, recent: Sequence[Rollout]) -> bool:
    return rollout.ended_at is not None and any(r.id > rollout.id and r.state is RolloutState.DONE for r in recent)


def _signing(status: ResignStatus | None) -> SigningFact | None:
    if status is None or not status.late:
        return None
    return SigningFact(status.state is Lateness.EXPIRED, status.in_words())


def _disk(what: str, path: Path) -> DiskFact | None:
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return DiskFact(what, usage.free, usage.total)
