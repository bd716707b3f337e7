"""plumbline-cloud provision, as a person types it, on a plant whose broker does not run."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cloud.__main__ import main
from cloud.provision.folder import ProvisionFolder
from tests.fixtures_broker import free_port


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("provision") / "plant"
    ports = ["--broker-port", str(free_port()), "--api-port", str(free_port())]
    assert main(["init", "--home", str(made), "--secure", "--broker-name", "broker.plant.local", *ports]) == 0
    return made


def _run(home: Path, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["provision", *words, "--config", str(home / "cloud.toml")]) == code
    out = capsys.readouterr()
    return out.out or out.err


def test_private_keys_are_their_owners_alone(home: Path) -> None:
    provision = home / "provision"
    secret = [*provision.rglob("*.key"), provision / "cloud.pem", provision / "admin.pem", provision / "api.pem"]
    assert len(secret) == 5
    for file in (*secret, provision / "broker" / "server.pem"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list((provision / "broker").glob("*.key"))  # what goes to the broker's machine can sign nothing


def test_a_station_gets_a_whole_folder(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(home, capsys, "line1", "--out", str(tmp_path / "line1"), "--site", "hall 1")
    from agent.settings import load_settings

    settings = load_settings(tmp_path / "line1" / "agent.toml")
    assert (settings.station, settings.broker.host, settings.broker.port) == ("line1", "broker.plant.local", 8883)
    assert settings.cloud.url == "https://127.0.0.1:8443"
    assert (tmp_path / "line1" / "ca.pem").read_bytes() == (home / "provision" / "trust.pem").read_bytes()
    assert stat.S_IMODE((tmp_path / "line1" / "identity.pem").stat().st_mode) == 0o600
    assert "is there already" in _run(home, capsys, "line1", "--out", str(tmp_path / "line1"), code=1)


def test_a_folder_that_cannot_be_written_ends_no_running_stations_certificate(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(home, capsys, "running", "--out", str(tmp_path / "running"))
    (tmp_path / "file").touch()
    assert "cannot write" in _run(home, capsys, "running", "--out", str(tmp_path / "file" / "x"), code=1)
    lines = json.loads(_run(home, capsys, "status", "--json"))
    assert [line["state"] for line in lines if line["subject"] == "running"] == ["good"]
    _run(home, capsys, "revoke", "running", "--reason", "not needed by the other tests")


def test_a_station_of_this_plant_is_not_added_without_a_certificate(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["station", "add", "x", "--out", str(tmp_path / "x"), "--config", str(home / "cloud.toml")]) == 1
    assert "provision token x" in capsys.readouterr().err


def test_devices_are_given_an_address_that_they_can_reach_or_are_said_to_have_none(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["provision", "token", "far", "--config", str(home / "cloud.toml")]) == 0
    assert "is for this machine alone" in capsys.readouterr().err
    made = tmp_path / "plant"
    init = ["init", "--home", str(made), "--secure", "--broker-name", "broker.plant.local"]
    assert main([*init, "--public-url", "http://cloud.plant.local:8080"]) == 1  # a token must not be read on its way
    assert main([*init, "--public-url", "https://cloud.plant.local:8080"]) == 0
    capsys.readouterr()
    assert main(["provision", "far", "--out", str(tmp_path / "far"), "--config", str(made / "cloud.toml")]) == 0
    from agent.settings import load_settings

    assert "this machine alone" not in capsys.readouterr().err
    assert load_settings(tmp_path / "far" / "agent.toml").cloud.url == "https://cloud.plant.local:8443"
    assert "cloud.plant.local" in ProvisionFolder(made / "provision").plant().api_names


@pytest.mark.parametrize(
    ("was", "is_now", "said"),
    [
        ('host = "127.0.0.1"', 'host = "0.0.0.0"', "public_url"),
        ('cert_file = "provision/api.pem"', "", "over HTTPS alone"),
    ],
)
def test_a_token_is_not_made_for_an_address_that_no_device_can_use(
    home: Path, capsys: pytest.CaptureFixture[str], was: str, is_now: str, said: str
) -> None:
    config = home / "cloud.toml"
    text = config.read_text()
    changed = text.replace(was, is_now, 1)
    if not is_now:
        changed = "".join(
            line
            for line in changed.splitlines(True)
            if "api.pem" not in line and "client_ca" not in line and "device_port" not in line
        )
    config.write_text(changed)
    try:
        assert said in _run(home, capsys, "token", "t1", code=1)
    finally:
        config.write_text(text)


def test_the_printed_command_is_understood_by_the_device_whatever_its_token_begins_with(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import argparse

    from agent.commands import enrol

    monkeypatch.setattr("secrets.token_hex", lambda _bytes: "-begins-like-an-option")
    line = _run(home, capsys, "token", "dash").splitlines()[1]
    parser = argparse.ArgumentParser()
    enrol.register(parser.add_subparsers())
    read = parser.parse_args(line.split()[1:])
    assert (read.token, read.url[:8], str(read.out)) == ("-begins-like-an-option", "https://", "dash")


def test_a_mistyped_station_is_not_said_to_be_shut_out(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = _run(home, capsys, "revoke", "lin1", "--reason", "stolen", code=1)
    assert "no station lin1 was ever provisioned" in said and "provision status" in said
    # A token that nobody has used yet is something to end.
    _run(home, capsys, "token", "waits")
    assert "its tokens too" in _run(home, capsys, "revoke", "waits", "--reason", "sent to the wrong person")


def test_status_says_what_expires_soon_by_its_code_too(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {line["state"] for line in json.loads(_run(home, capsys, "status", "--json"))} <= {
        "good",
        "replaced",
        "revoked",
    }
    config = home / "cloud.toml"
    text = config.read_text()
    config.write_text(f"{text}\n[provision]\ndays = 20\n")
    _run(home, capsys, "short", "--out", str(tmp_path / "short"))
    config.write_text(text)
    lines = json.loads(_run(home, capsys, "status", "--json", code=3))
    assert [line["subject"] for line in lines if line["state"] == "expires soon"] == ["short"]
    _run(home, capsys, "revoke", "short", "--reason", "replaced by a better one")
    lines = json.loads(_run(home, capsys, "status", "--json"))
    assert [line["reason"] for line in lines if line["subject"] == "short"] == ["replaced by a better one"]


def test_the_authority_changes_in_two_steps_and_nobody_is_left_behind(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ProvisionFolder(home / "provision")
    _run(home, capsys, "behind", "--out", str(tmp_path / "behind"))
    old = folder.authority().fingerprint
    assert "no rotation" in _run(home, capsys, "rotate-ca", "--finish", code=1)
    _run(home, capsys, "rotate-ca")
    assert folder.authority().fingerprint != old
    assert (folder.broker / "ca.pem").read_text().count("BEGIN CERTIFICATE") == 2
    assert folder.crl.read_text().count("BEGIN X509 CRL") == 2  # a CA without its list would let nobody in
    assert "under way" in _run(home, capsys, "rotate-ca", code=1)
    refused = _run(home, capsys, "rotate-ca", "--finish", code=1)
    assert "stations know only the old authority" in refused
    for name in ("behind", "line1"):
        _run(home, capsys, name, "--out", str(tmp_path / f"{name}-anew"))
    _run(home, capsys, "rotate-ca", "--finish")
    assert (folder.broker / "ca.pem").read_text().count("BEGIN CERTIFICATE") == 1
    assert not (folder.path / "old-ca.key").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("init",), "is there already"),
        (("Not/a/station", "--out", "x"), "is no station id"),
        (("plumbline-cloud", "--out", "x"), "cloud's own name"),
        (("token", "line1", "--hours", "0"), "no time to wait"),
    ],
)
def test_mistakes_are_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    error = _run(home, capsys, *words, code=1)
    assert said in error
    assert error.count("\n") == 1


def test_without_a_plugin_nothing_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--home", str(tmp_path / "plant"), "--broker-port", "8884"]) == 0
    assert "no plugin at" in _run(tmp_path / "plant", capsys, "init", "--plugin", "nowhere.so", code=1)
    assert not (tmp_path / "plant" / "provision").exists()
    assert "cloud.toml" in _run(tmp_path / "plant", capsys, "token", "line1", code=1)  # says what is missing there
