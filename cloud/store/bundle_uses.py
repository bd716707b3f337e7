"""What needs a bundle: what each station runs, is told to run, may have taken, or may go back to, by all that is on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, select

from cloud.ports.versions import BundleUse
from cloud.rollout.rollout_states import RolloutState
from cloud.store.kit_orders import kits_under_way
from cloud.store.tables import desired, rollout_stations, rollouts, station_status

_OVER = (RolloutState.DONE.value, RolloutState.ABORTED.value)
_NAMED = 3
_RUNS, _TOLD, _TRIES = "runs it", "is told to run it", "tries it"
_MAY_HAVE, _BACK, _KIT = "may have taken it before it was told otherwise", "may go back to it", "has a kit with it"
_RUNNING = frozenset({_RUNS, _TOLD, _TRIES})


def bundle_uses(connection: Connection, bundle_of: Mapping[str, str], now: float) -> list[BundleUse]:
    """Return every reason why a bundle must stay, one of each kind and bundle.

    Args:
        bundle_of: the bundle of each version, by which kits are on record.
        now: Unix seconds.
    """
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for bundle, kind, station in _by_station(connection, bundle_of, now):
        if bundle and station not in found[bundle, kind]:
            found[bundle, kind].append(station)
    uses = [BundleUse(bundle, _words(names, kind), kind in _RUNNING) for (bundle, kind), names in found.items()]
    query = select(rollouts.c.id, rollouts.c.bundle).where(rollouts.c.state.not_in(_OVER))
    uses += [BundleUse(row.bundle, f"rollout {row.id} brings it", True) for row in connection.execute(query)]
    return uses


def _by_station(connection: Connection, bundle_of: Mapping[str, str], now: float) -> Iterator[tuple[str, str, str]]:
    """Yield (bundle, what of it, station)."""
    status = {row.station: row for row in connection.execute(select(station_status))}
    for name, row in status.items():
        yield row.bundle, _RUNS, name
        if row.candidate and row.candidate != row.bundle and row.update_state not in ("ROLLED_BACK", "COMMITTED"):
            yield row.candidate, _TRIES, name
    for row in connection.execute(select(desired.c.station, desired.c.bundle).where(desired.c.bundle != "")):
        yield row.bundle, _TOLD, row.station
    for kit in kits_under_way(connection, now):
        said = status.get(kit.station)
        # A station refuses an order older than one that it followed, and so a kit that comes too late.
        if said is None or said.desired_seq <= kit.desired_seq:
            yield bundle_of.get(kit.version, ""), _KIT, kit.station
    yield from _by_rollouts(connection, {name: row.deployment for name, row in status.items()})


def _by_rollouts(connection: Connection, deployments: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    table = rollout_stations
    query = (
        select(table, rollouts.c.bundle, rollouts.c.state.label("rollout_state"))
        .join(rollouts, rollouts.c.id == table.c.rollout)
        .where(table.c.ordered_at.is_not(None))
        .order_by(table.c.rollout.desc())
    )
    rows = connection.execute(query).all()
    # What a station followed last, as it said: of what it was ordered since, nobody knows what it took before the next came.
    followed = {row.station: row.ordered_at for row in rows if deployments.get(row.station) == row.deployment}
    former: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.ordered_at >= followed.get(row.station, 0.0):
            yield row.bundle, _MAY_HAVE, row.station
        if row.rollout_state not in _OVER:
            yield row.previous_bundle, _BACK, row.station
        # The way back from a bundle leads to what the newest rollout found there that is another (`Rollouts.former_bundle`): for
        # whatever bundle that is asked, it is one of the newest two.
        seen = former[row.station]
        if row.previous_bundle and row.previous_bundle not in seen and len(seen) < 2:
            seen.append(row.previous_bundle)
            yield row.previous_bundle, _BACK, row.station


def _words(stations: list[str], kind: str) -> str:
    shown = ", ".join(stations[:_NAMED])
    more = len(stations) - _NAMED
    return f"{shown}{f' and {more} more' if more > 0 else ''}: {kind}"
