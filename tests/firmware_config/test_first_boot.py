"""A provisioning file makes a station of a fresh machine once, keeps what is the machine's own, and is destroyed."""

from __future__ import annotations

import json
import os
import ssl
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings import load_settings
from contract.errors import InvalidConfig, RefusedError
from firmware_config.provisioning.__main__ import main
from firmware_config.provisioning.first_boot import Place, Provision, provision
from firmware_config.provisioning.station_config import compose, split
from tests.secure_plant import SecurePlant

ENROLLED = """# A Plumbline station.
station = "line7"
home = "state"

[source]
kind = "simulated"

[broker]
host = "10.0.0.5"
port = 8883
ca_file = "ca.pem"
cert_file = "identity.pem"
key_file = "identity.pem"

[cloud]
url = "https://10.0.0.5:8443"
token_file = "station.token"

[trust]
root = "trust/root.json"
order_keys = ["trust/order_key.json"]
"""
HERE = """# mine
station = "fresh"
home = "/var/lib/plumbline/state"
board = "none"

[source]
kind = "folder"   # of the old line
folder = "/images"

[broker]
host = ""

[line]
deadline_ms = 50.0  # asked for by the line
"""
FILE = """url = "https://10.0.0.5:8080"
token = "one-time"
ca_sha256 = "ab"

[agent.source]
kind = "rtsp"
url = "rtsp://10.0.0.20/stream1"

[[agent.cameras]]
name = "left"
kind = "simulated"
"""


class Enrolments:
    """Stands in for `plumbline-agent enrol`: writes what it writes."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def __call__(self, wanted: Provision, folder: Path) -> None:
        self.tokens.append(wanted.token)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "agent.toml").write_text(ENROLLED)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    config = tmp_path / "etc/plumbline/agent.toml"
    config.parent.mkdir(parents=True)
    return Place(config, tmp_path / "var")


def test_the_plant_says_who_it_is_and_the_machine_keeps_its_camera_and_line(tmp_path: Path, place: Place) -> None:
    file = tmp_path / "plumbline-provision.toml"
    file.write_text(FILE)
    place.config.write_text(HERE)
    assert provision(file, place, Enrolments()) == "line7"
    settings = load_settings(place.config)
    assert (settings.station, settings.board) == ("line7", "none")
    assert (settings.source.kind, settings.source.url) == ("rtsp", "rtsp://10.0.0.20/stream1")
    assert [each.name for each in settings.cameras] == ["left"]
    assert settings.line.deadline_ms == 50.0
    assert settings.home_folder == place.state / "state"
    assert settings.path(settings.broker.key_file) == place.identity / "identity.pem"
    assert [settings.path(each) for each in settings.trust.order_keys] == [place.identity / "trust/order_key.json"]
    assert "# asked for by the line" in place.config.read_text()
    assert stat.S_IMODE(place.config.stat().st_mode) == 0o640
    assert place.config.with_suffix(".toml.before").read_text() == HERE


def test_the_file_is_used_once_and_destroyed(tmp_path: Path, place: Place) -> None:
    file, enrolments = tmp_path / "plumbline-provision.toml", Enrolments()
    file.write_text(FILE)
    os.link(file, tmp_path / "same-blocks")
    provision(file, place, enrolments)
    assert not file.exists()
    assert b"one-time" not in (tmp_path / "same-blocks").read_bytes()
    assert enrolments.tokens == ["one-time"]


def test_a_power_cut_after_the_enrolment_does_not_ask_for_a_second_one(tmp_path: Path, place: Place) -> None:
    file, enrolments = tmp_path / "plumbline-provision.toml", Enrolments()
    file.write_text(FILE)

    def cut_off(wanted: Provision, folder: Path) -> None:
        enrolments(wanted, folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        provision(file, place, cut_off)
    assert file.read_text() == FILE
    provision(file, place, enrolments)
    assert enrolments.tokens == ["one-time"]
    assert load_settings(place.config).station == "line7"
    assert not file.exists()


def test_a_power_cut_while_the_file_is_destroyed_is_no_mistake_at_the_next_boot(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, enrolments = tmp_path / "plumbline-provision.toml", Enrolments()
    file.write_text(FILE)

    def cut_off(_self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", cut_off)
        with pytest.raises(KeyboardInterrupt):
            provision(file, place, enrolments)
    assert file.exists() and "one-time" not in file.read_text()
    made = place.config.read_text()
    assert provision(file, place, enrolments) == "line7"
    assert not file.exists()
    assert (place.config.read_text(), enrolments.tokens) == (made, ["one-time"])


def test_another_file_on_a_station_is_refused_and_kept(tmp_path: Path, place: Place) -> None:
    file, enrolments = tmp_path / "plumbline-provision.toml", Enrolments()
    file.write_text(FILE)
    provision(file, place, enrolments)
    made, other = place.config.read_text(), FILE.replace("10.0.0.5", "10.9.9.9").replace("one-time", "of another plant")
    file.write_text(other)
    with pytest.raises(RefusedError, match="enrolled already"):
        provision(file, place, enrolments)
    assert (file.read_text(), place.config.read_text(), enrolments.tokens) == (other, made, ["one-time"])


def test_a_file_that_would_make_a_station_that_cannot_start_is_kept(tmp_path: Path, place: Place) -> None:
    file, enrolments = tmp_path / "plumbline-provision.toml", Enrolments()
    place.config.write_text(HERE)
    for mistake in (FILE.replace('kind = "rtsp"', 'kind = "rstp"'), FILE.replace('url = "rtsp', 'ulr = "rtsp')):
        file.write_text(mistake)
        with pytest.raises(InvalidConfig):
            provision(file, place, enrolments)
        assert (file.read_text(), place.config.read_text()) == (mistake, HERE)
        assert not list(place.config.parent.glob("*.tmp"))
    file.write_text(FILE)  # mended: the same token goes on
    assert provision(file, place, enrolments) == "line7"
    assert enrolments.tokens == ["one-time"]


def test_a_file_that_is_no_text_is_said_to_be_none(tmp_path: Path, place: Place) -> None:
    file = tmp_path / "plumbline-provision.toml"
    file.write_bytes(b"\xff\xfe\x00u")
    with pytest.raises(InvalidConfig, match="plumbline-provision"):
        provision(file, place, Enrolments())
    assert file.exists()


def test_a_refused_token_keeps_the_file_and_changes_nothing(tmp_path: Path, place: Place) -> None:
    def refuse(_wanted: Provision, _folder: Path) -> None:
        raise RefusedError("the token is used up")

    file = tmp_path / "plumbline-provision.toml"
    file.write_text(FILE)
    place.config.write_text(HERE)
    with pytest.raises(RefusedError):
        provision(file, place, refuse)
    assert (file.read_text(), place.config.read_text()) == (FILE, HERE)


@pytest.mark.parametrize(
    "text",
    [
        "url = 1",
        FILE.replace("[agent.source]", "[agent.broker]"),
        FILE + "[other]\nx = 1\n",
        FILE + '[agent]\nstation = "x"\n',
    ],
)
def test_a_file_that_says_what_is_not_its_to_say_is_refused(tmp_path: Path, place: Place, text: str) -> None:
    file = tmp_path / "plumbline-provision.toml"
    file.write_text(text)
    with pytest.raises(InvalidConfig):
        provision(file, place, Enrolments())
    assert file.read_text() == text
    assert not place.config.exists()


def test_a_string_that_looks_like_a_table_is_refused_and_not_cut_in_two(tmp_path: Path, place: Place) -> None:
    file = tmp_path / "plumbline-provision.toml"
    file.write_text(FILE)
    place.config.write_text('station = "a"\nhome = "b"\n[plc]\ntopic = """\n[source]\nkind = "folder"\n"""\n')
    with pytest.raises(InvalidConfig, match="cannot be taken over"):
        provision(file, place, Enrolments())
    assert file.exists()


KEYS = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
VALUES = st.one_of(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), max_size=8), st.integers(0, 99)
)
TABLES = st.dictionaries(KEYS.map(lambda key: f"t{key}"), st.dictionaries(KEYS, VALUES, max_size=3), max_size=4)


def toml(tables: dict[str, dict[str, str | int]], prefix: str = "") -> str:
    lines: list[str] = []
    for name, values in tables.items():
        lines += [f"[{prefix}{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines)


@given(TABLES, TABLES)
def test_every_table_comes_from_the_file_first_and_else_from_what_is_there(
    here: dict[str, dict[str, str | int]], wanted: dict[str, dict[str, str | int]]
) -> None:
    text = compose(ENROLLED, Path("/s"), Path("/v"), toml(here), toml(wanted, "agent."))
    found = msgspec.toml.decode(text)
    for name, values in {**here, **wanted}.items():
        assert found[name] == values
    assert found["station"] == "line7"
    assert found["trust"]["root"] == "/s/trust/root.json"
    assert set(found) == {"station", "home", "broker", "cloud", "trust", *here, *wanted}
    assert [each.name for each in split(text)[1]] == list(found)[2:]


def test_the_command_enrols_with_a_real_plant(tmp_path: Path, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.agent.commands.test_enrol_command import Doors

    plant = SecurePlant(tmp_path / "plant")
    doors = Doors(plant)
    try:
        capsys.readouterr()
        plant.command("provision", "token", "line9", "--json")
        made = json.loads(capsys.readouterr().out)
        file = tmp_path / "plumbline-provision.toml"
        file.write_text("".join(f'{key} = "{made[key]}"\n' for key in ("url", "token", "ca_sha256")))
        words = [str(tmp_path / "none.toml"), str(file), "--config", str(place.config), "--state", str(place.state)]
        user = ["--user", "nobody"]
        assert main([*words, *user]) == 0, capsys.readouterr().err
        assert "station line9" in capsys.readouterr().out
        settings = load_settings(place.config)
        ssl.create_default_context().load_cert_chain(settings.path(settings.cloud.cert_file))
        assert settings.cloud.url and settings.broker.ca_file and not file.exists()
        if os.geteuid() == 0:
            assert (place.identity / "identity.pem").owner() == "nobody"
            assert (place.config.owner(), stat.S_IMODE(place.config.stat().st_mode)) == ("root", 0o640)
        assert main([*words, *user]) == 0  # nothing is there to do
        file.write_text(f'url = "{made["url"]}"\ntoken = "used"\nca_sha256 = "{made["ca_sha256"]}"\n')
        other = Place(tmp_path / "other/agent.toml", tmp_path / "other/var")
        assert main([str(file), "--config", str(other.config), "--state", str(other.state), *user]) == 1
        assert "is kept" in capsys.readouterr().err and file.exists() and not other.config.exists()
    finally:
        doors.close()


def test_without_a_file_there_is_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.toml")]) == 0
    assert "no provisioning file" in capsys.readouterr().err
