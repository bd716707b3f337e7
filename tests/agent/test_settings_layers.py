"""defaults < board < agent.toml < environment < order: who wins, who is to blame, and what no variable can do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ports.policy import ImagesLeave
from agent.settings import Settings, load_settings, plain_settings, settings_of
from agent.settings_environment import environment_name, environment_values, nearly_settings
from agent.settings_keys import File
from agent.settings_layers import Origin, origin_of, read_layers
from contract.errors import InvalidConfig

LEAST = 'station = "s1"\nhome = "state"\n'
PI = b"Raspberry Pi 5 Model B Rev 1.0\0"


def machine(folder: Path, model: bytes = PI) -> Path:
    """Return the root of a machine whose device tree names `model`."""
    root = folder / "root"
    (root / "proc/device-tree").mkdir(parents=True, exist_ok=True)
    (root / "proc/device-tree/model").write_bytes(model)
    return root


def load(folder: Path, text: str, environment: Mapping[str, str] | None = None, remote: str = "") -> Settings:
    path = folder / "agent.toml"
    path.write_text(text)
    return load_settings(path, remote, environment=environment or {}, root=machine(folder))


def refused(folder: Path, text: str, environment: Mapping[str, str], remote: str = "") -> str:
    with pytest.raises(InvalidConfig) as caught:
        load(folder, text, environment, remote)
    line = caught.value.one_line()
    assert "\n" not in line
    return line


def test_each_layer_wins_over_the_ones_before_it(tmp_path: Path) -> None:
    """`runtime.engines_mib`, which all five may set; a layer more at a time."""
    pinned = LEAST + '[trust]\nroot = "r"\norder_keys = ["k"]\n'
    board = load(tmp_path, pinned)
    assert board.profile == "raspberry-pi-5" and board.line.threads == 3, "the profile lies over the default of 1"
    assert load(tmp_path, f'board = "none"\n{pinned}').line.threads == 1
    file = pinned + "[line]\nthreads = 4\n"
    assert load(tmp_path, file).line.threads == 4
    environment = {"PLUMBLINE_LINE__THREADS": "5"}
    assert load(tmp_path, file, environment).line.threads == 5
    assert load(tmp_path, file, environment, "[line]\nthreads = 6\n").line.threads == 6


def test_every_key_is_shown_with_the_layer_that_said_it(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(LEAST + '[trust]\nroot = "r"\norder_keys = ["k"]\n[windows]\nframes = 128\n')
    environment = {"PLUMBLINE_WINDOWS__SECONDS": "30", "PLUMBLINE__HOME": "elsewhere"}
    layers = read_layers(path, environment, machine(tmp_path), "[line]\nqueue = 3\n")
    plain = plain_settings(settings_of(layers, path))
    said = {key: (value, origin_of(layers, key).value) for key, value in plain.items()}
    assert said["line.threads"] == (3, "board")
    assert said["windows.frames"] == (128, "agent.toml")
    assert said["windows.seconds"] == (30.0, "environment") and said["home"] == ("elsewhere", "environment")
    assert said["line.queue"] == (3, "order")
    assert said["windows.sketch"] == (True, "default")


@pytest.mark.parametrize(
    ("variable", "value", "key", "read"),
    [
        ("PLUMBLINE_LINE__DEADLINE_MS", "150", "line.deadline_ms", 150.0),
        ("PLUMBLINE_WINDOWS__SKETCH", "false", "windows.sketch", False),
        ("PLUMBLINE_BROKER__ALLOWED_HOSTS", '["a", "b"]', "broker.allowed_hosts", ("a", "b")),
        ("PLUMBLINE_SOURCE__SCENE", "rtsp://u:p#w@10.0.0.20/s", "source.scene", "rtsp://u:p#w@10.0.0.20/s"),
        ("PLUMBLINE_SOURCE__SCENE", "12", "source.scene", "12"),
        ("PLUMBLINE_SOURCE__SCENE", '"in # quotes"', "source.scene", "in # quotes"),
        ("PLUMBLINE_SOURCE__SCENE", 'a"\n[trust]\nroot="b', "source.scene", 'a"\n[trust]\nroot="b'),
        ("PLUMBLINE_SOURCE__SCENE", "1\n[trust]\nroot=2", "source.scene", "1\n[trust]\nroot=2"),
        ("PLUMBLINE_BROKER__HOST", "", "broker.host", ""),
        ("PLUMBLINE_API__PORT", "8090", "api.port", 8090),
        ("PLUMBLINE_API__PORT", "auto", "api.port", "auto"),
        ("PLUMBLINE__STATION", "2026", "station", "2026"),
        ("PLUMBLINE_POLICY__IMAGES_LEAVE", "never", "policy.images_leave", "never"),
    ],
)
def test_a_variable_is_one_value_and_bare_words_are_text(
    tmp_path: Path, variable: str, value: str, key: str, read: object
) -> None:
    assert plain_settings(load(tmp_path, LEAST, {variable: value}))[key] == read


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"PLUMBLINE_LINE__DEDLINE_MS": "3"},
            ["the environment's PLUMBLINE_LINE__DEDLINE_MS", "did you mean 'PLUMBLINE_LINE__DEADLINE_MS'"],
        ),
        ({"PLUMBLINE_LNE__THREADS": "3"}, ["no section [lne]", "PLUMBLINE_LINE__THREADS"]),
        ({"PLUMBLINE__HOUSE": "x"}, ["unknown key 'house'", "PLUMBLINE__HOME"]),
        ({"PLUMBLINE_CAMERAS__NAME": "left"}, ["[[cameras]] is a list of tables", "agent.toml"]),
        ({"PLUMBLINE_LINE__THREADS": "many"}, ["PLUMBLINE_LINE__THREADS", "expected `int`"]),
        ({"PLUMBLINE_LINE__THREADS": "0"}, ["PLUMBLINE_LINE__THREADS", "line.threads must be above 0"]),
        ({"PLUMBLINE_LINE__THREADS": "2\nqueue = 3"}, ["PLUMBLINE_LINE__THREADS", "expected `int`"]),
        ({"PLUMBLINE_POLICY__FALLBACK": "true"}, ["PLUMBLINE_POLICY__FALLBACK", "needs cloud.url"]),
        ({"PLUMBLINE_SOURCE__URL": "\udc80"}, ["PLUMBLINE_SOURCE__URL is no text"]),
        ({"PLUMBLINE__BOARD": "toaster"}, ["PLUMBLINE__BOARD", "no board profile 'toaster'", "raspberry-pi-5"]),
        ({"PLUMBLINE__BOARD": "../boards/generic-x86"}, ["no board profile"]),
    ],
)
def test_a_mistake_in_the_environment_names_its_variable(
    tmp_path: Path, environment: dict[str, str], words: list[str]
) -> None:
    line = refused(tmp_path, LEAST, environment)
    for word in words:
        assert word in line, line


def test_a_mistake_in_the_file_is_not_blamed_on_the_layers_around_it(tmp_path: Path) -> None:
    line = refused(tmp_path, LEAST + "[line]\nqueue = 0\n", {"PLUMBLINE_LINE__THREADS": "2"})
    assert "agent.toml' line 4: line.queue must be above 0" in line
    assert "agent.toml' line 3: no board profile" in refused(tmp_path, LEAST + 'board = "toaster"\n', {}).replace(
        "there is ", ""
    )
    assert "agent.toml' (line 3): board: expected `str`" in refused(tmp_path, LEAST + "board = 3\n", {})


def test_an_orders_bounds_are_relative_to_all_that_lies_under_it(tmp_path: Path) -> None:
    environment = {"PLUMBLINE_LINE__DEADLINE_MS": "100", "PLUMBLINE_POLICY__IMAGES_LEAVE": "unsure"}
    assert load(tmp_path, LEAST, environment, "[line]\ndeadline_ms = 90.0\n").line.deadline_ms == 90.0
    line = refused(tmp_path, LEAST, environment, "[line]\ndeadline_ms = 150.0\n")
    assert "the station itself says 100, and an order can only lower it" in line
    assert "'unsure'" in refused(tmp_path, LEAST, environment, '[policy]\nimages_leave = "requested"\n')
    assert (
        load(tmp_path, LEAST, environment, '[policy]\nimages_leave = "never"\n').policy.images_leave
        is ImagesLeave.NEVER
    )
    # What the board sets is the station's own too.
    assert "an order can only lower it" in refused(tmp_path, LEAST, {}, "[limits]\ncommit_s = 2.5\n")


def test_no_order_chooses_the_profile(tmp_path: Path) -> None:
    assert "no order sets 'board'" in refused(tmp_path, LEAST, {}, 'board = "none"\n')


def test_every_key_outside_the_lists_of_tables_has_a_variable_and_the_way_back_finds_it() -> None:
    keys = plain_settings(msgspec.convert({"station": "s", "home": "h"}, Settings))
    without = {key for key in keys if not environment_name(key)}
    assert without == {"cameras", "models"}
    for key in set(keys) - without:
        section, _, name = key.rpartition(".")
        assert environment_values({environment_name(key): "x"}) == ({section: {name: "x"}} if section else {name: "x"})


def test_what_has_one_underscore_is_no_setting_and_is_told() -> None:
    environment = {"PLUMBLINE_LINE_THREADS": "2", "PLUMBLINE_DATA": "/x", "PLUMBLINE_CLOUD_PORT": "tcp://1", "PATH": ""}
    assert environment_values(environment) == {}
    assert nearly_settings(environment) == [
        "PLUMBLINE_LINE_THREADS is not read as a setting; PLUMBLINE_LINE__THREADS would be"
    ]


VARIABLES = sorted(
    environment_name(key) or "PLUMBLINE_CAMERAS__NAME"
    for key in plain_settings(msgspec.convert({"station": "s", "home": "h"}, Settings))
)


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=20), max_size=3))
def test_any_text_in_a_variable_is_settings_or_invalid_config_and_moves_its_own_key_alone(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> None:
    path, root = tmp_path_factory.getbasetemp() / "variables.toml", Path("/nowhere")
    path.write_text(LEAST + 'board = "none"\n')
    plain = plain_settings(load_settings(path, environment={}, root=root))
    try:
        now = plain_settings(load_settings(path, environment=environment, root=root))
    except InvalidConfig as error:
        assert "\n" not in error.one_line()
        return
    named = {environment_name(key): key for key in plain}
    moved = {key for key in plain if now[key] != plain[key]}
    layers = read_layers(path, environment, root)
    allowed = {named[variable] for variable in environment}
    if "board" not in allowed:
        assert moved <= allowed
    assert all(origin_of(layers, key) is Origin.ENVIRONMENT for key in allowed)
    assert set(File.__struct_fields__) >= {key.partition(".")[0] for key in moved}
