"""Which board this is, and how the station fares."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from agent.decide.degrade import Rung
from agent.decide.heat import Zone
from agent.decide.memory import MemoryRoom
from agent.degrading import DegradeFigures
from agent.health.board import MAX_CHARS, board
from agent.health.disk import DiskRoom
from agent.health.linux_machine import LinuxMachine
from agent.health.station_health import health_note
from contract.messages import HealthNote
from tests.agent.health.recorded_trees import unpack


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (b"NVIDIA Jetson Orin Nano Developer Kit\0", "jetson-orin-nano"),
        (b"Raspberry Pi 5 Model B Rev 1.0\0", "raspberry-pi-5-model-b"),
        (b"\xff\xfe<b>board</b>\0", "b-board-b"),
        (b"x" * 300, "x" * MAX_CHARS),
        (b"\0", platform.machine()),
    ],
)
def test_a_boards_class_comes_from_its_device_tree(tmp_path: Path, model: bytes, name: str) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(model)
    assert board(tmp_path) == name


def test_without_a_device_tree_it_is_the_machine(tmp_path: Path) -> None:
    assert board(tmp_path) == platform.machine()


def test_the_note_says_what_can_be_read_and_nothing_else() -> None:
    zone = Zone("cpu", 71.26, 95.0, 105.0)
    figures = DegradeFigures(Rung.NO_SHADOW, "degraded", 3, zone, throttled=True)
    note = health_note(figures, 118.53, DiskRoom(10 << 30, 20 << 20, False), 3)
    assert note == HealthNote(118.5, 71.3, 95.0, True, int(Rung.NO_SHADOW), 20, 3)
    assert health_note(DegradeFigures(), 0.0, None, 0) == HealthNote()
    assert health_note(DegradeFigures(zone=Zone("soc", -5.0)), 1.0, None, 0).limit_c is None


def test_the_note_tells_what_the_machine_said_of_late_and_memory_as_it_is_now(tmp_path: Path) -> None:
    machine = LinuxMachine(unpack("agx_orin_jp6", tmp_path)).figures()
    note = health_note(DegradeFigures(low_power=True), 0.0, None, 0, machine)
    assert note == HealthNote(low_power=True, power_w=7.9, free_memory_mib=56_641.0, disk_worn=0.9)
    now = DegradeFigures(memory=MemoryRoom(62_841.0, 312.4))
    assert health_note(now, 0.0, None, 0, machine).free_memory_mib == 312.0
