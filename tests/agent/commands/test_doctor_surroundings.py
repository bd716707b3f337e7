"""The doctor's lines on heat and power."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.__main__ import main
from agent.commands.doctor_checks import Level
from agent.commands.doctor_surroundings import heat, power
from agent.health.power import PowerSensors
from agent.health.thermal import ThermalSensors
from tests.agent.health.sysfs_tree import orin, put


def supplies(root: Path) -> PowerSensors:
    return PowerSensors(power_supply=root / "supply", hwmon=root / "hwmon", platform=root / "platform")


def test_a_cool_board_tells_its_nearest_zone_and_when_it_would_degrade(tmp_path: Path) -> None:
    found = heat(ThermalSensors(orin(tmp_path), tmp_path / "none"))
    assert (found.level, found.todo) == (Level.OK, "")
    assert "tj-thermal at 50.1 C (throttle at 99 C)" in found.found
    assert "degrades from 95 C" in found.found


def test_a_hot_board_is_a_warning_with_what_to_do(tmp_path: Path) -> None:
    put(orin(tmp_path) / "thermal_zone1", temp=98_500)
    found = heat(ThermalSensors(tmp_path, tmp_path / "none"))
    assert found.level is Level.WARNING
    assert "gpu-thermal at 98.5 C (throttle at 99 C, critical at 104.5 C)" in found.found
    assert "heat sink" in found.todo


def test_a_board_that_slows_itself_down_is_a_warning_with_or_without_zones(tmp_path: Path) -> None:
    put(orin(tmp_path / "orin") / "cooling_device1", cur_state=1)
    put(tmp_path / "bare/cooling_device0", type="gpu-throttle-alert", cur_state=1)
    for root in (tmp_path / "orin", tmp_path / "bare"):
        found = heat(ThermalSensors(root, tmp_path / "none"))
        assert (found.level, "slowed down by" in found.found) == (Level.WARNING, True)
        assert found.todo


def test_a_machine_without_sensors_is_fine_and_says_that_nothing_is_watched(tmp_path: Path) -> None:
    found = heat(ThermalSensors(tmp_path, tmp_path)), power(supplies(tmp_path))
    assert [finding.level for finding in found] == [Level.OK, Level.OK]
    assert "none is watched" in found[0].found


def test_a_discharging_battery_is_told_and_a_low_one_warned_of(tmp_path: Path) -> None:
    put(tmp_path / "supply/AC", type="Mains", online=0)
    put(tmp_path / "supply/BAT0", type="Battery", status="Discharging", capacity=80)
    found = power(supplies(tmp_path))
    assert (found.level, found.found) == (Level.OK, "mains off, battery at 80%, discharging")
    put(tmp_path / "supply/BAT0", capacity=20)
    found = power(supplies(tmp_path))
    assert (found.level, "the battery is at 20%" in found.found) == (Level.WARNING, True)


def test_alarms_since_the_start_are_a_warning_about_the_supply(tmp_path: Path) -> None:
    put(tmp_path / "hwmon/hwmon3", oc1_event_cnt=0, oc2_event_cnt=15, oc3_event_cnt=37)
    found = power(supplies(tmp_path))
    assert found.level is Level.WARNING
    assert "15 over-current alarms since the machine started" in found.found
    assert "supply" in found.todo


def test_the_command_has_both_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.toml").write_text('station = "s1"\nhome = "state"\n[broker]\nhost = ""\n[api]\nport = 0\n')
    main(["doctor", "--config", str(tmp_path / "agent.toml")])
    names = [line[9:].split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"heat", "power"} <= set(names)
