"""How much memory is left, to the machine and to the cgroup that the station runs in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.memory import MemoryRoom
from agent.health.kernel_files import KernelFiles
from agent.health.memory_room import MemorySensor
from tests.agent.health.recorded_trees import unpack, write

_UNIT = "sys/fs/cgroup/system.slice/plumbline-agent.service/"


def test_a_unit_without_a_limit_has_what_the_machine_has(tmp_path: Path) -> None:
    assert MemorySensor(unpack("orin_nano_jp6", tmp_path)).look() == MemoryRoom(7_802_624 / 1024, 5000.0, 0.0)


def test_a_limit_counts_what_can_be_dropped_as_left_and_the_strictest_of_all_levels_holds(tmp_path: Path) -> None:
    sensor = MemorySensor(unpack("orin_nano_jp6", tmp_path))
    write(tmp_path, f"{_UNIT}memory.max", 1 << 30)
    write(tmp_path, f"{_UNIT}memory.current", 768 << 20)
    write(tmp_path, f"{_UNIT}memory.stat", f"anon 1\\ninactive_file {128 << 20}")
    assert sensor.look() == MemoryRoom(1024.0, 384.0)
    write(tmp_path, f"{_UNIT}memory.high", 896 << 20)
    assert sensor.look() == MemoryRoom(896.0, 256.0)
    write(tmp_path, f"{_UNIT}memory.high", "max")
    write(tmp_path, "sys/fs/cgroup/system.slice/memory.max", 2 << 30)
    write(tmp_path, "sys/fs/cgroup/system.slice/memory.current", (2 << 30) - 4096)
    left = MemorySensor(KernelFiles(tmp_path)).look()
    assert left is not None and left.total_mib == 1024.0 and left.available_mib < 0.01


def test_of_cgroup_v1_without_a_limit_the_machines_own_memory_is_told(tmp_path: Path) -> None:
    files = unpack("xavier_nx_jp5", tmp_path)
    assert MemorySensor(files).look() == MemoryRoom(6952.0, 878.90625)
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", 2 << 30)
    write(tmp_path, "sys/fs/cgroup/memory/memory.usage_in_bytes", (2 << 30) - (100 << 20))
    write(tmp_path, "sys/fs/cgroup/memory/memory.stat", "total_inactive_file 0")
    assert MemorySensor(files).look() == MemoryRoom(2048.0, 100.0)


@pytest.mark.parametrize(
    ("pressure", "stalled"),
    [
        ("some avg10=80.00 avg60=1.00\\nfull avg10=42.50 avg60=0.00 avg300=0.00 total=1", 0.425),
        ("full avg10=nan avg60=0.00", 0.0),
        ("full avg10=", 0.0),
        ("full avg10=900.00", 0.0),
        ("some avg10=80.00", 0.0),
    ],
)
def test_how_long_everything_waits_is_told_where_the_kernel_does(tmp_path: Path, pressure: str, stalled: float) -> None:
    files = unpack("orin_nano_jp6", tmp_path)
    write(tmp_path, "proc/pressure/memory", pressure)
    room = MemorySensor(files).look()
    assert room is not None and room.stalled == stalled


@pytest.mark.parametrize(
    "meminfo",
    ["", "MemTotal: 1000 kB", "MemTotal: 1000 kB\\nMemAvailable: 2000 kB", "MemTotal: 0 kB\\nMemAvailable: 0 kB"],
)
def test_what_makes_no_sense_is_not_known(tmp_path: Path, meminfo: str) -> None:
    write(tmp_path, "proc/meminfo", meminfo)
    assert MemorySensor(KernelFiles(tmp_path)).look() is None


@given(st.text(max_size=300), st.text(max_size=100))
def test_odd_text_raises_nothing(tmp_path_factory: pytest.TempPathFactory, text: str, group: str) -> None:
    root = tmp_path_factory.mktemp("odd")
    write(root, "proc/meminfo", "MemTotal: 1024 kB\\nMemAvailable: 512 kB")
    for path, said in (("proc/self/cgroup", group), ("proc/pressure/memory", text), ("sys/fs/cgroup/memory.max", text)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(said.encode("utf-8", "surrogatepass"))
    assert MemorySensor(KernelFiles(root)).look() is not None


def test_this_machine_has_memory_left() -> None:
    room = MemorySensor().look()
    assert room is not None and 0 < room.available_mib <= room.total_mib


def test_a_service_that_only_reads_and_writes_files_is_not_short_of_memory(tmp_path: Path) -> None:
    """A limited group fills up with pages of files, the often read among them; the kernel drops those before it kills."""
    sensor = MemorySensor(unpack("orin_nano_jp6", tmp_path))
    write(tmp_path, f"{_UNIT}memory.max", 1 << 30)
    write(tmp_path, f"{_UNIT}memory.current", (1 << 30) - 4096)
    write(tmp_path, f"{_UNIT}memory.stat", f"anon 1\\nactive_file {600 << 20}\\ninactive_file {100 << 20}")
    room = sensor.look()
    assert room is not None and 700.0 <= room.available_mib < 701.0
