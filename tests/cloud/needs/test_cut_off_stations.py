"""A station that reaches its broker no more and asks over HTTP instead: its summaries do not come, and somebody is told."""

from __future__ import annotations

from dataclasses import replace

from cloud.needs import needs
from cloud.needs_of_stations import SILENT
from cloud.ports.needs import Severity
from tests.cloud.needs.test_needs import HOUR, NOW, facts, only, station


def test_a_site_whose_way_to_the_broker_is_shut_is_told_though_all_of_it_asks_over_http() -> None:
    stations = [station(f"s{n}", "hall", heard_s_ago=2 * HOUR) for n in range(4)]
    asked = {f"s{n}": NOW - 200.0 for n in range(4)}
    need = only(needs(facts(stations=stations, heard_by_http=asked)))
    assert (need.kind, need.severity, len(need.members)) == (SILENT, Severity.PAGE, 4)
    assert need.what == "4 stations of hall have not been heard for 2 h or more, but over HTTP."
    del asked["s0"]
    assert only(needs(facts(stations=stations, heard_by_http=asked))).what.endswith("for 2 h or more.")


def test_one_that_never_was_on_a_broker_is_heard_over_http() -> None:
    never = replace(station("s1", "hall"), online=False, state_at=0.0, summary_at=0.0, reported_at=NOW - 9 * HOUR)
    assert needs(facts(stations=[never], heard_by_http={"s1": NOW - 200.0})) == []
    assert only(needs(facts(stations=[never], heard_by_http={"s1": NOW - 2 * HOUR}))).kind == SILENT
