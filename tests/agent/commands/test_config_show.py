"""`plumbline-agent config show` says of every key what it is and who said so."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from agent.__main__ import main
from agent.settings_keys import Settings
from agent.slots.config_file import ConfigFile
from agent.update.config_health import Vitals
from contract.config_states import settings_digest
from contract.messages import ConfigOrder

REMOTE = "[windows]\nframes = 64\n"
ORDER = ConfigOrder("s1", REMOTE, "d1", 7, 1.0, 2.0)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(
        'station = "s1"\nhome = "state"\n[windows]\nframes = 128\nseconds = 5.0\n[cloud]\nurl = "http://c"\n'
        '[trust]\nroot = "root.json"\norder_keys = ["order.pub"]\n'
    )
    ConfigFile(tmp_path / "state/config").commit(ORDER)
    return path


def test_every_key_is_shown_with_its_value_and_where_it_comes_from(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ConfigFile(config.parent / "state/config").begin(msgspec.structs.replace(ORDER, config_seq=8), Vitals())
    assert main(["config", "show", "--config", str(config), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    settings = shown["settings"]
    assert settings["windows.frames"] == {"value": 64, "from": "order"}
    assert settings["windows.seconds"] == {"value": 5.0, "from": "agent.toml"}
    assert settings["windows.sketch"] == {"value": True, "from": "default"}
    assert settings["station"] == {"value": "s1", "from": "agent.toml"}
    assert {key.partition(".")[0] for key in settings} == set(Settings.__struct_fields__) - {"folder", "profile"}
    assert (shown["configuration"], shown["config_seq"], shown["on_trial"]) == (settings_digest(REMOTE), 7, 8)
    assert main(["config", "show", "--config", str(config)]) == 0
    text = capsys.readouterr().out
    assert (
        f"remote settings: {settings_digest(REMOTE)[:12]} (config_seq 7)" in text and "on trial: config_seq 8" in text
    )
    assert "last change: kept" in text


def test_settings_that_no_longer_fit_or_whose_key_was_taken_out_are_not_shown_as_in_force(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ConfigFile(config.parent / "state/config")
    store.commit(ConfigOrder("s1", "[line]\ndeadline_ms = 150.0\n", "d2", 8, 1.0, 2.0))
    config.write_text(config.read_text() + "[line]\ndeadline_ms = 100.0\n")
    assert main(["config", "show", "--config", str(config)]) == 0
    text = capsys.readouterr().out
    assert "no remote settings" in text and "not used: 'remote settings' line 2" in text
    config.write_text('station = "s1"\nhome = "state"\n')
    assert main(["config", "show", "--config", str(config)]) == 0
    text = capsys.readouterr().out
    assert "no remote settings" in text and "not used" not in text and "windows.frames" in text
