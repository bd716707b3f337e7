"""The password of a camera is in agent.toml and in no screen; a number without an end is no setting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.__main__ import main

CONFIG = """station = "line3-cam1"
home = "state"
[source]
kind = "rtsp"
url = "rtsp://inspector:open/sesame@10.0.0.20/stream1"
pipeline = "rtspsrc location=rtsp://10.0.0.21/x user-id=i user-pw=sesame ! decodebin"
[[cameras]]
name = "left"
kind = "rtsp"
url = "rtsp://inspector:sesame@10.0.0.21/stream1"
[broker]
host = ""
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PLUMBLINE_CLOUD__URL", "https://inspector:sesame@10.0.0.5")
    (tmp_path / "agent.toml").write_text(CONFIG)
    return str(tmp_path / "agent.toml")


@pytest.mark.parametrize("json_too", [[], ["--json"]])
@pytest.mark.parametrize(
    "words",
    [
        ["show", "--config", "FILE"],
        ["diff", "FILE", "defaults"],
        ["diff", "defaults", "FILE"],
        ["explain", "source.url", "--config", "FILE"],
        ["explain", "source.pipeline", "--config", "FILE"],
        ["explain", "cameras", "--config", "FILE"],
        ["explain", "cloud.url", "--config", "FILE"],
    ],
)
def test_no_screen_shows_a_password(
    config: str, capsys: pytest.CaptureFixture[str], words: list[str], json_too: list[str]
) -> None:
    main(["config", *(config if word == "FILE" else word for word in words), *json_too])
    said = capsys.readouterr().out
    assert "***" in said and "10.0.0." in said
    assert "sesame" not in said


@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
@pytest.mark.parametrize(("section", "key"), [("line", "deadline_ms"), ("source", "fps"), ("degrade", "hot_c")])
def test_a_number_without_an_end_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], section: str, key: str, value: str
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(f'station = "a"\nhome = "state"\n[{section}]\n{key} = {value}\n')
    assert main(["config", "check", "--config", str(file), "--json"]) == 2
    assert f"{section}.{key}" in str(json.loads(capsys.readouterr().out)["problems"])
