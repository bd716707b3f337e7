"""What needs a bundle: what each station runs, is told to run, may have taken, or may go back to, by all that is on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, func, select

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
    # Names by insertion, once each: there may be ten thousand.
    found: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for bundle, kind, station in _by_station(connection, bundle_of, now):
        if bundle:
            found[bundle, kind][station] = None
    uses = [BundleUse(bundle, _words(list(names), kind), kind in _RUNNING) for (bundle, kind), names in found.items()]
    query = select(rollouts.c.id, rollouts.c.bundle).where(rollouts.c.state.not_in(_OVER))
    uses += [BundleUse(row.bundle, f"rollout {row.id} brings it", True) for row in connection.execute(query)]
    return uses


def stations_on(connection: Connection) -> dict[str, list[str]]:
    """Return the stations that run each bundle, by their own word, by name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    query = select(station_status.c.bundle, station_status.c.station).where(station_status.c.bundle != "")
    for bundle, station in connection.execute(query.order_by(station_status.c.station)):
        found[bundle].append(station)
    return dict(found)


def _by_station(connection: Connection, bundle_of: Mapping[str, str], now: float) -> Iterator[tuple[str, str, str]]:
    """Yield (bundle, what of it, station)."""
    s = station_status.c
    query = select(s.station, s.bundle, s.candidate, s.update_state, s.desired_seq)
    status = {row.station: row for row in connection.execute(query)}
    for name, row in status.items():
        yield row.bundle, _RUNS, name
        if row.candidate and row.candidate != row.bundle and row.update_state not in ("ROLLED_BACK", "COMMITTED"):
            yield row.candidate, _TRIES, name
    for told in connection.execute(select(desired.c.station, desired.c.bundle).where(desired.c.bundle != "")):
        yield told.bundle, _TOLD, told.station
    for kit in kits_under_way(connection, now):
        said = status.get(kit.station)
        # A station refuses an order older than one that it followed, and so a kit that comes too late.
        if said is None or said.desired_seq <= kit.desired_seq:
            yield bundle_of.get(kit.version, ""), _KIT, kit.station
    yield from _by_rollouts(connection)


def _by_rollouts(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """Yield what rollouts tell, chosen by the database: a plant has ten thousand stations, and each was in every rollout."""
    table, status = rollout_stations, station_status
    ordered = table.c.ordered_at.is_not(None)
    # What a station followed last, as it said: of what it was ordered since, nobody knows what it took before the next came.
    same = (table.c.station == status.c.station) & (table.c.deployment == status.c.deployment)
    followed = select(table.c.station, table.c.ordered_at).join_from(table, status, same).subquery()
    may_have = (
        select(rollouts.c.bundle, table.c.station)
        .join_from(table, rollouts, rollouts.c.id == table.c.rollout)
        .outerjoin(followed, followed.c.station == table.c.station)
        .where(ordered, table.c.ordered_at >= func.coalesce(followed.c.ordered_at, 0.0))
    )
    for bundle, station in connection.execute(may_have):
        yield bundle, _MAY_HAVE, station
    under_way = (
        select(table.c.previous_bundle, table.c.station)
        .join_from(table, rollouts, rollouts.c.id == table.c.rollout)
        .where(ordered, rollouts.c.state.not_in(_OVER))
    )
    for bundle, station in connection.execute(under_way):
        yield bundle, _BACK, station
    # The way back from a bundle leads to what the newest rollout found there that is another (`Rollouts.former_bundle`): for
    # whatever bundle that is asked, it is one of the newest two.
    newest = func.max(table.c.rollout).label("newest")
    former = (
        select(table.c.station, table.c.previous_bundle, newest)
        .where(ordered, table.c.previous_bundle != "")
        .group_by(table.c.station, table.c.previous_bundle)
        .subquery()
    )
    place = func.row_number().over(partition_by=former.c.station, order_by=former.c.newest.desc()).label("place")
    ranked = select(former.c.previous_bundle, former.c.station, place).subquery()
    query = select(ranked.c.previous_bundle, ranked.c.station).where(ranked.c.place <= 2)
    for bundle, station in connection.execute(query):
        yield bundle, _BACK, station


def _words(stations: list[str], kind: str) -> str:
    shown = ", ".join(stations[:_NAMED])
    more = len(stations) - _NAMED
    return f"{shown}{f' and {more} more' if more > 0 else ''}: {kind}"
