"""`doctor` says which profile lies under agent.toml, and warns of a power mode that it does not recommend."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.commands.doctor_board import board_profile
from agent.commands.doctor_checks import Finding, Level
from agent.settings import load_settings
from tests.agent.health.test_board_profiles import ORIN_NANO_CONF, machine

NANO = b"NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0"


def look(folder: Path, model: bytes, extra: str = "", **files: str) -> Finding:
    path = folder / "agent.toml"
    path.write_text(f'station = "s1"\nhome = "state"\n{extra}')
    root = machine(folder / "root", model, **files)
    return board_profile(load_settings(path, environment={}, root=root), root)


def test_another_power_mode_than_the_recommended_one_is_a_warning_with_the_command(tmp_path: Path) -> None:
    found = look(tmp_path, NANO, status="pmode:0000", conf=ORIN_NANO_CONF)
    assert found.level is Level.WARNING
    assert found.found == "NVIDIA Jetson Orin Nano (profile jetson-orin-nano); power mode 15W"
    assert "recommends 25W: sudo nvpmodel -m 1" in found.todo


def test_the_recommended_power_mode_is_ok(tmp_path: Path) -> None:
    found = look(tmp_path, NANO, status="pmode:0001", conf=ORIN_NANO_CONF)
    assert (found.level, found.todo) == (Level.OK, "")


@pytest.mark.parametrize(
    ("model", "extra", "words"),
    [
        (NANO, "", "its power mode cannot be read"),
        (b"Raspberry Pi 5 Model B Rev 1.0\0", "", "Raspberry Pi 5 (profile raspberry-pi-5)"),
        (b"Banana Pi M5\0", "", "no profile knows 'banana-pi-m5', so it is taken as any"),
        (b"Banana Pi M5\0", 'board = "none"\n', "no profile (board"),
        (b"Banana Pi M5\0", 'board = "generic-x86"\n', "any x86-64 machine (profile generic-x86)"),
    ],
)
def test_what_has_no_modes_or_no_profile_is_said_and_no_warning(
    tmp_path: Path, model: bytes, extra: str, words: str
) -> None:
    found = look(tmp_path, model, extra)
    assert found.level is Level.OK and words in found.found, found
