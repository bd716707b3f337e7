"""What docker asks a station's container, of a real station: firmware_config/image/healthy.py."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from agent.health.home_lock import HomeLock
from firmware_config.image.healthy import main, why_unwell
from tests.fixtures_broker import free_port
from tests.station_process import Station, wait_for

TOKEN = "a-token-of-more-than-16-characters"


def config(folder: Path, api: str) -> Path:
    (folder / "token").write_text(TOKEN)
    (folder / "agent.toml").write_text(f'station = "s1"\nhome = "state"\n[api]\n{api}\n')
    (folder / "state").mkdir(exist_ok=True)
    return folder / "agent.toml"


@contextmanager
def running(folder: Path) -> Iterator[None]:
    lock = HomeLock(folder / "state")
    try:
        yield
    finally:
        lock.release()


class Answer(BaseHTTPRequestHandler):
    code, body = 200, b""
    token = ""

    def do_GET(self) -> None:
        assert self.path == "/healthz"
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}" if self.token else True
        self.send_response(self.code if allowed else 401)
        self.end_headers()
        self.wfile.write(self.body if allowed else b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Answer)
    Answer.code, Answer.token = 200, ""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_station_that_does_not_run_is_not_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config(tmp_path, "port = 0"))]) == 1
    assert "the station does not run" in capsys.readouterr().err
    assert main(["--config", str(tmp_path / "none.toml")]) == 1


def test_a_token_that_cannot_be_read_is_a_line_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(tmp_path, 'port = 8099\ntoken_file = "token"')
    for spoil in (lambda: (tmp_path / "token").write_bytes(b"\xff"), (tmp_path / "token").unlink):
        spoil()
        with running(tmp_path):
            assert main(["--config", str(file)]) == 1
        assert capsys.readouterr().err.startswith("error: api.token_file cannot be read")


def test_without_a_local_api_it_is_enough_that_it_runs(tmp_path: Path) -> None:
    file = config(tmp_path, "port = 0")
    with running(tmp_path):
        assert why_unwell(file) == ""


def test_its_own_api_decides_and_another_program_s_does_not(tmp_path: Path, port: int) -> None:
    file = config(tmp_path, f"port = {port}")
    with running(tmp_path):
        Answer.body = json.dumps({"ok": True, "station": "s1"}).encode()
        assert why_unwell(file) == ""
        Answer.code, Answer.body = (
            503,
            json.dumps({"ok": False, "station": "s1", "reason": "no frame for 12 s"}).encode(),
        )
        assert why_unwell(file) == "no frame for 12 s"
        for other in (b'{"ok": true, "station": "s2"}', b"<html>", b"[]", b'{"station": "s1"}', b""):
            Answer.body = other
            assert "is not its local API" in why_unwell(file)


def test_beyond_loopback_the_token_is_sent(tmp_path: Path, port: int) -> None:
    Answer.token, Answer.body = TOKEN, json.dumps({"ok": True, "station": "s1"}).encode()
    with running(tmp_path):
        assert why_unwell(config(tmp_path, f'host = "0.0.0.0"\nport = {port}\ntoken_file = "token"')) == ""
        assert "is not its local API" in why_unwell(config(tmp_path, f"port = {port}"))


def test_a_port_that_nobody_answers_is_not_well(tmp_path: Path) -> None:
    file = config(tmp_path, f"port = {free_port()}")
    with running(tmp_path):
        assert "does not answer" in why_unwell(file)


def test_a_real_station_is_well_until_it_ends(tmp_path: Path) -> None:
    station = Station(tmp_path, 1, extra=f"[api]\nport = {free_port()}\n")
    station.start()
    try:
        wait_for(lambda: why_unwell(station.config) == "")
        station.end(signal.SIGTERM)
        assert why_unwell(station.config) == "the station does not run"
    finally:
        station.close()
