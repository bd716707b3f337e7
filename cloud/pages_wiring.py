"""The pages about the fleet put together: what they read, and what every page says at its top."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from cloud.broker.sharded import RunningLink
from cloud.dashboard.banners import Banner, banners_of
from cloud.dashboard.fleet_page import fleet_page
from cloud.dashboard.fleet_source import FleetSource, phases_of
from cloud.dashboard.overview_page import OverviewReads, overview_page
from cloud.dashboard.parts import Cell, count
from cloud.dashboard.shared_read import SharedRead
from cloud.dashboard.shell import Shell
from cloud.dashboard.station_page import StationActs, StationReads, station_page
from cloud.heard_by_http import HeardByHttp
from cloud.improve_loop import ImproveLoop
from cloud.ports.needs import Need
from cloud.ports.promises import Budget
from cloud.registry.bundle import open_bundle
from cloud.registry.release import Registry
from cloud.registry.resign_status import ResignStatus
from cloud.rollout.rollout_states import MemberState
from cloud.rollout_loop import RolloutLoop
from cloud.store.fact_rows import FactRows
from cloud.store.fleet_pages import FleetPages
from cloud.store.fleet_rows import Phases
from cloud.store.rollouts import Rollouts
from cloud.store.samples import Samples
from cloud.store.station_history import StationHistory
from cloud.store.stations import Stations
from cloud.store.verdict_mix import verdict_mix
from cloud.store_wiring import Stores
from contract.errors import PlumblineError

_BANNERS_S = 2.0


def make_fleet_source(
    stores: Stores,
    registry: Registry,
    improve: ImproveLoop,
    needs: Callable[[], Sequence[Need]],
    heard: HeardByHttp,
    now: Callable[[], float],
) -> FleetSource:
    """Return what pages and the API read of the fleet."""

    def phases() -> Phases:
        found = improve.overview()
        return phases_of(
            found.watched,
            found.alarmed,
            found.enrolling,
            now(),
            revoked=stores.stations.retired(),
            by_http=heard.fresh(),
            asked=frozenset(heard.all()),
        )

    return FleetSource(
        pages=FleetPages(stores.database),
        releases=registry.catalog,
        phases=phases,
        sentences=improve.statuses_of,
        needs=needs,
        now=now,
    )


def make_banners(
    stores: Stores,
    link: RunningLink,
    repository: Callable[[], ResignStatus],
    why_lost: Callable[[], str],
    now: Callable[[], float],
) -> Callable[[], Sequence[Banner]]:
    """Return what every page says at its top, read once for all of them."""
    pages, stations = FleetPages(stores.database), stores.stations
    return SharedRead(lambda: _banners(pages, stations, link, repository, why_lost()), _BANNERS_S, now)


def fleet_pages(
    shell: Shell,
    *,
    source: FleetSource,
    stores: Stores,
    registry: Registry,
    improve: ImproveLoop,
    rollout: RolloutLoop,
    budgets: Callable[[], Sequence[Budget]] = tuple,
    costs: Callable[[], Sequence[Mapping[str, Cell]]] = tuple,
) -> list[Callable[[], None]]:
    """Return what puts the overview, the fleet and the stations' pages in place."""
    rows, now = FactRows(stores.database), source.now
    reads = OverviewReads(
        mix=lambda: verdict_mix(stores.database, now()),
        rollout=lambda: rollout_in_a_line(stores.rollouts, rows),
        review=lambda: review_in_a_line(stores.samples),
        well_since=rows.last_need_over,
        budgets=budgets,
        costs=costs,
    )
    station_reads = StationReads(
        status=stores.stations.one,
        history=StationHistory(stores.database),
        drift=lambda name: improve.statuses_of([name]).get(name, []),
        accuracy=lambda series: str(improve.drift_status(series)["labels"]["sentence"]),
        baseline=improve.baseline_of,
        labels=_labels_of(registry),
    )
    acts = StationActs(re_enrol=improve.re_enrol, stop=rollout.stop_station)
    return [
        lambda: overview_page(shell, source, reads),
        lambda: fleet_page(shell, source),
        lambda: station_page(shell, source, station_reads, acts),
    ]


def rollout_in_a_line(rollouts: Rollouts, rows: FactRows) -> tuple[str, str]:
    """Return the rollout that is under way in one line, and where it leads."""
    under_way = [rollout for rollout in rollouts.all() if rollout.ended_at is None]
    if not under_way:
        return "No rollout is under way.", ""
    rollout = under_way[-1]
    states: dict[str, int] = {}
    for (_, state), number in rows.member_counts([rollout.id]).get(rollout.id, {}).items():
        states[state] = states.get(state, 0) + number
    total, have = sum(states.values()), states.get(MemberState.COMMITTED.value, 0)
    failed = states.get(MemberState.FAILED.value, 0)
    said = f"{rollout.version} ({rollout.state.value.lower()}): {have:,} of {count(total, 'station')} have it"
    said += f", {failed:,} failed" if failed else ""
    said += f"; it waits: {rollout.hold}" if rollout.hold else ""
    return said + ".", f"/rollouts?rollout={rollout.id}"


def review_in_a_line(samples: Samples) -> tuple[str, str]:
    """Return the review queue in one line, and where it leads."""
    waiting, labelled = samples.counts()
    disputed = samples.disputed()
    why = f" ({disputed:,} because two people disagree)" if disputed else ""
    verb = "waits" if waiting == 1 else "wait"
    return f"{count(waiting, 'part')} {verb} for an inspector{why}, {labelled:,} labelled.", "/review"


def _banners(
    pages: FleetPages, stations: Stations, link: RunningLink, repository: Callable[[], ResignStatus], lost_database: str
) -> tuple[Banner, ...]:
    if lost_database:
        # All else would be read from it.
        return banners_of(broker_connected=link.connected(), lost_database=lost_database)
    return banners_of(
        broker_connected=link.connected(),
        simulated=pages.simulated(),
        strangers=stations.strangers(),
        signing=repository().in_words(),
    )


def _labels_of(registry: Registry) -> Callable[[str], Sequence[str]]:
    @lru_cache(maxsize=64)
    def labels(bundle: str) -> tuple[str, ...]:
        try:
            manifest, _ = open_bundle(registry.blobs.path(bundle))
        except PlumblineError:
            # Of another registry, or pruned: the page counts labels by number then.
            return ()
        return tuple(label.name for label in manifest.labels)

    return labels
