"""A key that agent.toml does not have: every command that reads it says where, and which key was probably meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CASES = [
    ("statoin = 's1'", "statoin", "station"),
    ("[sorce]\nkind = 'simulated'", "sorce", "source"),
    ("[source]\nkindd = 'simulated'", "source.kindd", "kind"),
    ("[line]\ndeadline = 100.0", "line.deadline", "deadline_ms"),
    ("[limits]\ndisk_mb = 100", "limits.disk_mb", "disk_mib"),
    ("[policy]\nimage_leaves = 'never'", "policy.image_leaves", "images_leave"),
    ("[api]\nprot = 1", "api.prot", "port"),
]


@pytest.mark.parametrize(("text", "key", "nearest"), CASES)
@pytest.mark.parametrize("command", ["run", "status"])
def test_an_unknown_key_is_one_line_with_its_place_and_the_nearest_valid_key(
    tmp_path: Path, command: str, text: str, key: str, nearest: str
) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'station = "s1"\nhome = "state"\n{text}\n')
    ran = subprocess.run(
        (sys.executable, "-m", "agent", command, "--config", str(path)), capture_output=True, text=True, check=False
    )
    assert ran.returncode not in (0, None) and ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("error: ") and f"'{key}'" in line and f"'{nearest}'" in line
    assert not (tmp_path / "state").exists(), "nothing was touched"


def test_doctor_names_it_too(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('station = "s1"\nhome = "state"\n[source]\nkindd = "simulated"\n')
    ran = subprocess.run(
        (sys.executable, "-m", "agent", "doctor", "--config", str(path)), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "source.kindd" in ran.stdout and "'kind'" in ran.stdout
