"""plumbline-agent enrol, against the cloud's own two doors over TLS."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from cryptography import x509

from agent.__main__ import main
from agent.uplink.device_key import make_device_key
from agent.uplink.identity_files import IdentityFiles
from agent.uplink.renewal import CertificateRenewal
from agent.uplink.tls import StationTls
from cloud.api.app import DoorRules, make_app
from cloud.api.doors import device_context, door, server_context
from cloud.api.enrol import enrol_routes, renew_routes
from cloud.api.limits import RequestLimits
from cloud.api.right_tokens import RightTokens
from cloud.provision.authority import make_authority
from cloud.provision_wiring import make_desk
from cloud.settings import load_settings
from cloud.store.certificates import Certificates
from cloud.store.database import Database
from cloud.store.stations import Stations
from contract.provisioning import CertificateNote
from tests.fakes.agent_clock import HandClock
from tests.fakes.agent_line import ListLog
from tests.secure_plant import SecurePlant, wait_for


class Doors:
    """The cloud's servers, in threads."""

    def __init__(self, plant: SecurePlant) -> None:
        self.settings = load_settings(plant.config)
        self.database = Database(self.settings.database_url())
        self.limits = RequestLimits(1200, 30, monotonic=time.monotonic, salt=b"s" * 16)
        desk = make_desk(self.settings, self.database, time.time)
        certificates = Certificates(self.database)
        self.tokens = RightTokens(lambda: certificates.right_tokens(time.time()), time.monotonic, every_s=0.0)
        folder = plant.provision
        people = server_context(folder.path / "api.pem", folder.path / "api.pem")
        stations = device_context(folder.path / "api.pem", folder.path / "api.pem", folder.trust, folder.crl)
        renew = renew_routes(desk, Stations(self.database).is_token)
        self._servers = [
            (
                door(make_app([enrol_routes(desk, self.limits, self.tokens)], DoorRules()), people),
                self.settings.api.port,
            ),
            (door(make_app([renew]), stations, for_devices=True), self.settings.api.device_port),
        ]
        self._threads = [threading.Thread(target=self._serve, args=each) for each in self._servers]
        for thread in self._threads:
            thread.start()
        wait_for(lambda: all(server.started for server, _ in self._servers), "the doors open")

    def close(self) -> None:
        for server, _ in self._servers:
            server.should_exit = server.force_exit = True
        for thread in self._threads:
            thread.join()
        self.database.close()

    @staticmethod
    def _serve(server: uvicorn.Server, port: int) -> None:
        with socket.create_server(("127.0.0.1", port)) as listener:
            server.run(sockets=[listener])


@dataclass
class Cloud:
    plant: SecurePlant
    url: str
    device_url: str
    pin: str

    def token(self, station: str, capsys: pytest.CaptureFixture[str]) -> str:
        capsys.readouterr()
        self.plant.command("provision", "token", station, "--json")
        made = json.loads(capsys.readouterr().out)
        assert (made["ca_sha256"], made["url"]) == (self.pin, self.url)
        return str(made["token"])

    def enrol(self, token: str, out: Path, *, pin: str = "", url: str = "") -> int:
        words = ["--url", url or self.url, f"--token={token}", "--ca-sha256", pin or self.pin, "--out", str(out)]
        return main(["enrol", *words])


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    plant = SecurePlant(tmp_path_factory.mktemp("enrol"))
    doors = Doors(plant)
    api = doors.settings.api
    yield Cloud(plant, api.url(), f"https://127.0.0.1:{api.device_port}", plant.provision.authority().fingerprint)
    doors.close()


def test_a_device_enrols_itself_and_its_key_never_leaves_it(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "line1"
    assert cloud.enrol(cloud.token("line1", capsys), out) == 0
    files = {str(f.relative_to(out)) for f in out.rglob("*") if f.is_file()}
    assert files == {
        "agent.toml", "identity.pem", "ca.pem", "certificate.json", "station.token", "trust/root.json", "trust/order_key.json"
    }  # fmt: skip
    for secret in ("identity.pem", "station.token"):
        assert stat.S_IMODE((out / secret).stat().st_mode) == 0o600
    assert x509.load_pem_x509_certificate((out / "identity.pem").read_bytes()).subject.rfc4514_string() == "CN=line1"
    key = (out / "identity.pem").read_text().partition("-----BEGIN PRIVATE KEY-----")[2]
    assert key
    assert not any(key[:60] in f.read_text(errors="replace") for f in cloud.plant.home.rglob("*") if f.is_file())


def test_another_plant_is_found_out_before_the_token_is_sent(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = cloud.token("line2", capsys)
    stranger, _ = make_authority("plant", now=time.time(), days=10)
    assert cloud.enrol(token, tmp_path / "out", pin=stranger.fingerprint) == 1
    assert "is not the plant with this fingerprint" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    pin = ":".join(cloud.pin[i : i + 2] for i in range(0, 64, 2)).upper()  # as openssl prints it
    assert cloud.enrol(token, tmp_path / "out", pin=pin) == 0  # and the token is good still


def test_a_server_that_only_repeats_the_authority_gets_no_token(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    impostor, _ = make_authority("Plumbline plant CA", now=time.time(), days=10)
    from cloud.provision.authority import Identity, make_key

    key, public = make_key()
    file = tmp_path / "impostor.pem"
    issued = impostor.sign_server(["127.0.0.1"], public, now=time.time(), days=5)
    file.write_bytes(Identity(issued.pem, key).pem())
    seen: list[str] = []
    served = threading.Event()
    from fastapi import APIRouter, Response

    routes = APIRouter(prefix="/v1")

    @routes.get("/ca")
    def authority() -> Response:
        return Response(cloud.plant.provision.trust.read_text())

    @routes.post("/enrol")
    def take() -> Response:
        seen.append("a token")
        return Response("{}")

    server = door(make_app([routes]), server_context(file, file))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            server.run(sockets=[listener])
            served.set()

        thread = threading.Thread(target=serve)
        thread.start()
        wait_for(lambda: server.started, "the impostor serves")
        assert cloud.enrol("secret", tmp_path / "out", url=f"https://127.0.0.1:{port}") == 1
        server.should_exit = server.force_exit = True
        thread.join()
    assert seen == []
    assert "verify failed" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["identity.pem", "certificate.json", "trust/root.json", "station.token", "agent.toml"])
def test_a_device_that_lost_power_in_the_middle_enrols_with_the_same_token(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    token, out, write = cloud.token("powerless", capsys), tmp_path / "powerless", IdentityFiles.write

    def die(self: IdentityFiles, name: str, data: bytes, *, mode: int = 0o644) -> None:
        if name == file:
            raise KeyboardInterrupt
        write(self, name, data, mode=mode)

    monkeypatch.setattr(IdentityFiles, "write", die)
    with contextlib.suppress(KeyboardInterrupt):
        cloud.enrol(token, out)
    assert not (out / "agent.toml").exists()
    monkeypatch.setattr(IdentityFiles, "write", write)
    assert cloud.enrol(token, out) == 0
    assert (out / "agent.toml").is_file() and not (out / "enrolling.json").exists()


def test_a_device_whose_answer_was_lost_asks_again_with_the_same_key(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token, out = cloud.token("line3", capsys), tmp_path / "out"
    out.mkdir()
    key = IdentityFiles(out).pending_key()
    with httpx.Client(verify=ssl.create_default_context(cafile=str(cloud.plant.provision.trust))) as client:
        assert client.post(f"{cloud.url}/v1/enrol", json={"token": token, "csr": key.request}).status_code == 200
    assert cloud.enrol(token, out) == 0
    assert key.key in (out / "identity.pem").read_text()
    assert not (out / "enrolling.json").exists()
    capsys.readouterr()
    assert cloud.enrol(token, tmp_path / "thief") == 1
    assert "was used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--token", "x"), "--url, --ca-sha256, --out missing"),
        (("--url", "http://h", "--token", "x", "--ca-sha256", "00", "--out", "o"), "no https:// address"),
    ],
)
def test_what_is_missing_is_said(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enrol", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_stations_door_asks_for_a_certificate_and_holds_paths_against_it(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("own", "other"):
        assert cloud.enrol(cloud.token(name, capsys), tmp_path / name) == 0
    trust = tmp_path / "own" / "ca.pem"
    csr = {"csr": make_device_key(tmp_path).request}
    other = {"Authorization": f"Bearer {(tmp_path / 'other' / 'station.token').read_text().strip()}"}
    with (
        httpx.Client(verify=ssl.create_default_context(cafile=str(trust))) as nobody,
        pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)),
    ):
        nobody.get(f"{cloud.device_url}/healthz")
    identity = tmp_path / "own" / "identity.pem"
    with httpx.Client(verify=StationTls(trust, identity, identity).context) as client:
        assert client.get(f"{cloud.device_url}/healthz").status_code == 200
        assert client.get(f"{cloud.device_url}/").status_code == 404  # no dashboard
        stolen = client.post(f"{cloud.device_url}/v1/renew/other", json=csr, headers=other)
        assert (stolen.status_code, "certificate is station 'own'" in stolen.text) == (403, True)
        assert client.post(f"{cloud.device_url}/v1/renew/own", json=csr, headers=other).status_code == 401


def test_a_certificate_renews_itself_at_two_thirds_of_its_life_and_connections_take_it_up(
    cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "line4"
    assert cloud.enrol(cloud.token("line4", capsys), out) == 0
    files, identity = IdentityFiles(out), out / "identity.pem"
    first, note = identity.read_bytes(), files.note()
    assert note is not None
    assert note.renew_at() == pytest.approx(note.not_before + (note.not_after - note.not_before) * 2 / 3)
    clock, said = HandClock(note.renew_at() - 1), ListLog()
    tls = StationTls(out / "ca.pem", identity, identity)
    headers = {"Authorization": f"Bearer {(out / 'station.token').read_text().strip()}"}
    with httpx.Client(verify=tls.context, headers=headers) as client:
        renewal = CertificateRenewal(
            files, client, cloud.device_url, "line4", clock, said, changed=tls.reload, roll=lambda: 0.5
        )
        renewal.tick()
        assert identity.read_bytes() == first
        clock.forward(2)
        renewal.tick()
        assert said.lines == ["renewed the certificate"]
        second = identity.read_bytes()
        assert second != first
        renewal.tick()  # by this clock, which is ahead, the new one is old too
        assert identity.read_bytes() == second
        assert main(["enrol", "--renew", "--config", str(out / "agent.toml")]) == 0
        renewal.tick()
        assert said.lines[1:] == ["took up the certificate that was renewed by hand"]
        assert client.get(f"{cloud.device_url}/healthz").status_code == 200


def test_a_renewal_that_fails_leaves_what_is_there_and_is_not_asked_for_at_once(
    tmp_path: Path, cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "line5"
    assert cloud.enrol(cloud.token("line5", capsys), out) == 0
    files, before = IdentityFiles(out), (out / "identity.pem").read_bytes()
    note = files.note()
    assert note is not None
    clock, said = HandClock(note.renew_at() + 1), ListLog()
    with httpx.Client() as client:
        renewal = CertificateRenewal(
            files, client, "http://127.0.0.1:9", "line5", clock, said, changed=lambda: None, roll=lambda: 0.5
        )
        for _ in range(3):
            renewal.tick()
        assert len(said.lines) == 1
        clock.forward(601)
        renewal.tick()
    assert len(said.lines) == 2
    assert (out / "identity.pem").read_bytes() == before


def test_a_device_without_openssl_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    made = make_device_key(tmp_path)  # by the package that the cloud needs anyway
    assert "BEGIN PRIVATE KEY" in made.key
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    from contract.errors import InvalidConfig

    with pytest.raises(InvalidConfig, match="no openssl") as refused:
        make_device_key(tmp_path)
    assert "plumbline-cloud provision STATION" in refused.value.hint
    assert CertificateNote(0.0, 3.0).renew_at() == 2.0
