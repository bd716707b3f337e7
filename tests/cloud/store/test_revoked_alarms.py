"""The open alarm of a station whose access was taken away: no metric says that it is open, and no alert rings for ever."""

from __future__ import annotations

from cloud.ports.alarms import Opened
from cloud.ports.records import Cursor
from cloud.store.certificates import Certificates
from cloud.store.metric_rows import MetricRows
from tests.fakes.cloud_tables import T0, Tables


def test_it_is_not_among_the_open_ones_and_the_counter_does_not_fall(tables: Tables) -> None:
    tables.add_online("s1", "s2")
    alarms = [Opened(s, T0, T0, "covariate_shift", "the lens is fogged") for s in ("s1", "s1/left", "s2", "fleet")]
    tables.alarms.commit(Cursor(), {}, alarms, [])
    rows = MetricRows(tables.database)
    assert rows.alarms() == {("covariate_shift", True): 4}
    Certificates(tables.database).revoke("s1", "stolen", now=T0 + 9)
    assert rows.alarms() == {("covariate_shift", True): 2, ("covariate_shift", False): 2}
    assert len(tables.alarms.open()) == 4, (
        "what was found stays on record: it counts again where the station comes back"
    )
    tables.stations.add("s1", "another token", "", T0 + 20)
    assert rows.alarms() == {("covariate_shift", True): 4}
