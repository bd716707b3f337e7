"""What /metrics says of the alarms of revoked stations: a zero, by which the alert ends, and not a gap."""

from __future__ import annotations

from cloud.api.metrics import Metrics
from cloud.ports.alarms import Opened
from cloud.ports.records import Cursor
from cloud.store.certificates import Certificates
from tests.cloud.api.test_metrics import figures, values
from tests.fakes.cloud_tables import T0, Tables


def test_the_alert_that_rang_for_it_ends(tables: Tables) -> None:
    is_open = ("plumbline_cloud_alarms_open", (("cause", "covariate_shift"),))
    tables.add_online("s1")
    tables.alarms.commit(Cursor(), {}, [Opened("s1", T0, T0, "covariate_shift", "the lens is fogged")], [])
    assert values(Metrics([figures(tables)]).text().decode())[is_open] == 1
    Certificates(tables.database).revoke("s1", "stolen", now=T0 + 9)
    found = values(Metrics([figures(tables)]).text().decode())
    assert found[is_open] == 0 and found["plumbline_cloud_alarms_total", ()] == 1
