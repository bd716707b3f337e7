"""The JSON Schema of agent.toml takes whatever a station takes, and every key says what it is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.__main__ import main
from agent.settings import default_settings, load_settings
from agent.settings_example import EXAMPLE, described, words_of
from agent.settings_keys import CameraSettings, File, ModelSettings
from agent.settings_schema import settings_schema
from contract.errors import InvalidConfig

VALIDATOR = jsonschema.Draft202012Validator(settings_schema())


def test_every_key_says_what_it_is_for() -> None:
    silent = {key for key in default_settings() if not words_of(key)}
    assert silent == set()
    assert all(words_of(f"cameras.{field.name}") for field in msgspec.structs.fields(CameraSettings))
    assert all(words_of(f"models.{field.name}") for field in msgspec.structs.fields(ModelSettings))


def test_the_words_are_of_keys_that_there_are_and_the_values_beside_them_are_the_defaults() -> None:
    defaults = default_settings()
    for key, each in described().items():
        section, _, name = key.partition(".")
        if section in ("cameras", "models"):
            assert not name or name in {
                field.name for kind in (CameraSettings, ModelSettings) for field in msgspec.structs.fields(kind)
            }
        elif defaults[key] is not None:
            assert msgspec.toml.decode(f"value = {each.value}")["value"] == (
                list(defaults[key]) if isinstance(defaults[key], tuple) else defaults[key]
            )


def test_the_example_is_valid_and_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(settings_schema())
    VALIDATOR.validate(msgspec.toml.decode(EXAMPLE.encode()))
    uncommented = "\n".join(line.removeprefix("#") for line in EXAMPLE.splitlines() if not line.startswith("# "))
    VALIDATOR.validate(msgspec.toml.decode(uncommented))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"station": "s1"}, "'home' is a required property"),
        ({"station": "s1", "home": "x", "lin": {}}, "'lin' was unexpected"),
        ({"station": "s1", "home": "x", "line": {"threads": "many"}}, "'many' is not of type 'integer'"),
        ({"station": "s1", "home": "x", "policy": {"images_leave": "maybe"}}, "'maybe' is not one of"),
        ({"station": "s1", "home": "x", "cameras": [{"kind": "rtsp"}]}, "'name' is a required property"),
    ],
)
def test_a_mistake_is_found_by_the_schema_too(values: dict[str, Any], words: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=words.replace("[", r"\[")):
        VALIDATOR.validate(values)


def test_the_command_prints_it_with_the_words_of_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == json.loads(json.dumps(settings_schema()))
    assert schema["$defs"]["LineSettings"]["properties"]["deadline_ms"]["description"] == "a later verdict is REVIEW"
    assert schema["$defs"]["CameraSettings"]["properties"]["url"]["description"].startswith("rtsp: e.g.")


VALUES = st.one_of(
    st.booleans(),
    st.integers(-3, 10_000),
    # To JSON Schema 3.0 is an integer; to a station, an integer where a share is meant is one too.
    st.floats(allow_nan=False, allow_infinity=False, width=32).filter(lambda value: not value.is_integer()),
    st.sampled_from(["", "auto", "never", "cpu", "s1", "modbus", "left", "10.0.0.1"]),
    st.lists(st.sampled_from(["a", "b"]), max_size=2),
)
TABLES = {
    field.name: field.type
    for field in msgspec.structs.fields(File)
    if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
}
KEYS = sorted(f"{name}.{key.name}" for name, table in TABLES.items() for key in msgspec.structs.fields(table))


def toml(value: object) -> str:
    return repr(value) if isinstance(value, float) else msgspec.json.encode(value).decode()


@given(
    st.dictionaries(st.sampled_from([*KEYS, "line.quee"]), VALUES, max_size=4),
    st.lists(st.dictionaries(st.sampled_from(["name", "kind", "fps", "bundle"]), VALUES, max_size=3), max_size=2),
)
def test_what_a_station_takes_the_schema_takes(
    tmp_path_factory: pytest.TempPathFactory, keys: dict[str, object], cameras: list[dict[str, object]]
) -> None:
    text = 'station = "s1"\nhome = "state"\nboard = "none"\n'
    text += "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())
    for camera in cameras:
        text += "[[cameras]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in camera.items())
    path = tmp_path_factory.getbasetemp() / "schema.toml"
    path.write_text(text)
    valid = VALIDATOR.is_valid(msgspec.toml.decode(text))
    try:
        load_settings(path, environment={})
    except InvalidConfig as error:
        # Names and types alone, the schema finds as the station does.
        if "unknown key" in error.message or "expected `" in error.message or "missing required" in error.message:
            assert not valid, text
        return
    assert valid, text


def test_the_file_of_a_real_plant_is_valid(tmp_path: Path) -> None:
    """Whole numbers where a share or a time is meant, dotted keys and lists of tables: what people write."""
    text = (
        'station = "s1"\nhome = "state"\nline.deadline_ms = 150\nlog = { format = "json" }\n'
        '[api]\nport = 8090\n[[cameras]]\nname = "left"\nkind = "rtsp"\nurl = "rtsp://c"\n'
        '[[models]]\nname = "m"\nbundle = "m.plb"\n'
    )
    (tmp_path / "agent.toml").write_text(text)
    load_settings(tmp_path / "agent.toml", environment={})
    VALIDATOR.validate(msgspec.toml.decode(text))
