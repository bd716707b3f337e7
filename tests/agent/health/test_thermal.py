"""Heat as the kernel shows it, on boards whose zones fail, lie or are missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.heat import Heat, HeatRules, Zone, hottest
from agent.health.sysfs import read_attribute
from agent.health.thermal import ThermalSensors
from tests.agent.health.sysfs_tree import orin, put, zone


def look(root: Path) -> Heat:
    return ThermalSensors(root, root / "no platform").look()


@contextmanager
def powered_down(attribute: Path) -> Iterator[None]:
    """Make reading `attribute` fail with EAGAIN, as a zone of a unit without power does: a pipe that nobody has filled."""
    attribute.unlink()
    os.mkfifo(attribute)
    end = os.open(attribute, os.O_RDWR | os.O_NONBLOCK)
    try:
        yield
    finally:
        os.close(end)
        attribute.unlink()


def test_an_orin_shows_its_zones_with_where_they_throttle_and_switch_off(tmp_path: Path) -> None:
    heat = look(orin(tmp_path))
    assert heat.zones[0] == Zone("cpu-thermal", 48.0, throttle_c=99.0, critical_c=104.5)
    assert heat.zones[-1] == Zone("tj-thermal", 50.125)  # active trips turn a fan on
    assert (len(heat.zones), heat.throttled_by) == (9, "")


def test_zones_without_power_answer_eagain_and_the_others_are_read(tmp_path: Path) -> None:
    orin(tmp_path)
    with powered_down(tmp_path / "thermal_zone2/temp"), powered_down(tmp_path / "thermal_zone3/temp"):
        blocked = os.open(tmp_path / "thermal_zone2/temp", os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(blocked) as file, pytest.raises((TypeError, BlockingIOError)):  # why read_attribute exists
            file.read()
        names = [found.name for found in look(tmp_path).zones]
    assert names == [
        "cpu-thermal",
        "gpu-thermal",
        "cv2-thermal",
        "soc0-thermal",
        "soc1-thermal",
        "soc2-thermal",
        "tj-thermal",
    ]


def test_a_zone_that_comes_back_is_seen_again(tmp_path: Path) -> None:
    sensors = ThermalSensors(orin(tmp_path), tmp_path / "none")
    with powered_down(tmp_path / "thermal_zone0/temp"):
        assert "cpu-thermal" not in [found.name for found in sensors.look().zones]
    put(tmp_path / "thermal_zone0", temp=97_250)
    assert sensors.look().zones[0] == Zone("cpu-thermal", 97.25, 99.0, 104.5)


def test_what_no_chip_survives_and_what_is_no_sensor_is_left_out(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", 45_000)
    zone(tmp_path, 1, "gpu-thermal", -256_000)
    zone(tmp_path, 2, "broken", 4_294_967_295)
    zone(tmp_path, 3, "words", "none")
    zone(tmp_path, 4, "PMIC-Die", 100_000)
    zone(tmp_path, 5, "gone", 20_000)
    (tmp_path / "thermal_zone5/temp").unlink()
    (tmp_path / "thermal_zone5/temp").mkdir()
    assert look(tmp_path).zones == (Zone("cpu-thermal", 45.0),)


def test_trip_points_that_are_switched_off_do_not_count_and_of_passive_ones_the_last_does(tmp_path: Path) -> None:
    zone(tmp_path, 0, "x86_pkg_temp", 70_000, ("passive", 0), ("passive", -274_000))
    zone(tmp_path, 1, "package-thermal", 70_000, ("passive", 75_000), ("passive", 85_000), ("critical", 115_000))
    zone(tmp_path, 2, "acpitz", 27_800, ("hot", 95_000), ("critical", 119_000))
    assert look(tmp_path).zones == (
        Zone("x86_pkg_temp", 70.0),
        Zone("package-thermal", 70.0, 85.0, 115.0),
        Zone("acpitz", 27.8, 95.0, 119.0),
    )


@pytest.mark.parametrize(
    ("kind", "state", "told"),
    [
        ("gpu-throttle-alert", 1, "gpu-throttle-alert"),
        ("hot-surface-alert", 1, "hot-surface-alert"),
        ("cpufreq-cpu0", 12, "cpufreq-cpu0"),
        ("thermal-cpufreq-0", 3, "thermal-cpufreq-0"),
        ("Processor", 1, "Processor"),
        ("cpufreq-cpu0", 0, ""),
        ("pwm-fan", 3, ""),
        ("intel_powerclamp", -1, ""),
    ],
)
def test_what_slows_the_machine_down_is_told_and_a_fan_is_not(tmp_path: Path, kind: str, state: int, told: str) -> None:
    orin(tmp_path)
    put(tmp_path / "cooling_device9", type=kind, cur_state=state)
    assert look(tmp_path).throttled_by == told


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("80008", "the firmware"),  # the soft temperature limit is up
        ("40004", "the firmware"),
        ("e0000", ""),  # it has been, since the start; it is not now
        ("50005", ""),  # slowed down by a weak supply, not by heat
        ("0", ""),
        ("no number", ""),
    ],
)
def test_a_raspberry_pis_firmware_tells_of_throttling_that_the_kernel_does_not_see(
    tmp_path: Path, flags: str, told: str
) -> None:
    zone(tmp_path / "thermal", 0, "cpu-thermal", 84_000, ("critical", 110_000))
    put(tmp_path / "platform/soc/soc:firmware", get_throttled=flags)
    assert ThermalSensors(tmp_path / "thermal", tmp_path / "platform").look().throttled_by == told


def test_a_machine_without_sensors_shows_none(tmp_path: Path) -> None:
    assert look(tmp_path / "nowhere") == Heat()
    assert look(tmp_path) == Heat()


@given(st.binary(max_size=64))
def test_whatever_a_zone_says_it_is_read_or_left_out(tmp_path_factory: pytest.TempPathFactory, said: bytes) -> None:
    folder = zone(tmp_path_factory.mktemp("thermal"), 0, "cpu-thermal", 0, ("critical", 110_000))
    for name in ("temp", "type", "trip_point_0_temp"):
        (folder / name).write_bytes(said)
    found = hottest(look(folder.parent).zones, HeatRules())
    assert found is None or -40 <= found.temp_c <= 200
    assert read_attribute(folder / "temp") == said.decode("utf-8", "replace").strip()
