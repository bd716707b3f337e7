"""What a station reads on the boards it is meant for, as far as public sources show their sysfs: none of them stood here."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.decide.heat import HeatRules, hottest, slowed_by
from agent.decide.memory import MemoryRules, why_low
from agent.health.kernel_files import KernelFiles, is_tegra
from agent.health.linux_machine import LinuxMachine
from agent.ports.machine import MachineFigures
from tests.agent.health.recorded_trees import BOARDS, unpack, write


@pytest.mark.parametrize(
    ("board", "zone", "zones", "slowed", "power_w", "gpu", "memory_mib", "worn", "tegra"),
    [
        ("orin_nano_jp6", "gpu-thermal", 6, "", 7.62, 0.212, 5000, None, True),
        ("agx_orin_jp6", "cpu-thermal", 8, "", 7.93, 0.0, 56_641, 0.9, True),
        ("agx_thor_jp7", "soc012-thermal", 4, "", 22.96, None, 107_422, None, True),
        ("xavier_nx_jp5", "CPU-therm", 5, "cpu-balanced", 18.17, 0.987, 879, 1.1, True),
        ("raspberry_pi_5", "cpu-thermal", 1, "", None, None, 6738, None, False),
        ("nuc_x86", "SEN1", 6, "", None, None, 310, None, False),
    ],
)
def test_each_board_says_what_it_can(
    tmp_path: Path,
    board: str,
    zone: str,
    zones: int,
    slowed: str,
    power_w: float | None,
    gpu: float | None,
    memory_mib: int,
    worn: float | None,
    tegra: bool,
) -> None:
    files = unpack(board, tmp_path)
    machine = LinuxMachine(files)
    heat, figures, room = machine.heat(), machine.figures(), machine.memory()
    nearest = hottest(heat.zones, HeatRules())
    assert nearest is not None and room is not None
    assert (nearest.name, len(heat.zones), slowed_by(heat, HeatRules())) == (zone, zones, slowed)
    assert (figures.power_w and round(figures.power_w, 2), figures.gpu_load, figures.worn) == (power_w, gpu, worn)
    assert (round(room.available_mib), is_tegra(files)) == (memory_mib, tegra)
    assert all(machine.power_trouble(second) == "" for second in map(float, range(100)))


@pytest.mark.parametrize("board", [board for board in BOARDS if board != "xavier_nx_jp5"])
def test_no_board_at_rest_is_under_any_pressure(tmp_path: Path, board: str) -> None:
    machine = LinuxMachine(unpack(board, tmp_path))
    for second in range(5):
        assert slowed_by(machine.heat(), HeatRules()) == ""
        assert machine.power_trouble(float(second)) == ""
        assert why_low(machine.memory(), MemoryRules()) == ""


def test_a_container_that_does_not_see_the_device_tree_still_knows_a_jetson(tmp_path: Path) -> None:
    files = unpack("orin_nano_jp6", tmp_path)
    (tmp_path / "proc/device-tree/compatible").unlink()
    assert not is_tegra(files)
    write(tmp_path, "sys/devices/soc0/family", "Tegra")
    assert is_tegra(files)
    write(tmp_path, "sys/devices/soc0/family", "Snapdragon")
    assert not is_tegra(files)


def test_an_orin_nano_counts_its_peaks_and_is_not_in_trouble_for_them(tmp_path: Path) -> None:
    machine = LinuxMachine(unpack("orin_nano_jp6", tmp_path))
    assert machine.power_trouble(0.0) == ""
    write(tmp_path, "sys/class/hwmon/hwmon3/oc3_event_cnt", 27_398)
    assert machine.power_trouble(1.0) == ""
    assert machine.figures().events == {"under-voltage": 0, "over-current": 0, "instant-over-current": 27_398}
    write(tmp_path, "sys/class/hwmon/hwmon3/oc2_event_cnt", 1)
    assert machine.power_trouble(2.0) == "over-current alarm"


def test_without_a_power_mode_the_lowered_ceiling_of_a_hot_board_is_throttling(tmp_path: Path) -> None:
    machine = LinuxMachine(unpack("orin_nano_jp6", tmp_path))
    assert machine.heat().capped == ""  # 15 W: the ceiling that it has had from the start
    ceiling = "sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq"
    write(tmp_path, ceiling, 1_190_400)
    heat = machine.heat()
    assert (heat.capped, slowed_by(heat, HeatRules())) == ("policy4", "")  # somebody chose another mode
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", 92_000)
    assert slowed_by(machine.heat(), HeatRules()) == "policy4"
    write(tmp_path, ceiling, 1_510_400)
    write(tmp_path, "sys/class/devfreq/17000000.gpu/max_freq", 306_000_000)
    assert slowed_by(machine.heat(), HeatRules()) == "17000000.gpu"
    write(tmp_path, "sys/class/devfreq/17000000.gpu/max_freq", 624_750_000)
    assert slowed_by(machine.heat(), HeatRules()) == ""


def test_an_intel_package_that_holds_its_clock_down_for_long_is_throttled(tmp_path: Path) -> None:
    machine = LinuxMachine(unpack("nuc_x86", tmp_path))
    held = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_total_time_ms"
    told = [machine.heat().throttled_by]  # what was before the station began
    for total_ms in (90_210, 90_250, 90_900, 90_900, 3):
        write(tmp_path, held, total_ms)
        told.append(machine.heat().throttled_by)
    assert told == ["", "", "", "the processor itself", "", ""]


def test_a_look_at_the_board_with_the_most_sensors_takes_less_than_a_millisecond(tmp_path: Path) -> None:
    machine = LinuxMachine(unpack("agx_orin_jp6", tmp_path))
    batches = []
    for batch in range(5):
        began_s = time.thread_time()  # of this thread alone: other processes of the test run must not fail it
        for look in range(20):
            machine.heat()
            machine.power_trouble(float(20 * batch + look))
            machine.memory()
        batches.append((time.thread_time() - began_s) / 20)
    assert min(batches) < 1e-3


def fields_of(figures: MachineFigures) -> tuple[object, ...]:
    return figures.rails, figures.power_w, figures.events, figures.gpu_load, figures.memory, figures.disks


def test_a_machine_of_which_nothing_can_be_read_says_nothing(tmp_path: Path) -> None:
    machine = LinuxMachine(KernelFiles(tmp_path / "nowhere"))
    assert machine.heat().zones == () and machine.power_trouble(0.0) == "" and machine.memory() is None
    assert fields_of(machine.figures()) == ((), None, {}, None, None, ())


_GARBAGE = st.sampled_from(["", "-1", "max", "nan", "0x", "\x00", "4294967295", "9" * 400, "1 2 3", "0", "\udce9", "²"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(BOARDS), st.randoms(use_true_random=False), _GARBAGE)
def test_garbled_files_raise_nothing_and_no_alarm_of_power_or_memory(
    tmp_path_factory: pytest.TempPathFactory, board: str, chance: random.Random, garbage: str
) -> None:
    root = tmp_path_factory.mktemp("garbled")
    files = unpack(board, root)
    for path in sorted(root.rglob("*")):
        # Counters and alarms that turn to a sound number are told apart from garbage by nothing.
        if path.is_file() and chance.random() < 0.3 and "meminfo" not in path.name:
            path.write_bytes(garbage.encode("utf-8", "surrogateescape"))
    machine = LinuxMachine(files)
    for second in itertools.islice(itertools.count(), 3):
        machine.heat()
        assert machine.power_trouble(float(second)) in ("", "under-voltage")
        machine.memory()
    machine.figures()
