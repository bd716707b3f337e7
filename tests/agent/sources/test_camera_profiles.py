"""Ready [source] sections: each is settings as it stands, as [source] and as one of [[cameras]], and says how to get it to work."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.__main__ import main
from agent.camera_profiles import camera_names, camera_profile
from agent.settings import load_settings
from agent.settings_keys import SourceSettings
from contract.errors import NotFound

LEAST = 'station = "s1"\nhome = "state"\nboard = "none"\n'
ALL = camera_names()


def test_the_kinds_of_the_issue_are_there() -> None:
    kinds = {camera_profile(name).source["kind"] for name in ALL}
    assert kinds == {"v4l2", "gstreamer", "rtsp"}
    elements = " ".join(camera_profile(name).source.get("pipeline", "") for name in ALL)
    assert all(element in elements for element in ("nvarguscamerasrc", "aravissrc", "pylonsrc"))
    assert [name for name in ALL if camera_profile(name).source.get("hardware_trigger")] == ["global-shutter-triggered"]


@pytest.mark.parametrize("name", ALL)
def test_each_is_a_source_and_a_further_camera(name: str, tmp_path: Path) -> None:
    profile = camera_profile(name)
    further = profile.text.replace("[source]\n", f'[[cameras]]\nname = "{name[:32]}"\n')
    (tmp_path / "agent.toml").write_text(LEAST + profile.text + further)
    settings = load_settings(tmp_path / "agent.toml", environment={})
    for key, value in profile.source.items():
        assert getattr(settings.source, key) == value == getattr(settings.cameras[0], key)
    assert set(profile.source) <= set(SourceSettings.__struct_fields__)
    assert profile.title and "\n" not in profile.title and profile.text.startswith("# ")
    assert settings.source.pipeline.isprintable(), "open_gstreamer refuses a pipeline with line breaks"


def test_the_command_lists_them_and_prints_one_that_can_be_appended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "cameras"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()] == ALL
    assert main(["config", "cameras", "rtsp-ip"]) == 0
    (tmp_path / "agent.toml").write_text(LEAST + capsys.readouterr().out)
    assert load_settings(tmp_path / "agent.toml", environment={}).source.kind == "rtsp"


def test_an_unknown_one_is_one_line_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotFound):
        camera_profile("../boards/generic-x86")
    assert main(["config", "cameras", "webcam"]) == 1
    error = capsys.readouterr().err
    assert "no camera profile 'webcam'" in error and "usb-uvc" in error
