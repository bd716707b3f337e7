"""How worn a disk is, and what it is written to in a day."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.health.disk_wear import disks
from agent.health.kernel_files import KernelFiles
from agent.ports.machine import DiskWear
from tests.agent.health.recorded_trees import unpack, write

_EMMC = "sys/block/mmcblk0/device/"


def test_an_emmc_tells_the_worse_of_its_cells_and_what_is_written(tmp_path: Path) -> None:
    (found,) = disks(unpack("agx_orin_jp6", tmp_path))
    per_day = 1_048_576_000 * 512 / 10
    assert found == DiskWear("mmcblk0", "eMMC", 0.9, "", False, 1_048_576_000 * 512, pytest.approx(per_day))


@pytest.mark.parametrize(
    ("life_time", "worn"),
    [
        ("0x01 0x01", 0.1),
        ("0x0a 0x02", 1.0),
        ("0x0B 0x02", 1.1),
        ("0x00 0x00", None),  # not defined
        ("0x00 0x03", 0.3),
        ("0x0c 0xff", None),  # reserved
        ("", None),
        ("9 9", None),
        ("0x1234", None),
    ],
)
def test_the_steps_are_those_of_jedec_and_nothing_else_is_one(
    tmp_path: Path, life_time: str, worn: float | None
) -> None:
    files = unpack("agx_orin_jp6", tmp_path)
    write(tmp_path, f"{_EMMC}life_time", life_time)
    (found,) = disks(files)
    assert found.worn == worn
    assert bool(found.why) is (worn is None)


@pytest.mark.parametrize(
    ("eol", "low"), [("0x01", False), ("0x02", True), ("0x03", True), ("0x00", False), ("??", False)]
)
def test_the_spare_blocks_have_a_warning_of_their_own(tmp_path: Path, eol: str, low: bool) -> None:
    files = unpack("agx_orin_jp6", tmp_path)
    write(tmp_path, f"{_EMMC}pre_eol_info", eol)
    assert disks(files)[0].reserve_low is low


def test_what_cannot_be_asked_says_why_and_what_is_no_disk_is_left_out(tmp_path: Path) -> None:
    told = {disk.name: (disk.kind, disk.worn, disk.why) for disk in disks(unpack("orin_nano_jp6", tmp_path))}
    assert told == {
        "mmcblk0": ("SD", None, "an SD card does not tell"),
        "nvme0n1": ("NVMe", None, "only root may ask it: nvme smart-log"),
    }
    assert [disk.name for disk in disks(unpack("agx_orin_jp6", tmp_path / "agx"))] == ["mmcblk0"]  # not mmcblk0boot0


def test_in_its_first_hour_a_machine_tells_no_rate_of_a_day(tmp_path: Path) -> None:
    found = disks(unpack("raspberry_pi_5", tmp_path))[0]
    assert (found.written_bytes, found.written_per_day) == (262_144 * 512, None)


def test_this_machine_too_can_be_looked_at() -> None:
    assert all(disk.name and disk.kind for disk in disks(KernelFiles()))
