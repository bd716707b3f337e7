"""A watched folder cannot tell a late image from the next part's: no station starts with one that a controller triggers."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.settings import load_settings
from contract.errors import InvalidConfig

WATCHED = 'kind = "folder"\nfolder = "images"\nloop = false\nwatch = true\n'
PLC = '[plc]\nkind = "modbus"\nport = 1502\n'


def written(folder: Path, text: str) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    config = folder / "agent.toml"
    config.write_text(f'station = "s1"\nhome = "state"\n{text}')
    return config


@pytest.mark.parametrize("kind", ["modbus", "mqtt", "opcua"])
def test_a_watched_folder_with_triggers_is_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
    config = written(tmp_path, f'[source]\n{WATCHED}[plc]\nkind = "{kind}"\n')
    with pytest.raises(InvalidConfig) as refused:
        load_settings(config)
    assert "source.watch" in refused.value.one_line() and "plc.triggers must be false" in refused.value.one_line()


def test_a_watched_camera_of_several_is_refused_only_where_it_is_the_triggered_one(tmp_path: Path) -> None:
    left = f'[[cameras]]\nname = "left"\n{WATCHED}'
    with pytest.raises(InvalidConfig, match=r"cameras 'left'\.watch"):
        load_settings(written(tmp_path, left + PLC + 'camera = "left"\n'))
    assert load_settings(written(tmp_path, left + PLC)).plc.kind == "modbus", "the controller triggers the first camera"


@pytest.mark.parametrize(
    "sound",
    [
        f"[source]\n{WATCHED}",
        f"[source]\n{WATCHED}{PLC}triggers = false\n",
        f'[source]\nkind = "folder"\nfolder = "images"\n{PLC}',
        f'[source]\nkind = "simulated"\nwatch = true\n{PLC}',
    ],
)
def test_what_can_work_together_starts(tmp_path: Path, sound: str) -> None:
    load_settings(written(tmp_path, sound))


def test_a_start_and_config_check_say_it(tmp_path: Path) -> None:
    config = written(tmp_path, f"[source]\n{WATCHED}{PLC}")
    said, found = io.StringIO(), io.StringIO()
    with redirect_stderr(said):
        assert main(["run", "--config", str(config)]) != 0
    assert "plc.triggers must be false" in said.getvalue() and not (tmp_path / "state").exists()
    with redirect_stdout(found):
        assert main(["config", "check", "--json", "--config", str(config)]) != 0
    assert any("plc.triggers" in json.dumps(each) for each in json.loads(found.getvalue())["problems"])
