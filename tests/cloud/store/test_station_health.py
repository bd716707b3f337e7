"""How stations fare, as their newest summaries say it, beside what they last reported."""

from __future__ import annotations

import msgspec
import pytest

from cloud.ports.batch import Batch
from contract.codec import encode_summary
from contract.messages import HealthNote, ReportedState, StationState, Summary
from tests.fakes.cloud_tables import T0, Tables, commit_batch, summary

WARM = HealthNote(memory_mib=180.5, hottest_c=71.0, limit_c=95.0, rung=1, disk_free_mib=900, outbox=2)
HOT = HealthNote(memory_mib=181.0, hottest_c=94.5, limit_c=95.0, throttled=True, rung=3, disk_free_mib=40, outbox=70)


def said(seq: int, health: HealthNote | None, *, boot: str = "b1", station: str = "s1") -> Summary:
    return msgspec.structs.replace(summary(station, seq, boot=boot), health=health)


def store(tables: Tables, *summaries: Summary, **more: list[object]) -> None:
    batch = Batch(summaries=[(each, encode_summary(each)) for each in summaries], **more)  # type: ignore[arg-type]
    commit_batch(tables, batch, T0 + 50)


def health_of(tables: Tables, station: str = "s1") -> HealthNote | None:
    return next(each.health for each in tables.stations.status() if each.station == station)


def test_the_newest_summary_says_how_a_station_fares(tables: Tables) -> None:
    tables.add_online("s1", "s2")
    assert health_of(tables) is None
    store(tables, said(1, WARM), said(2, HOT), said(1, WARM, station="s2"))
    assert (health_of(tables), health_of(tables, "s2")) == (HOT, WARM)


def test_a_backlog_that_comes_late_tells_of_how_it_was(tables: Tables) -> None:
    tables.add_online("s1")
    store(tables, said(9, HOT))
    store(tables, said(7, WARM), said(8, WARM))
    assert health_of(tables) == HOT
    store(tables, said(9, HOT), said(5, WARM))
    assert health_of(tables) == HOT


@pytest.mark.parametrize("beside", [{}, {"states": [StationState("s1", "b1", True, T0)]}])
def test_a_summary_without_a_word_on_it_takes_nothing_away(tables: Tables, beside: dict[str, list[object]]) -> None:
    tables.add_online("s1")
    store(tables, said(1, WARM))
    store(tables, said(2, None), **beside)
    assert health_of(tables) == WARM
    assert tables.stations.status()[0].summary_at == T0 + 50


def test_it_is_stored_beside_births_and_reports_of_the_same_batch(tables: Tables) -> None:
    tables.add_online("s1")
    report = ReportedState("s1", "b1", T0, "d" * 64, "COMMITTED")
    store(tables, said(1, HOT), states=[StationState("s1", "b1", True, T0, board="orin")], reports=[report])
    status = tables.stations.status()[0]
    assert (status.health, status.board, status.update_state) == (HOT, "orin", "COMMITTED")


def test_a_station_never_added_fares_too_and_is_a_stranger(tables: Tables) -> None:
    store(tables, said(1, WARM, station="nobody"))
    assert tables.stations.strangers() == ["nobody"]
