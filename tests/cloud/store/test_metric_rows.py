"""The sums behind /metrics and the facts behind needs, on both engines."""

from __future__ import annotations

from cloud.store.fact_rows import FactRows
from cloud.store.metric_rows import MetricRows
from cloud.store.operate_tables import cost_days, slo_hours
from contract.messages import ReportedState, StationState
from tests.fakes.cloud_tables import T0, Tables, received, summary


def test_sums_of_a_small_fleet(tables: Tables) -> None:
    for name, site in (("s1", "a"), ("s2", "a"), ("s3", "b")):
        tables.stations.add(name, "t", site, T0)
    births = [StationState("s1", "b1", True, T0), StationState("s2", "b1", False, T0)]
    tables.stations.commit(births, [ReportedState("s1", "b1", T0, "d" * 64, "COMMITTED")], T0)
    tables.summaries.commit(received(summary("s1", 1), summary("s2", 1)), [])
    with tables.database.write() as connection:
        connection.execute(slo_hours.insert(), [{"hour": h, "promise": "p", "good": 9, "total": 10} for h in (1, 2)])
        rows = [{"day": 1, "station": s, "kind": "bytes", "amount": 5.0} for s in ("s1", "s2")]
        connection.execute(cost_days.insert(), rows)
    found = MetricRows(tables.database)
    assert dict(found.stations()) == {("a", True): 1, ("a", False): 1, ("b", False): 1}
    assert found.update_states() == {"COMMITTED": 1} and found.bundles() == {"d" * 64: 1}
    totals = found.totals()
    assert (totals["summaries"], totals["captured"], totals["passed"]) == (2, 22, 14)
    assert [(s.station, s.online) for s in found.worst_stations(9)] == [("s2", False), ("s1", True)]
    assert len(found.worst_stations(1)) == 1
    kept = {"availability": (20, 22), "in_time": (20, 20)}  # by the summaries themselves
    assert found.promises() == {"p": (18, 20), **kept} and found.costs() == {"bytes": 10.0}
    assert not (found.alarms() or found.retrains() or found.rollouts() or found.labels() or found.notices())
    assert not found.certificates() and found.database_bytes() > 0


def test_facts_of_an_empty_and_a_small_fleet(tables: Tables) -> None:
    rows = FactRows(tables.database)
    assert not (rows.newest_window_ends() or rows.gaps_since(0.0) or rows.member_counts([1]))
    assert not (rows.approved([1]) or rows.stopped_by_people() or rows.ending_certificates(T0, T0))
    assert rows.first_broken() is None
    tables.add_online("s1")
    tables.summaries.commit(received(summary("s1", 4)), [])
    tables.rollouts.create("v1", "e" * 64, [["s1"]], [], "rita", T0, proposed=True)
    assert rows.newest_window_ends() == {"s1": T0 + 5} and rows.member_counts([1]) == {1: {(0, "PLANNED"): 1}}
    tables.rollouts.approvals.say(1, "otto", True, "", T0)
    assert rows.approved([1]) == {1: 1}
