"""Whether the machine gets the power it needs, as laptops, UPS boards, Jetsons and Pis tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.health.power import PowerSensors, Supplies
from tests.agent.health.sysfs_tree import put


def sensors(root: Path, *, low_battery: float = 0.3, hold_s: float = 30.0) -> PowerSensors:
    return PowerSensors(
        low_battery=low_battery,
        hold_s=hold_s,
        power_supply=root / "power_supply",
        hwmon=root / "hwmon",
        platform=root / "platform",
    )


def supply(root: Path, name: str, **values: object) -> None:
    put(root / "power_supply" / name, **values)


@pytest.mark.parametrize(
    ("status", "capacity", "told"),
    [
        ("Discharging", 29, "the battery is at 29%"),
        ("Discharging", 30, ""),
        ("Charging", 5, ""),
        ("Full", 100, ""),
    ],
)
def test_a_battery_is_low_power_once_it_discharges_below_the_share(
    tmp_path: Path, status: str, capacity: int, told: str
) -> None:
    supply(tmp_path, "AC", type="Mains", online=0)
    supply(tmp_path, "BAT0", type="Battery", present=1, status=status, capacity=capacity)
    assert sensors(tmp_path).trouble(0.0) == told


def test_a_battery_without_a_share_tells_its_level(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", status="Discharging", capacity_level="Critical")
    assert sensors(tmp_path).trouble(0.0) == "the battery is nearly empty"


def test_a_power_loss_contact_alone_is_low_power_while_it_says_so(tmp_path: Path) -> None:
    supply(tmp_path, "gpio-charger", type="Mains", online=0)
    assert sensors(tmp_path).trouble(0.0) == "the mains are off"
    supply(tmp_path, "gpio-charger", online=1)
    assert sensors(tmp_path).trouble(0.0) == ""


def test_an_empty_usb_socket_and_the_battery_of_a_mouse_are_no_supply(tmp_path: Path) -> None:
    supply(tmp_path, "ucsi-source-psy-1", type="USB", online=0)
    supply(tmp_path, "hidpp_battery_0", type="Battery", scope="Device", status="Discharging", capacity=2)
    supply(tmp_path, "BAT1", type="Battery", present=0, status="Discharging", capacity=0)
    assert sensors(tmp_path).trouble(0.0) == ""
    assert sensors(tmp_path).supplies() == Supplies()


def test_of_two_inputs_one_with_power_is_enough(tmp_path: Path) -> None:
    supply(tmp_path, "AC", type="Mains", online=0)
    supply(tmp_path, "ucsi-source-psy-1", type="USB", online=1)
    assert sensors(tmp_path).supplies().mains_online is True
    assert sensors(tmp_path).trouble(0.0) == ""


def test_an_alarm_that_went_off_since_the_last_look_counts_for_a_while(tmp_path: Path) -> None:
    oc = put(tmp_path / "hwmon/hwmon3", name="soctherm_oc", oc1_event_cnt=4, oc2_event_cnt=15, oc3_event_cnt=37)
    watched = sensors(tmp_path, hold_s=30.0)
    assert watched.trouble(100.0) == ""  # before this station looked
    put(oc, oc2_event_cnt=16)
    assert watched.trouble(101.0) == "over-current alarm"
    assert watched.trouble(131.0) == "over-current alarm"
    assert watched.trouble(132.0) == ""
    put(oc, oc1_event_cnt=5, oc2_event_cnt=17)
    assert watched.trouble(133.0) == "over-current and under-voltage alarm"
    assert watched.alarms_since_start() == {"under-voltage": 5, "over-current": 17}


def test_instantaneous_over_current_is_the_hardwares_own_business(tmp_path: Path) -> None:
    oc = put(tmp_path / "hwmon/hwmon3", oc3_event_cnt=37)
    watched = sensors(tmp_path)
    assert watched.trouble(0.0) == ""
    put(oc, oc3_event_cnt=27_390)
    assert watched.trouble(1.0) == ""


def test_a_count_that_began_anew_is_no_alarm_and_a_clock_that_stepped_back_holds_none_for_ever(tmp_path: Path) -> None:
    oc = put(tmp_path / "hwmon/hwmon3", oc1_event_cnt=9)
    watched = sensors(tmp_path, hold_s=30.0)
    watched.trouble(1000.0)
    put(oc, oc1_event_cnt=0)
    assert watched.trouble(1001.0) == ""
    put(oc, oc1_event_cnt=1)
    assert watched.trouble(1002.0) == "under-voltage alarm"
    assert watched.trouble(5.0) == "under-voltage alarm"
    assert watched.trouble(36.0) == ""


@pytest.mark.parametrize("flags", ["50005", "1"])
def test_a_pis_firmware_tells_of_under_voltage(tmp_path: Path, flags: str) -> None:
    put(tmp_path / "platform/soc@107c000000/soc@107c000000:firmware", get_throttled=flags)
    assert sensors(tmp_path).trouble(0.0) == "under-voltage"


@pytest.mark.parametrize(
    ("name", "alarm", "told"), [("rpi_volt", 1, "under-voltage"), ("rpi_volt", 0, ""), ("ina3221", 1, "")]
)
def test_a_pis_voltage_alarm_counts_and_another_chips_does_not(
    tmp_path: Path, name: str, alarm: int, told: str
) -> None:
    put(tmp_path / "hwmon/hwmon1", name=name, in0_lcrit_alarm=alarm)
    assert sensors(tmp_path).trouble(0.0) == told


def test_a_machine_that_describes_no_supply_has_no_trouble(tmp_path: Path) -> None:
    assert sensors(tmp_path / "nowhere").trouble(0.0) == ""
    assert sensors(tmp_path / "nowhere").alarms_since_start() == {}
