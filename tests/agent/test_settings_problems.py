"""`config check` and a station's start agree: it finds something wrong exactly where a start would fail, and that among it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings import load_settings
from agent.settings_keys import File
from agent.settings_problems import examine_settings
from contract.errors import InvalidConfig

NOWHERE = Path("/nowhere")
SECTIONS = {field.name: field.type for field in msgspec.structs.fields(File)}
KEYS = sorted(
    f"{name}.{key.name}"
    for name, kind in SECTIONS.items()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    for key in msgspec.structs.fields(kind)
)
VALUES = st.sampled_from(
    [
        "1",
        "0",
        "-3",
        "0.5",
        "70000",
        "true",
        '""',
        '"auto"',
        '"x"',
        '"s1"',
        '["a"]',
        "[1]",
        "[]",
        "{ a = 1 }",
        "1979-05-27",
    ]
)
ENTRY = st.dictionaries(st.sampled_from(["name", "kind", "url", "fps", "bundle", "camera", "fsp"]), VALUES, max_size=3)


@given(
    st.dictionaries(st.sampled_from(["station", "home", "board", "soruce"]), VALUES, max_size=3),
    st.dictionaries(st.sampled_from([*KEYS, "line.quee", "line", "broker"]), VALUES, max_size=4),
    st.lists(st.tuples(st.sampled_from(["cameras", "models"]), ENTRY), max_size=3),
    st.dictionaries(
        st.sampled_from(["PLUMBLINE_LINE__QUEUE", "PLUMBLINE_LINE__QUEE", "PLUMBLINE__BOARD"]), VALUES, max_size=2
    ),
)
def test_check_finds_what_a_start_would_fail_on_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    top: dict[str, str],
    keys: dict[str, str],
    entries: list[tuple[str, dict[str, str]]],
    environment: dict[str, str],
) -> None:
    top = {"station": '"s1"', "home": '"state"', **top}
    text = "".join(f"{key} = {value}\n" for key, value in {**top, **keys}.items())
    for table, entry in entries:
        text += f"[[{table}]]\n" + "".join(f"{key} = {value}\n" for key, value in entry.items())
    path = tmp_path_factory.getbasetemp() / "problems.toml"
    path.write_text(text)
    found = [error.message for error in examine_settings(path, environment, NOWHERE).problems]
    assert len(set(found)) == len(found), "said twice"
    try:
        load_settings(path, environment=environment, root=NOWHERE)
    except InvalidConfig as error:
        assert error.message in found
    else:
        assert found == []


@given(st.text(max_size=80))
def test_any_text_is_examined(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any_problems.toml"
    path.write_bytes(text.encode("utf-8", "replace"))
    assert examine_settings(path, {}, NOWHERE).problems, "no station is named in it"


def test_a_sound_file_has_no_problems_and_no_warnings(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('station = "s1"\nhome = "state"\n')
    found = examine_settings(tmp_path / "agent.toml", {}, NOWHERE)
    assert (found.problems, found.warnings) == ([], []) and found.layers is not None
