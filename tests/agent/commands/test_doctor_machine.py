"""The doctor's lines on memory, disks, rails and load, on the recorded boards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.commands.doctor_checks import Level
from agent.commands.doctor_machine import disk_wear, has_load, load, memory
from agent.commands.doctor_surroundings import power
from agent.health.kernel_files import KernelFiles
from tests.agent.health.recorded_trees import unpack, write


def test_memory_says_what_is_left_when_it_degrades_and_who_shares_it(tmp_path: Path) -> None:
    found = memory(unpack("orin_nano_jp6", tmp_path))
    assert (found.level, found.todo) == (Level.OK, "")
    assert found.found == "5000 of 7620 MiB are left; degrades under 457 MiB; the GPU shares it"
    write(tmp_path, "proc/meminfo", "MemTotal: 7802624 kB\\nMemAvailable: 307200 kB")
    found = memory(KernelFiles(tmp_path))
    assert (found.level, "300 of 7620 MiB" in found.found, "smaller artefact" in found.todo) == (
        Level.WARNING,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("board", "level", "words"),
    [
        ("agx_orin_jp6", Level.WARNING, "mmcblk0 (eMMC) has used up to 90% of its life, 50.0 GiB a day are written"),
        ("xavier_nx_jp5", Level.WARNING, "is past the life it was made for, and 80 % or more of its spare blocks"),
        ("orin_nano_jp6", Level.OK, "nvme0n1 (NVMe) does not say how worn it is: only root may ask it"),
        ("raspberry_pi_5", Level.OK, "mmcblk0 (SD) does not say how worn it is: an SD card does not tell"),
    ],
)
def test_a_worn_disk_is_a_warning_and_one_that_does_not_tell_says_why(
    tmp_path: Path, board: str, level: Level, words: str
) -> None:
    found = disk_wear(unpack(board, tmp_path))
    assert found.level is level and words in found.found
    assert bool(found.todo) is (level is Level.WARNING)


def test_a_new_disk_is_fine(tmp_path: Path) -> None:
    files = unpack("agx_orin_jp6", tmp_path)
    write(tmp_path, "sys/block/mmcblk0/device/life_time", "0x02 0x07")
    assert disk_wear(files).level is Level.OK
    write(tmp_path, "sys/block/mmcblk0/device/life_time", "0x02 0x08")
    assert disk_wear(files).level is Level.WARNING


def test_power_says_what_the_board_takes_and_that_short_peaks_are_no_fault(tmp_path: Path) -> None:
    found = power(hwmon=unpack("orin_nano_jp6", tmp_path).hwmon)
    assert found.level is Level.OK
    assert "the board takes 7.6 W (VDD_IN 7.6 W, VDD_CPU_GPU_CV 1.8 W, VDD_SOC 1.5 W)" in found.found
    assert "27390 short peaks" in found.found


def test_the_load_is_sysfs_own_where_it_has_one_and_else_tegrastats(tmp_path: Path) -> None:
    says = [sys.executable, "-c", "print('RAM 1/2MB EMC_FREQ 7%@2133 GR3D_FREQ 43%@[305] x', flush=True)"]
    orin, thor = unpack("orin_nano_jp6", tmp_path / "orin"), unpack("agx_thor_jp7", tmp_path / "thor")
    assert has_load(orin) and has_load(thor)
    assert load(orin, ["/nowhere/tegrastats"]).found == "GPU 21% busy"
    assert load(orin, says).found == "GPU 21% busy, memory controller 7% busy"
    assert load(thor, says).found == "GPU 43% busy, memory controller 7% busy"
    assert load(thor, ["/nowhere/tegrastats"]).found == "the GPU's load is not told here"


def test_a_machine_of_which_nothing_can_be_read_is_fine_and_says_so(tmp_path: Path) -> None:
    nothing = KernelFiles(tmp_path / "nowhere")
    assert [memory(nothing).level, disk_wear(nothing).level] == [Level.OK, Level.OK]
    assert "not watched" in memory(nothing).found


def test_the_command_has_these_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.toml").write_text('station = "s1"\nhome = "state"\n[broker]\nhost = ""\n[api]\nport = 0\n')
    main(["doctor", "--config", str(tmp_path / "agent.toml")])
    said = capsys.readouterr().out
    assert "MiB are left; degrades under" in said and "disk wear" in said
