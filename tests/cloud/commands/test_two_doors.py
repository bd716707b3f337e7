"""The API's door for people and its door for stations are two: one port for both is refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.settings import load_settings
from contract.errors import InvalidConfig


def test_init_refuses_one_port_for_both_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "plant"
    words = ["init", "--home", str(home), "--secure", "--broker-name", "b", "--api-port", "8443"]
    assert main(words) == 1
    assert "both 8443" in capsys.readouterr().err and not home.exists()


def test_a_server_with_one_port_for_both_says_so(tmp_path: Path) -> None:
    (tmp_path / "cloud.toml").write_text("[api]\nport = 9000\ndevice_port = 9000\n")
    with pytest.raises(InvalidConfig, match="both 9000"):
        load_settings(tmp_path / "cloud.toml")
    (tmp_path / "cloud.toml").write_text("[api]\nport = 9000\ndevice_port = 9001\n")
    assert load_settings(tmp_path / "cloud.toml").api.device_port == 9001
