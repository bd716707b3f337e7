"""A fleet of any size in a real database, with what the pages ask of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from cloud.dashboard.fleet_source import FleetSource
from cloud.drift.causes import Cause
from cloud.drift.fleet_status import StationDrift, StationPhase
from cloud.ports.needs import Need, Severity
from cloud.store.fleet_pages import FleetPages
from cloud.store.fleet_rows import Phases
from cloud.store.summary_tables import station_totals
from cloud.store.tables import station_status, stations
from tests.fakes.cloud_tables import Tables


@dataclass(frozen=True, slots=True)
class Version:
    """A released version, as the catalogue has it."""

    version: str
    digest: str
    size_bytes: int = 1
    created_at: float = 0.0
    release_counter: int = 1


class Versions:
    """A catalogue of two."""

    found = (Version("v1", "1" * 64), Version("v2", "2" * 64))

    def all(self) -> Sequence[Version]:
        """Return them."""
        return self.found

    def get(self, version: str) -> Version:
        """Return one by its name."""
        return next(each for each in self.found if each.version == version)

    def by_digest(self, digest: str) -> Version | None:
        """Return one by its bundle."""
        return next((each for each in self.found if each.digest == digest), None)


def fill(tables: Tables, size: int, now: float) -> list[str]:
    """Add `size` stations at 40 sites: a ninth offline, some updating, all with figures; return their names."""
    names = [f"line{number:05d}" for number in range(size)]
    with tables.database.write() as connection:
        tables.database.insert_rows(
            connection,
            stations,
            [
                {"station": name, "token_sha256": "x", "site": f"hall {i % 40:02d}", "added_at": now}
                for i, name in enumerate(names)
            ],
        )
        tables.database.insert_rows(
            connection,
            station_status,
            [
                {
                    "station": name,
                    "online": i % 9 > 0,
                    "state_at": now - 60,
                    "bundle": f"{1 + i % 2}" * 64,
                    "summary_at": now - i % 300,
                    "update_state": "DOWNLOAD" if i % 50 == 7 else "COMMITTED",
                    "reason": "",
                    "boot": "b",
                    "agent_version": "0.1.0",
                    "simulated": i % 5 == 0,
                    "deployment": "",
                    "candidate": "",
                    "desired_seq": 0,
                    "reported_at": now,
                    "board": ("x86_64", "jetson-orin-nano")[i % 2],
                }
                for i, name in enumerate(names)
            ],
        )
        tables.database.insert_rows(
            connection,
            station_totals,
            [
                {"station": name, "summaries": 9, "captured": 1000 + i, "decided": 990, "passed": 900, "rejected": 40,
                 "dropped": 10, "undecided": 0, "missing": i % 3}
                for i, name in enumerate(names)
            ],
        )  # fmt: skip
    return names


def fleet_source(tables: Tables, names: Sequence[str], drifting: Sequence[str]) -> FleetSource:
    """Return what the pages read, where `drifting` drift and all others are in range."""
    phases = Phases(frozenset(drifting), frozenset(names) - frozenset(drifting))

    def sentences(wanted: Sequence[str]) -> dict[str, list[StationDrift]]:
        return {name: [_drift(name, drifts=name in phases.alarmed)] for name in wanted}

    needs = [
        Need(
            f"drift:{name}", "drift alarm", Severity.TICKET, f"{name}: lens: sharpness -8.1 sd", f"/drift?series={name}"
        )
        for name in drifting
    ]
    return FleetSource(
        pages=FleetPages(tables.database),
        releases=Versions(),
        phases=lambda: phases,
        sentences=sentences,
        needs=lambda: needs,
        now=time.time,
    )


def _drift(name: str, *, drifts: bool) -> StationDrift:
    phase, cause = (StationPhase.ALARMED, Cause.COVARIATE_SHIFT) if drifts else (StationPhase.QUIET, Cause.NONE)
    sentence = "lens: sharpness -8.1 sd for 4 windows" if drifts else "within the enrolled range"
    return StationDrift(name, phase, 24, 24, True, 0.0 if drifts else None, cause, sentence, (), 0.0, (), 9, 0, 0)
