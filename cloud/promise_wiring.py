"""What is promised and what it costs, put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cloud.cost_meter import CostMeter
from cloud.promises import FleetPromises, Terms
from cloud.settings_operate import MOST_DAYS, PromiseSettings
from cloud.slo.tally import HOUR_S, Promise
from cloud.store.clock_witness import ClockWitness
from cloud.store.costs import DAY_S, Costs
from cloud.store.database import Database
from cloud.store.promises import PromiseHours


@dataclass(frozen=True, slots=True)
class Accounts:
    """What is kept count of beside frames."""

    promises: FleetPromises
    costs: Costs
    meter: CostMeter
    hours: PromiseHours
    now: Callable[[], float]
    witness: ClockWitness

    def tick(self) -> None:
        """Put the bytes that came on their day, and forget what is too old, by a clock that can be right. Every few minutes."""
        now = self.now()
        self.costs.add_summaries(now)
        if not self.witness.believes(now):
            return
        self.hours.prune(int(now // HOUR_S) - MOST_DAYS * 24)
        self.costs.prune(int(now // DAY_S) - MOST_DAYS)


def make_accounts(settings: PromiseSettings, database: Database, now: Callable[[], float]) -> Accounts:
    """Return what keeps count."""
    targets = {
        Promise.AVAILABILITY: settings.availability,
        Promise.IN_TIME: settings.in_time,
        Promise.FRESHNESS: settings.freshness,
        Promise.RECOVERY: settings.recovery,
    }
    terms = Terms(targets, settings.days, settings.fresh_s, settings.recovery_h * 3_600.0)
    hours, costs = PromiseHours(database), Costs(database)
    return Accounts(
        FleetPromises(hours, terms, now), costs, CostMeter(costs.add, now), hours, now, ClockWitness(database)
    )
