"""agent.toml: every mistake is one line with the key, its line and what was probably meant."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ports.policy import ImagesLeave
from agent.settings import ServiceEnvironment, Settings, load_settings, service_environment
from agent.settings_example import EXAMPLE
from contract.errors import InvalidConfig

LEAST = 'station = "s1"\nhome = "state"\n'


def load(folder: Path, text: str) -> Settings:
    path = folder / "agent.toml"
    path.write_text(text)
    return load_settings(path)


def test_the_example_in_the_help_holds_every_key_with_its_default(tmp_path: Path) -> None:
    example = load(tmp_path, EXAMPLE)
    defaults = load(tmp_path, f'station = "{example.station}"\nhome = "{example.home}"\n')
    assert example == defaults
    shown = msgspec.toml.decode(EXAMPLE.encode())
    for field in msgspec.structs.fields(Settings):
        value = getattr(defaults, field.name)
        if isinstance(value, msgspec.Struct):
            assert set(shown[field.name]) == set(value.__struct_fields__)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, LEAST)
    assert settings.home_folder == tmp_path / "state"
    assert settings.path("/abs") == Path("/abs")
    assert settings.policy.images_leave is ImagesLeave.REQUESTED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LEAST + "[line]\nthreads = 1\ndedline_ms = 3\n", ["line 5", "line.dedline_ms", "did you mean 'deadline_ms'"]),
        (LEAST + "[soruce]\n", ["line 3", "did you mean 'source'"]),
        (LEAST + '[line]\ndeadline_ms = "soon"\n', ["line 4", "line.deadline_ms", "expected `float`"]),
        ('home = "x"\n', ["station", 'station = "..."']),
        (LEAST + '[policy]\nimages_leave = "maybe"\n', ["policy.images_leave", "maybe"]),
        (LEAST + "[policy]\naudit_rate = 1.5\n", ["policy.audit_rate", "0 to 1"]),
        (LEAST + "[windows]\nframes = 0\n", ["windows.frames", "above 0"]),
        (LEAST + '[runtime]\nprovider = "gpu"\n', ["runtime.provider", "tensorrt", "not 'gpu'"]),
        (LEAST + '[runtime]\nproviders = "cpu"\n', ["runtime.providers", "did you mean 'provider'"]),
        (LEAST + '[source]\nkind = "webcam"\n', ["source.kind", "webcam"]),
        (LEAST + '[source]\nkind = "folder"\n', ["source.folder"]),
        (LEAST + '[trust]\norder_keys = ["k"]\n', ["trust.root"]),
        (LEAST + "[policy]\nfallback = true\n", ["cloud.url"]),
        ('station = "Line 3"\nhome = "x"\n', ["no station id"]),
        ("station = \n", ["no TOML"]),
        (LEAST + "[broker]\nport = 70000\n", ["broker.port"]),
    ],
)
def test_a_mistake_is_one_line_that_says_what_and_where(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(tmp_path, text)
    line = caught.value.one_line()
    assert "\n" not in line
    for word in words:
        assert word in line


def test_a_missing_file_says_where_an_example_is(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no config file"):
        load_settings(tmp_path / "none.toml")
    with pytest.raises(InvalidConfig, match="cannot be read"):
        load_settings(tmp_path)


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_invalid_config(tmp_path_factory: pytest.TempPathFactory, payload: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(payload)
    try:
        load_settings(path)
    except InvalidConfig as error:
        assert "\n" not in error.one_line()


def test_more_cameras_and_models_are_read_and_their_mistakes_are_named(tmp_path: Path) -> None:
    cameras = '[[cameras]]\nname = "left"\nkind = "folder"\nfolder = "img"\n[[cameras]]\nname = "top"\nfps = 5\n'
    settings = load(tmp_path, f'{LEAST}{cameras}[[models]]\nname = "foreign"\nbundle = "f.plb"\ncamera = "left"\n')
    assert [(camera.name, camera.kind, camera.fps) for camera in settings.cameras] == [
        ("left", "folder", 20.0),
        ("top", "simulated", 5.0),
    ]
    assert settings.models[0].camera == "left"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[cameras]]\nname = "a"\n[[cameras]]\nname = "b"\nfsp = 2\n', "line 7: unknown key 'cameras[1].fsp'"),
        ('[[cameras]]\nname = "Left!"\n', "cameras.name must be"),
        ('[[cameras]]\nname = "a"\n[[cameras]]\nname = "a"\n', "two cameras have the same name"),
        ('[[cameras]]\nname = "a"\nkind = "folder"\n', "cameras 'a'.folder must name a folder"),
        ('[[models]]\nname = "m"\nbundle = "m.plb"\ncamera = "left"\n', "camera 'left', which is not there"),
        ('[[models]]\nname = "m"\nbundle = ""\n', "model 'm' names no bundle"),
        ('[[models]]\nname = "m"\nbundle = "a"\n[[models]]\nname = "m"\nbundle = "b"\n', "two models have the same"),
        ("[degrade]\nbacklog = 0.0\n", "degrade.backlog must be a share"),
        ("[line]\nunfamiliar = 0.2\n", "line.unfamiliar must be 0, or 1e-05 to 0.1"),
        ("[line]\nunfamiliar = nan\n", "line.unfamiliar must be 0"),
        ("[line]\nqueue = 0\n", "line.queue must be above 0"),
    ],
)
def test_a_mistake_in_an_array_of_tables_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=re.escape(message)):
        load(tmp_path, LEAST + text)


def test_the_service_manager_is_found_in_the_environment_and_another_process_watchdog_is_none() -> None:
    mine = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    assert service_environment(mine) == ServiceEnvironment("/run/notify", 30.0)
    assert service_environment({**mine, "WATCHDOG_PID": "1"}).watchdog_s == 0.0
    assert service_environment({"WATCHDOG_USEC": "soon"}) == ServiceEnvironment()
