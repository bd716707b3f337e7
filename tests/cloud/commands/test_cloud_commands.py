"""plumbline-cloud: init, station, serve, release, rollout and drift, as a person types them."""

from __future__ import annotations

import http.server
import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.settings import load_settings as load_agent_settings
from cloud.__main__ import main
from cloud.drift.fleet import FLEET
from cloud.drift.policy import DriftPolicy
from cloud.settings import load_settings
from cloud.store.database import Database
from cloud.store.home_lock import HomeLock
from cloud.store.stations import Stations
from contract.errors import InvalidConfig
from contract.signature import OrderKey
from tests.fixtures_broker import free_port

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command; return (exit code, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


@pytest.fixture
def home(tmp_path: Path, cli: Cli) -> Path:
    assert cli("init", "--home", tmp_path / "plant", "--api-port", free_port())[0] == 0
    return tmp_path / "plant"


def refused(answer: tuple[int, str, str], *words: str) -> None:
    """Exit code 1, one line that says what to do, no traceback."""
    code, out, err = answer
    assert code == 1 and out == "" and err.startswith("error: ") and err.count("\n") == 1, answer
    assert all(word in err for word in words), err


@pytest.mark.parametrize(
    "words",
    [("init",), ("station",), ("serve",), ("release",), ("rollout",), ("drift",)],
)
def test_help_explains_and_has_an_example_that_begins_with_the_command(cli: Cli, words: tuple[str, ...]) -> None:
    code, out, _ = cli(*words, "--help")
    assert code == 0 and "example" in out and f"plumbline-cloud {words[0]} " in out


@pytest.mark.parametrize(
    "words", [("station", "add"), ("station", "stop"), ("rollout", "start"), ("rollout", "abort"), ("drift", "report")]
)
def test_every_action_has_help(cli: Cli, words: tuple[str, ...]) -> None:
    code, out, _ = cli(*words, "--help")
    assert code == 0 and "--config" in out and "--json" in out


@pytest.mark.parametrize(
    "words", [(), ("nonsense",), ("rollout",), ("rollout", "abort", "x", "--reason", "y"), ("init",)]
)
def test_wrong_usage_exits_2_and_says_how(cli: Cli, words: tuple[str, ...]) -> None:
    code, _, err = cli(*words)
    assert code == 2 and "usage: plumbline-cloud" in err


def test_init_makes_a_whole_home_whose_secrets_are_private(home: Path) -> None:
    settings = load_settings(home / "cloud.toml")
    tokens = {settings.token(settings.api.operator_token_file), settings.token(settings.api.inspector_token_file)}
    assert len(tokens) == 2 and all(len(token) > 30 for token in tokens)
    for private in [*(home / "secrets").glob("*.token"), *(home / "keys").glob("*.pem")]:
        assert stat.S_IMODE(private.stat().st_mode) == 0o600, private
    assert (home / "registry" / "tuf" / "metadata" / "timestamp.json").exists()


def test_init_never_touches_a_home_that_is_there(home: Path, cli: Cli) -> None:
    before = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    refused(cli("init", "--home", home), "is there already", "choose another --home")
    (home / "cloud.toml").unlink()
    refused(cli("init", "--home", home), "already holds the", "key")
    before.pop(home / "cloud.toml")
    tokens = {home / "secrets" / f"{role}.token" for role in ("operator", "inspector")}
    assert all(file.read_bytes() == content for file, content in before.items() if file not in tokens)


def test_init_where_nothing_can_be_written_and_with_a_port_that_is_none(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "file").touch()
    refused(cli("init", "--home", tmp_path / "file"), "cannot write in", "--home")
    refused(cli("init", "--home", "/proc/plant"), "cannot write in")
    for port in (0, 65_536, -1):
        refused(cli("init", "--home", tmp_path / "new", "--api-port", port), f"--api-port {port} is no port")
    assert not (tmp_path / "new").exists()


def test_a_station_gets_a_config_its_agent_reads_a_token_and_trust_anchors(
    home: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "line3"
    code, printed, _ = cli("station", "add", "line3-cam1", "--config", home / "cloud.toml", "--out", out, "--json")
    assert (code, json.loads(printed)) == (0, {"station": "line3-cam1", "config": str(out / "agent.toml")})
    assert load_agent_settings(out / "agent.toml").station == "line3-cam1"
    assert (out / "trust" / "root.json").read_bytes()
    key = msgspec.json.decode((out / "trust" / "order_key.json").read_bytes(), type=OrderKey)
    assert len(key.public) == 64 and stat.S_IMODE((out / "station.token").stat().st_mode) == 0o600
    database = Database(load_settings(home / "cloud.toml").database_url())
    assert Stations(database).is_token("line3-cam1", (out / "station.token").read_text().strip())
    database.close()
    refused(cli("station", "add", "line3-cam1", "--config", home / "cloud.toml", "--out", out), "choose another --out")


def test_a_station_that_cannot_be_added_is_one_line(home: Path, tmp_path: Path, cli: Cli) -> None:
    config = home / "cloud.toml"
    refused(cli("station", "add", "Line 3!", "--config", config, "--out", tmp_path / "x"), "is no station id")
    (tmp_path / "file").touch()
    refused(cli("station", "add", "s1", "--config", config, "--out", tmp_path / "file"), "cannot write in", "--out")
    refused(
        cli("station", "add", "s1", "--config", tmp_path / "no.toml", "--out", tmp_path / "x"), "cannot read the config"
    )
    for key in (home / "keys").glob("*.pem"):
        key.unlink()
    refused(cli("station", "add", "s1", "--config", config, "--out", tmp_path / "x"), "no keys in")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[api]\nprot = 1", ["unknown field `prot`", "did you mean 'port'?"]),
        ("[rolout]\n", ["unknown field `rolout`", "did you mean 'rollout'?"]),
        ("[drift]\nxyzzy = 1", ["unknown field `xyzzy`", "use one of: enrol_windows, alpha"]),
        ("[api]\nport = 'http'", ["$.api.port", "Expected `int`"]),
        ("[api]\nport = 70000", ["api.port = 70000 is no port"]),
        ("[review]\naudit_share = 1.5", ["review.audit_share = 1.5 is outside 0..1"]),
        ("[review]\nlabels_per_alarm = 0", ["review.labels_per_alarm = 0 must be above 0"]),
        ("[review]\nroutine_per_day = -1", ["review.routine_per_day = -1 must not be below 0"]),
        ("[retrain]\nevery_days = nan", ["retrain.every_days = nan must not be below 0"]),
        ("[retrain]\ncooldown_h = -2.0", ["retrain.cooldown_h = -2.0 must not be below 0"]),
        ("[retrain]\ndrift_share = 1.0", ["retrain.drift_share = 1.0 must be 0 or more and below 1"]),
        ("[retrain]\ndrift_share = nan", ["retrain.drift_share = nan must be 0 or more and below 1"]),
        ("[retrain]\ncooldown = 2.0", ["did you mean 'cooldown_h'?"]),
        ("[rollout]\nsilence_s = nan", ["rollout.silence_s = nan must be above 0"]),
        ("[rollout]\nwave_shares = [0.5, 2.0]", ["rollout.wave_shares"]),
        ("[drift]\nenrol_windows = 3", ["at least 12"]),
        ("[drift]\nalpha = 0.0", ["drift.alpha = 0.0 is not between 0 and 1"]),
        ("[drift]\nalpha = 1e-13", ["drift.alpha = 1e-13 is too small", "use 1e-12 or more"]),
        ("[drift]\nperiod_s = -1.0", ["drift.period_s = -1.0 must not be below 0"]),
        ("[drift]\nperiod_s = inf", ["drift.period_s = inf", "finite"]),
        ("[drift]\ntolerance = nan", ["drift.tolerance = nan must not be below 0"]),
        ("[drift]\nclear_windows = 0", ["drift.clear_windows = 0 must be above 0"]),
        ("[drift]\nmin_frames = 0", ["drift.min_frames = 0 must be above 0"]),
        ("[drift]\nsettle_windows = 47", ["drift.settle_windows = 47", "drift.enrol_windows = 48 or more"]),
        ("[drift.cohorts]\nhall = ['s1', 's2', 's1']", ["drift.cohorts.hall has 2 stations", "fewer than 3"]),
        ("[drift.cohorts]\nhall = ['s1', 's1/left', 's1/right']", ["drift.cohorts.hall has 1 station", "fewer than 3"]),
        ("[drift.cohorts]\ns1 = ['s1', 's2', 's3']", ["cannot have the name 's1'", "no station's"]),
        ("[drift.cohorts]\nhall = ['s1/a', 's2', 'S3']", ["drift.cohorts.hall", "'S3' is no station id"]),
        (f"[drift.cohorts]\n{FLEET} = ['s1', 's2', 's3']", [f"cannot have the name '{FLEET}'"]),
        ("[api\nport = 1", ["is no TOML"]),
        ("home = ", ["is no TOML"]),
    ],
)
def test_a_config_that_is_wrong_names_the_key_and_the_nearest_one(
    tmp_path: Path, cli: Cli, text: str, words: list[str]
) -> None:
    (tmp_path / "cloud.toml").write_text(text)
    refused(cli("serve", "--config", tmp_path / "cloud.toml"), str(tmp_path / "cloud.toml"), *words)


def test_a_config_that_is_missing_a_folder_or_no_text_is_one_line(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    refused(cli("serve", "--config", tmp_path / "missing.toml"), "cannot read the config", "plumbline-cloud init")
    refused(cli("serve", "--config", tmp_path), "cannot read the config")
    refused(cli("rollout", "list", "--config", tmp_path / "binary.toml"), "is not UTF-8 text")


def test_an_empty_config_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "cloud.toml").touch()
    settings = load_settings(tmp_path / "cloud.toml")
    assert settings.path("registry") == tmp_path / "registry" and settings.api.url() == "http://127.0.0.1:8080"
    with pytest.raises(InvalidConfig, match="cannot read the token file"):
        settings.token(settings.api.operator_token_file)


def test_everything_about_drift_in_a_config_reaches_the_detectors(tmp_path: Path) -> None:
    given = "alpha = 0.01\nenrol_windows = 12\nsettle_windows = 12\nclear_windows = 3\nperiod_s = 60.0\nmin_frames = 4"
    cohorts = "[drift.cohorts]\nhall = ['s1', 's2', 's3/left']"
    (tmp_path / "cloud.toml").write_text(f"[drift]\n{given}\ntolerance = 0.2\n{cohorts}")
    settings = load_settings(tmp_path / "cloud.toml")
    assert settings.drift_policy() == DriftPolicy(
        alpha=0.01, enrol_windows=12, settle_windows=12, clear_windows=3, period_s=60.0, min_frames=4, tolerance=0.2
    )
    assert settings.drift.cohorts == {"hall": ("s1", "s2", "s3/left")}


def test_a_station_and_a_cohort_of_one_name_are_refused(home: Path, tmp_path: Path, cli: Cli) -> None:
    config = home / "cloud.toml"
    assert cli("station", "add", "hall", "--config", config, "--out", tmp_path / "hall")[0] == 0
    with config.open("a") as file:
        file.write("\n[drift.cohorts]\nhall = ['s1', 's2', 's3']\nroof = ['s1', 's2', 's3']\n")
    refused(cli("serve", "--config", config), "'hall' is the name of a station and of a cohort", "rename the cohort")
    refused(cli("station", "add", "roof", "--config", config, "--out", tmp_path / "roof"), "rename the cohort")


def test_a_port_in_use_is_one_line(home: Path, cli: Cli) -> None:
    port = load_settings(home / "cloud.toml").api.port
    with socket.create_server(("127.0.0.1", port)):
        refused(cli("serve", "--config", home / "cloud.toml"), f"127.0.0.1:{port}", "Address already in use", "[api]")


@pytest.mark.parametrize("damage", ["keys", "token", "database", "home"])
def test_a_home_that_cannot_be_served_is_one_line(home: Path, cli: Cli, damage: str) -> None:
    if damage == "keys":
        (home / "keys" / "order.pem").write_text("torn")
    elif damage == "token":
        (home / "secrets" / "operator.token").write_text("\n")
    elif damage == "database":
        (home / "cloud.db").write_bytes(b"this was a database once" * 500)
    else:
        (home / "cloud.toml").write_text(
            f'home = "/proc/nowhere"\nkeys = "{home / "keys"}"\n[api]\nport = {free_port()}\n'
        )
    refused(cli("serve", "--config", home / "cloud.toml"))


def test_asking_a_server_that_does_not_run_is_one_line(home: Path, cli: Cli) -> None:
    config = home / "cloud.toml"
    for words in (
        ("rollout", "list"),
        ("rollout", "start", "--version", "v1"),
        ("rollout", "abort", "1", "--reason", "x"),
        ("station", "stop", "s1", "--reason", "x"),
        ("drift", "report", "--station", "s1"),
        ("drift", "re-enrol", "--station", "s1", "--reason", "lamp"),
    ):
        refused(cli(*words, "--config", config), "no server answers at", "plumbline-cloud serve")


@pytest.fixture
def answering(home: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Something else that listens on the server's port; give what it answers."""
    answer: dict[str, Any] = {"code": 200, "body": b"<html>Jenkins</html>", "asked": []}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            answer["asked"].append((self.command, self.path, self.headers["Authorization"], self.rfile.read(length)))
            self.send_response(answer["code"])
            self.end_headers()
            self.wfile.write(answer["body"])

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", load_settings(home / "cloud.toml").api.port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield home, answer
    server.shutdown()
    thread.join()
    server.server_close()


def test_another_program_on_the_port_is_one_line(answering: tuple[Path, dict[str, Any]], cli: Cli) -> None:
    home, answer = answering
    refused(cli("rollout", "list", "--config", home / "cloud.toml"), "is no Plumbline server", "[api] port")
    answer["code"] = 500
    refused(cli("rollout", "list", "--config", home / "cloud.toml"), "<html>Jenkins</html>")
    answer["body"] = b'{"detail": "the disk is full"}'
    refused(cli("rollout", "list", "--config", home / "cloud.toml"), "the disk is full")


def test_commands_ask_with_the_operators_token_and_print_what_the_server_says(
    answering: tuple[Path, dict[str, Any]], cli: Cli
) -> None:
    home, answer = answering
    config = home / "cloud.toml"
    rollouts = [{"id": 1, "version": "v1", "state": "RUNNING"}]
    answer["body"] = json.dumps(rollouts).encode()
    assert json.loads(cli("rollout", "list", "--json", "--config", config)[1]) == rollouts
    settings = load_settings(config)
    token = settings.token(settings.api.operator_token_file)
    assert answer["asked"][0] == ("GET", "/v1/rollouts?limit=20", f"Bearer {token}", b"")
    answer["body"] = b'{"rollout": 4}'
    assert cli("rollout", "start", "--version", "v1", "--config", config)[1] == "rollout 4 of v1 has started\n"
    assert json.loads(answer["asked"][-1][3]) == {"version": "v1"}
    cli("rollout", "start", "--version", "v1", "--despite-budget", "--config", config)
    assert json.loads(answer["asked"][-1][3]) == {"version": "v1", "plan": {"hold_on_budget": False}}
    status = {
        "station": "s/1",
        "phase": "alarmed",
        "sentence": "lens",
        "enrolled": 24,
        "enrol_windows": 24,
        "judged": 9,
        "camera": "left",
        "cameras": [
            {"camera": "left", "phase": "alarmed", "sentence": "lens"},
            {"camera": "", "phase": "quiet", "sentence": "within the enrolled range"},
        ],
        "doubts": ["the lens moved while it was enrolled"],
        "labels": {"sentence": "accuracy 0.95 on 80 audit labels"},
    }
    answer["body"] = json.dumps({**status, "evidence": [{"figure": "sharpness", "z": -8.2, "windows": 4}]}).encode()
    code, out, _ = cli("drift", "report", "--station", "s/1", "--config", config)
    assert code == 3 and "sharpness: -8.2 sd for 4 windows" in out
    assert "doubtful: the lens moved while it was enrolled" in out and "labels: accuracy 0.95 on 80 audit labels" in out
    assert "the first camera: quiet; within the enrolled range" in out and "left:" not in out
    assert answer["asked"][-1][1] == "/v1/drift/s%2F1"
    cli("drift", "report", "--station", "s1", "--camera", "left", "--config", config)
    assert answer["asked"][-1][1] == "/v1/drift/s1?camera=left"
    answer["body"] = b'{"station": "s1", "camera": "left", "reason": "new lens"}'
    words = ("drift", "re-enrol", "--station", "s1", "--camera", "left", "--reason", "new lens", "--config", config)
    assert cli(*words)[1] == "s1/left is learnt anew: new lens\n"
    assert json.loads(answer["asked"][-1][3]) == {"reason": "new lens", "camera": "left"}


def test_releasing_what_is_no_run_is_one_line(home: Path, tmp_path: Path, cli: Cli) -> None:
    config = home / "cloud.toml"
    refused(cli("release", tmp_path / "no-run", "--version", "v1", "--config", config))
    refused(cli("release", tmp_path, "--version", "v 1!", "--config", config), "is no version name")


def test_station_of_a_cloud_that_listens_everywhere_needs_the_address_to_call(cli: Cli, tmp_path: Path) -> None:
    assert cli("init", "--home", tmp_path / "home")[0] == 0
    config = tmp_path / "home" / "cloud.toml"
    config.write_text(config.read_text().replace('host = "127.0.0.1"\nport = 8080', 'host = "0.0.0.0"\nport = 8080'))
    code, _, err = cli("station", "add", "line1", "--out", tmp_path / "line1", "--config", config)
    assert code == 1
    assert "public_url" in err and err.count("\n") == 1
    config.write_text(config.read_text().replace("port = 8080", 'port = 8080\npublic_url = "http://10.0.0.5:8080"'))
    assert cli("station", "add", "line1", "--out", tmp_path / "line1", "--config", config)[0] == 0
    assert load_agent_settings(tmp_path / "line1" / "agent.toml").cloud.url == "http://10.0.0.5:8080"


def test_known_station_keeps_its_token_unless_it_is_to_be_replaced(cli: Cli, tmp_path: Path) -> None:
    assert cli("init", "--home", tmp_path / "home")[0] == 0
    config = tmp_path / "home" / "cloud.toml"
    assert cli("station", "add", "line1", "--out", tmp_path / "a", "--config", config)[0] == 0
    code, _, err = cli("station", "add", "line1", "--out", tmp_path / "b", "--config", config)
    assert code == 1 and "--replace" in err
    token = (tmp_path / "a" / "station.token").read_text().strip()
    stations = Stations(Database(load_settings(config).database_url()))
    assert stations.is_token("line1", token)
    assert cli("station", "add", "line1", "--out", tmp_path / "b", "--config", config, "--replace")[0] == 0
    assert not stations.is_token("line1", token)


def test_two_servers_cannot_share_a_home(cli: Cli, tmp_path: Path) -> None:
    assert cli("init", "--home", tmp_path / "home", "--api-port", free_port())[0] == 0
    lock = HomeLock(tmp_path / "home")
    code, _, err = cli("serve", "--config", tmp_path / "home" / "cloud.toml")
    lock.close()
    assert code == 1 and "another plumbline-cloud serves from" in err and err.count("\n") == 1
