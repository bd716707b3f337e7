"""`plumbline-agent doctor`: a line a thing, what to do, and nothing changed."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.__main__ import main
from agent.store.database import open_database
from tests.fixtures_broker import Broker, free_port
from tests.tiny_bundle import write_bundle


def config(folder: Path, extra: str = "", port: int | None = None) -> Path:
    path = folder / "agent.toml"
    host = '""' if port is None else '"127.0.0.1"'
    path.write_text(
        'station = "s1"\nhome = "state"\n[source]\nheight = 32\nwidth = 32\n'
        f"[broker]\nhost = {host}\nport = {port or 1883}\n{extra}" + ("" if "[api]" in extra else "[api]\nport = 0\n")
    )
    return path


def doctor(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]]]:
    code = main(["doctor", "--config", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is (code == 0)
    return code, {check["name"]: check for check in found["checks"]}


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_sound_station_is_ok_line_by_line_and_nothing_is_changed(
    tmp_path: Path, broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "tiny.plb")
    path = config(tmp_path, '[bundle]\npath = "tiny.plb"\n', broker.port)
    (tmp_path / "state").mkdir()
    open_database(tmp_path / "state/agent.sqlite").close()
    before = {name: held for name, held in everything(tmp_path).items() if not name.startswith("broker")}
    code, found = doctor(path, capsys)
    assert {name: held for name, held in everything(tmp_path).items() if not name.startswith("broker")} == before
    assert code == 0, found
    of_the_machine = {"clock", "model", "heat", "power", "memory", "disk wear"}
    assert {name for name, check in found.items() if check["level"] != "ok"} <= of_the_machine
    assert "SIMULATED" in found["camera"]["found"]
    assert "golden" in found["model"]["todo"]  # this tiny bundle has none
    assert main(["doctor", "--config", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found)
    assert all(line.split()[0] in ("ok", "warning") for line in lines)


def test_a_home_that_is_not_there_stays_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(config(tmp_path), capsys)
    assert (code, found["model"]["level"], found["database"]["level"]) == (0, "warning", "ok")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("extra", "name", "words"),
    [
        ('[cloud]\nurl = "http://127.0.0.1:9"\n', "cloud", "was not reached"),
        ('[bundle]\npath = "none.plb"\n', "model", "none.plb"),
        ('[bundle]\npath = "agent.toml"\n', "model", ""),
        ('[cloud]\nurl = "http://127.0.0.1:9"\n[trust]\nroot = "r"\norder_keys = ["k"]\n', "trust", "order key 'k'"),
        ('[api]\nport = 0\ntoken_file = "none.token"\n', "secrets", "api.token_file"),
    ],
)
def test_what_is_wrong_is_a_fail_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: str, name: str, words: str
) -> None:
    code, found = doctor(config(tmp_path, extra), capsys)
    assert (code, found[name]["level"]) == (1, "FAIL")
    assert words in found[name]["found"]
    assert found["disk"]["level"] == "ok"  # one thing wrong does not hide the others


def test_a_wrong_config_is_its_own_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('station = "s1"\nhome = "x"\n[line]\ndedline_ms = 3\n')
    code, found = doctor(path, capsys)
    assert (code, list(found)) == (1, ["config"])
    assert "deadline_ms" in found["config"]["todo"]


def test_a_camera_without_images_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "parts").mkdir()
    path = config(tmp_path)
    path.write_text(path.read_text().replace("[source]", '[source]\nkind = "folder"\nfolder = "parts"'))
    code, found = doctor(path, capsys)
    assert (code, found["camera"]["level"]) == (1, "FAIL")
    (tmp_path / "parts/a.png").write_bytes(b"torn")
    path.write_text(path.read_text().replace("[source]", "[source]\nloop = false"))
    code, found = doctor(path, capsys)
    assert "damaged" in found["camera"]["todo"] or "image" in found["camera"]["todo"]
    assert (code, found["camera"]["level"]) == (1, "FAIL")


def test_a_damaged_database_is_found_and_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(tmp_path)
    database = tmp_path / "state/agent.sqlite"
    open_database(database).close()
    content = bytearray(database.read_bytes())
    content[4096 : 4096 * 3] = os.urandom(4096 * 2)
    database.write_bytes(content)
    code, found = doctor(path, capsys)
    assert (code, found["database"]["level"]) == (1, "FAIL")
    assert database.read_bytes() == content


@pytest.mark.slow
def test_a_port_that_is_no_broker_and_one_that_is_shut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = doctor(config(tmp_path, port=free_port()), capsys)
    assert (found["broker"]["level"], "was not reached" in found["broker"]["found"]) == ("FAIL", True)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        _, found = doctor(config(tmp_path, port=server.getsockname()[1]), capsys)
        thread.join()
    assert "not as an MQTT broker" in found["broker"]["found"]


def test_a_token_file_that_others_may_read_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text("a-token-of-some-length\n")
    (tmp_path / "token").chmod(0o644)
    path = config(tmp_path, '[api]\nport = 0\ntoken_file = "token"\n')
    code, found = doctor(path, capsys)
    assert (code, found["secrets"]["level"], found["secrets"]["todo"]) == (0, "warning", "chmod 640 token")
    (tmp_path / "token").chmod(0o600)
    assert doctor(path, capsys)[1]["secrets"]["level"] == "ok"
