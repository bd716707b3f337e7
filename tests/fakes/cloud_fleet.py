"""Stations that obey the orders a link carried, and the releases they are ordered to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from contract.errors import NotFound
from contract.messages import SHADOWED, Order, ReportedState, StationState
from tests.fakes.cloud_tables import Tables
from tests.fakes.link import RecordingLink


@dataclass(frozen=True, slots=True)
class FakeRelease:
    """`cloud.ports.registry.Release`."""

    version: str
    digest: str
    size_bytes: int = 1000
    created_at: float = 1.0
    release_counter: int = 0


class FakeReleases:
    """`cloud.ports.registry.Releases`: versions in a list, oldest first."""

    def __init__(self, *releases: FakeRelease) -> None:
        self.releases = list(releases)

    def all(self) -> list[FakeRelease]:
        return self.releases[::-1]

    def get(self, version: str) -> FakeRelease:
        for release in self.releases:
            if release.version == version:
                return release
        raise NotFound(f"no version '{version}'")

    def by_digest(self, digest: str) -> FakeRelease | None:
        return next((r for r in self.releases if r.digest == digest), None)


class PlainSigner:
    """`cloud.ports.registry.OrderSigner` that leaves orders readable."""

    def sign(self, order: Order) -> str:
        return msgspec.json.encode(order).decode()


def read_plain(envelope: str) -> Order:
    """Return the order that `PlainSigner` signed."""
    return msgspec.json.decode(envelope, type=Order)


@dataclass(slots=True)
class ObedientFleet:
    """Stations on `tables` that take orders from `link`; those in `refuse` roll back, those in `mute` say nothing; who is to decide
    unseen only does so and goes on as before.
    """

    tables: Tables
    link: RecordingLink
    now: Callable[[], float]
    read: Callable[[str], Order] = read_plain
    refuse: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    running: dict[str, str] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    _taken: int = 0

    def install(self, bundle: str, *stations: str) -> None:
        """Let stations run `bundle`, and say so."""
        self.running |= dict.fromkeys(stations, bundle)
        reports = [ReportedState(station, "b1", self.now(), bundle, "COMMITTED") for station in stations]
        self.tables.stations.commit([], reports, self.now())

    def come(self, *stations: str) -> None:
        """Stations are there."""
        self.tables.stations.commit([StationState(s, "b1", True, self.now()) for s in stations], [], self.now())

    def go(self, *stations: str) -> None:
        """The broker says that stations are gone."""
        self.tables.stations.commit([StationState(s, "b1", False, self.now()) for s in stations], [], self.now())

    def obey(self) -> None:
        """Take every order that came since the last time and report how it went."""
        fresh, self._taken = self.link.desired()[self._taken :], len(self.link.desired())
        for desired in fresh:
            order = self.read(desired.envelope)
            self.orders.append(order)
            if order.station in self.mute:
                continue
            if order.station in self.refuse and order.bundle != self.running.get(order.station):
                running = self.running.get(order.station, "")
                self._say(order.station, running, "ROLLED_BACK", order.deployment, "it crashed", order)
            elif order.probation.shadow_only:
                self._say(order.station, self.running[order.station], "IDLE", order.deployment, "", order, SHADOWED)
            else:
                self.running[order.station] = order.bundle
                self._say(order.station, order.bundle, "COMMITTED", order.deployment, "", order)

    def leave(self, station: str, bundle: str, deployment: str) -> None:
        """A station left the bundle that it had committed and runs `bundle`."""
        left = self.running[station]
        self.running[station] = bundle
        report = ReportedState(station, "b1", self.now(), bundle, "ROLLED_BACK", deployment, left, "it died 5 times")
        self.tables.stations.commit([], [report], self.now())

    def say(self, station: str, state: str, deployment: str) -> None:
        """A station reports that its update is under way."""
        self._say(station, self.running.get(station, ""), state, deployment, "")

    def _say(
        self,
        station: str,
        bundle: str,
        state: str,
        deployment: str,
        reason: str,
        order: Order | None = None,
        outcome: str = "",
    ) -> None:
        candidate, seq = (order.bundle, order.desired_seq) if order else ("", 0)
        report = ReportedState(
            station, "b1", self.now(), bundle, state, deployment, candidate, reason, seq, outcome=outcome
        )
        self.tables.stations.commit([], [report], self.now())
