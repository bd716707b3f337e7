"""Who may speak, and what each station last said of itself."""

from __future__ import annotations

import pytest

from contract.errors import InvalidConfig, NotFound
from contract.messages import Command, CommandResult, ReportedState, StationState
from tests.fakes.cloud_tables import T0, Tables, received, summary


def test_a_token_is_its_stations_and_is_not_stored(tables: Tables) -> None:
    tables.stations.add("s1", "secret", "plant 2", T0)
    assert tables.stations.is_token("s1", "secret")
    assert not any(tables.stations.is_token(*pair) for pair in (("s1", "Secret"), ("s1", ""), ("s2", "secret")))
    with tables.database.read() as connection:
        assert "secret" not in str(connection.exec_driver_sql("SELECT * FROM stations").all())


def test_adding_a_station_again_replaces_its_token(tables: Tables) -> None:
    tables.stations.add("s1", "old", "", T0)
    tables.stations.add("s1", "new", "", T0)
    assert tables.stations.is_token("s1", "new") and not tables.stations.is_token("s1", "old")
    assert tables.stations.names() == ["s1"]


@pytest.mark.parametrize("name", ["", "S1", "a/b", "+", "#", "a b", "é", "x" * 64])
def test_a_name_that_is_no_station_id_is_refused(tables: Tables, name: str) -> None:
    with pytest.raises(InvalidConfig):
        tables.stations.add(name, "t", "", T0)
    with pytest.raises(NotFound):
        tables.stations.check_known(name)


def test_a_station_that_never_spoke_has_a_blank_status(tables: Tables) -> None:
    tables.stations.add("s1", "t", "plant 2", T0)
    (status,) = tables.stations.status()
    assert (status.site, status.online, status.bundle, status.reported_at, status.summary_at) == (
        "plant 2",
        False,
        "",
        0,
        0,
    )


def test_who_speaks_without_having_been_added_is_a_stranger_until_it_is_added(tables: Tables) -> None:
    tables.add_online("s1")
    tables.stations.commit([StationState("guest", "b", True, T0)], [], T0)
    tables.summaries.commit(received(summary("ghost", 1)), [])
    assert tables.stations.strangers() == ["ghost", "guest"]
    assert [s.station for s in tables.stations.status()] == ["s1"] == tables.stations.names()
    tables.stations.add("guest", "t", "", T0)
    assert tables.stations.strangers() == ["ghost"]
    assert [(s.station, s.online) for s in tables.stations.status()] == [("guest", True), ("s1", True)]


def test_a_will_of_an_earlier_boot_does_not_take_a_reborn_station_offline(tables: Tables) -> None:
    tables.stations.add("s1", "t", "", T0)
    tables.stations.commit([StationState("s1", "old", True, T0, "0.1", True)], [], T0)
    tables.stations.commit([StationState("s1", "new", True, T0), StationState("s1", "old", False, T0)], [], T0 + 1)
    (status,) = tables.stations.status()
    assert (status.online, status.boot, status.agent_version) == (True, "new", "0.1")
    tables.stations.commit([StationState("s1", "new", False, T0)], [], T0 + 2)
    assert not tables.stations.status()[0].online


def test_times_are_by_the_clouds_clock_and_tell_when_a_station_came_or_went(tables: Tables) -> None:
    tables.stations.add("s1", "t", "", T0)

    def came(online: bool, now: float) -> float:
        tables.stations.commit([StationState("s1", "b", online, 5.0)], [], now)
        return tables.stations.status()[0].state_at

    assert [came(True, T0 + 1), came(True, T0 + 2), came(False, T0 + 3), came(False, T0 + 4), came(True, T0 + 5)] == [
        T0 + 1, T0 + 1, T0 + 3, T0 + 3, T0 + 5,
    ]  # fmt: skip
    tables.stations.commit([], [ReportedState("s1", "b", 5.0, "d" * 64, "IDLE")], T0 + 6)
    assert tables.stations.status()[0].reported_at == T0 + 6


def test_the_last_report_stands(tables: Tables) -> None:
    tables.stations.add("s1", "t", "", T0)
    first = ReportedState("s1", "b", T0, "d" * 64, "DOWNLOAD", "r1-s1", "e" * 64, "", 4)
    last = ReportedState("s1", "b", T0, "e" * 64, "COMMITTED", "r1-s1", "", "kept", 4)
    tables.stations.commit([], [first, last], T0)
    (status,) = tables.stations.status()
    assert (status.bundle, status.update_state, status.deployment, status.reason, status.candidate) == (
        "e" * 64, "COMMITTED", "r1-s1", "kept", "",
    )  # fmt: skip


def test_an_answer_to_another_stations_command_changes_nothing(tables: Tables) -> None:
    tables.commands.sent(Command("c1", "s1", "upload_samples", T0 + 60), T0)
    tables.commands.answered(CommandResult("c1", "s2", True, "not mine"))
    tables.commands.answered(CommandResult("unknown", "s1", True))
    tables.commands.answered(CommandResult("c1", "s1", False, "2 no longer kept"))
    with tables.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT id, ok, detail FROM commands").all()
    assert [tuple(row) for row in rows] == [("c1", 0, "2 no longer kept")]
