""" "[api]" in agent.toml: loopback by default, a token beyond it, one line for what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agent.settings import load_settings
from contract.errors import InvalidConfig
from tests.fixtures_broker import free_port
from tests.station_process import Station, wait_for

TOKEN = "a-token-of-some-length"


def load(folder: Path, api: str) -> None:
    path = folder / "agent.toml"
    path.write_text(f'station = "s1"\nhome = "state"\n[api]\n{api}')
    load_settings(path)


@pytest.mark.parametrize(
    ("api", "words"),
    [
        ('host = "0.0.0.0"\n', "api.token_file must be set"),
        ('host = "::"\n', "api.token_file must be set"),
        ('host = "station.example"\n', "api.token_file must be set"),
        ('port = "8081"\n', "api.port"),
        ("port = 70000\n", "api.port"),
        ("port = -1\n", "api.port"),
        ("max_body_mib = 0\n", "api.max_body_mib"),
        ("prot = 1\n", "did you mean 'port'"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, api: str, words: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(tmp_path, api)
    assert words in caught.value.one_line()


@pytest.mark.parametrize(
    "api", ["", 'host = "::1"\n', 'host = "localhost"\n', "port = 0\n", 'host = "0.0.0.0"\ntoken_file = "t"\n',
            'host = "0.0.0.0"\nport = 0\n'],
)  # fmt: skip
def test_what_can_be_is_taken(tmp_path: Path, api: str) -> None:
    load(tmp_path, api)


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    port = free_port()
    station = Station(tmp_path, port, extra=f'[api]\nhost = "0.0.0.0"\nport = {port}\ntoken_file = "token"\n')
    yield station
    station.close()


def test_beyond_loopback_every_address_asks_for_the_token(station: Station) -> None:
    port = load_settings(station.config).api.port
    station.start()
    wait_for(lambda: station.rows() > 0)
    for path in ("/healthz", "/metrics", "/v1/status", "/v1/decisions", "/v1/decisions/1"):
        url = f"http://127.0.0.1:{port}{path}"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert httpx.post(f"http://127.0.0.1:{port}/v1/infer", content=b"x").status_code == 401
    assert TOKEN not in station.said()


def test_a_token_that_is_too_short_is_refused_at_the_start(station: Station) -> None:
    (station.folder / "token").write_text("short\n")
    station.start()
    assert station.process is not None
    assert station.process.wait(90) == 2
    assert "error: api.token_file" in station.said() and "Traceback" not in station.said()


def test_two_stations_on_one_computer_both_run_where_no_port_is_named(tmp_path: Path) -> None:
    stations = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        stations.append(Station(tmp_path / name, 1, extra='[api]\nport = "auto"\n'))
    try:
        for station in stations:
            station.start()
        for station in stations:
            wait_for(lambda station=station: station.rows() > 0)
        said = [station.said() for station in stations]
        assert sum("local API on http://127.0.0.1:8081" in each for each in said) <= 1
        assert sum("no local API: port 8081 is taken" in each for each in said) >= 1
    finally:
        for station in stations:
            station.close()
