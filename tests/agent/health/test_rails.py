"""Rails and their alarms."""

from __future__ import annotations

from pathlib import Path

from agent.health.power import PowerSensors
from agent.health.rails import RailAlarms, read_rails, whole_power_w
from tests.agent.health.recorded_trees import unpack, write

_IN = "sys/class/hwmon/hwmon1/"


def test_a_rail_is_named_and_measured_and_what_is_not_connected_is_none(tmp_path: Path) -> None:
    files = unpack("agx_orin_jp6", tmp_path)
    rails = {rail.name: rail for rail in read_rails(files.hwmon)}
    assert set(rails) == {"VDDQ_VDD2_1V8AO", "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}
    assert (rails["VIN_SYS_5V0"].millivolts, rails["VIN_SYS_5V0"].milliamps) == (4952, 696)
    # The memory's rail is fed by VIN_SYS_5V0: to add it would count it twice.
    assert whole_power_w(files.hwmon) == (19.328 * 168 + 19.328 * 64 + 4.952 * 696) / 1e3


def test_a_rail_that_is_switched_off_is_left_out_and_the_whole_is_then_not_known(tmp_path: Path) -> None:
    files = unpack("orin_nano_jp6", tmp_path)
    (tmp_path / _IN / "curr1_input").unlink()
    assert [rail.name for rail in read_rails(files.hwmon)] == ["VDD_CPU_GPU_CV", "VDD_SOC"]
    assert whole_power_w(files.hwmon) is None


def test_a_thor_without_its_carriers_monitor_is_the_sum_of_its_rails(tmp_path: Path) -> None:
    files = unpack("agx_thor_jp7", tmp_path)
    write(tmp_path, "sys/class/hwmon/hwmon3/power1_input", 0)  # fed through the other socket
    assert round(whole_power_w(files.hwmon) or 0.0, 2) == 13.03


def test_one_sample_over_the_limit_is_no_trouble_and_several_are(tmp_path: Path) -> None:
    alarms = RailAlarms(unpack("orin_nano_jp6", tmp_path).hwmon)
    told = []
    for second, up in enumerate([0, 1, 0, 0, 1, 0, 1, 0, 0]):
        write(tmp_path, f"{_IN}curr1_crit_alarm", up)
        told.append(alarms.look(float(second)))
    assert told == ["", "", "", "", "", "", "VDD_IN", "", ""]
    write(tmp_path, f"{_IN}curr1_crit_alarm", 1)
    assert alarms.look(60.0) == ""  # what was a minute ago is not of late


def test_an_alarm_without_a_limit_or_at_full_scale_is_none(tmp_path: Path) -> None:
    files = unpack("orin_nano_jp6", tmp_path)
    write(tmp_path, f"{_IN}curr1_crit", 0)
    for alarm in ("curr1_crit_alarm", "curr2_crit_alarm", "curr3_max_alarm", "curr4_crit_alarm"):
        write(tmp_path, f"{_IN}{alarm}", 1)
    alarms = RailAlarms(files.hwmon)
    assert [alarms.look(float(second)) for second in range(6)] == [""] * 6


def test_a_xavier_that_takes_too_much_has_low_power(tmp_path: Path) -> None:
    files = unpack("xavier_nx_jp5", tmp_path)
    power = PowerSensors(hwmon=files.hwmon, power_supply=files.power_supply, platform=files.platform, hold_s=30.0)
    write(tmp_path, "sys/class/hwmon/hwmon4/curr1_max_alarm", 1)
    assert [power.trouble(float(second)) for second in range(3)] == ["", "", "over-current at VDD_IN"]
    write(tmp_path, "sys/class/hwmon/hwmon4/curr1_max_alarm", 0)
    assert power.trouble(32.0) == "over-current at VDD_IN"
    assert power.trouble(33.0) == ""
