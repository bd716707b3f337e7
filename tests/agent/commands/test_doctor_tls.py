"""`plumbline-agent doctor` where broker and cloud speak TLS: what is wrong in plain words, and the running station left alone."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.commands.doctor_checks import Finding, Level, examine
from agent.commands.doctor_links import broker, cloud
from agent.commands.doctor_tls import certificate, day
from agent.settings import Settings, load_settings
from cloud.provision.authority import Identity, Issued, make_authority, make_key
from contract.provisioning import CertificateNote
from tests.fixtures_broker import start_broker
from tests.secure_plant import Client, SecurePlant, wait_for

DAY = 86_400.0
Station = Callable[..., Settings]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecurePlant]:
    made = SecurePlant(tmp_path_factory.mktemp("doctor"))
    for name in ("s1", "gone"):
        made.command("provision", name, "--out", made.folder / name)
    made.start_broker()
    yield made
    made.stop_broker()


@pytest.fixture
def station(plant: SecurePlant, tmp_path: Path) -> Station:
    """Return a copy of a station's folder, with another certificate or authority where given."""

    def copy(name: str = "s1", *, identity: Path | None = None, ca: bytes | None = None) -> Settings:
        folder = tmp_path / name
        shutil.copytree(plant.folder / name, folder)
        if identity is not None:
            shutil.copy(identity, folder / "identity.pem")
        if ca is not None:
            (folder / "ca.pem").write_bytes(ca)
        return load_settings(folder / "agent.toml")

    return copy


def looked(finding: Finding) -> tuple[Level, str]:
    return finding.level, f"{finding.found}: {finding.todo}"


def with_broker(settings: Settings, **changes: Any) -> Settings:
    return msgspec.structs.replace(settings, broker=msgspec.structs.replace(settings.broker, **changes))


def write_identity(folder: Path, issued: Issued, key: bytes) -> Path:
    file = folder / f"{issued.serial[:12]}.pem"
    file.write_bytes(Identity(issued.pem, key).pem())
    return file


@contextlib.contextmanager
def server(certificate_file: Path) -> Iterator[int]:
    """A TLS server that greets whoever comes and hangs up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_sound_station_is_told_when_both_certificates_end_and_is_not_thrown_off(
    plant: SecurePlant, station: Station
) -> None:
    settings = station()
    running = Client(plant, plant.folder / "s1/identity.pem", "s1")
    assert running.refused == ""
    level, words = looked(broker(settings, time.time()))
    assert level is Level.OK, words
    assert "its own ends 20" in words
    assert running.may_publish("pl/v1/d/s1/up/sum")
    assert not running.lost
    running.close()
    level, words = looked(certificate(settings, time.time()))
    assert (level, "s1 counts until 20" in words, "renewed from" in words) == (Level.OK, True, True), words


def test_a_revoked_station_is_told_so(plant: SecurePlant, station: Station) -> None:
    settings = station("gone")
    plant.command("provision", "revoke", "gone", "--reason", "stolen")
    told: list[tuple[Level, str]] = []

    def refused() -> bool:
        told.append(looked(broker(settings, time.time())))  # the broker reads its revocation list in its own time
        return told[-1][0] is Level.FAIL

    wait_for(refused, "the broker refuses it")
    assert "this station's certificate is revoked" in told[-1][1]


def test_another_plants_authority_is_named_on_both_sides(plant: SecurePlant, station: Station, tmp_path: Path) -> None:
    other, _ = make_authority("another plant", now=time.time(), days=30.0)
    trusting_another = station(ca=other.pem)
    assert "not of the authority in ca_file" in looked(broker(trusting_another, time.time()))[1]
    level, words = looked(certificate(trusting_another, time.time()))
    assert (level, "another plant's" in words) == (Level.WARNING, True), words
    shutil.rmtree(tmp_path / "s1")
    of_another = station(identity=plant.identity("s1", other))
    level, words = looked(broker(of_another, time.time()))
    assert (level, "does not know the authority of this station's certificate" in words) == (Level.FAIL, True), words


@pytest.mark.parametrize(
    ("begun_days_ago", "days", "level", "words"),
    [
        (40.0, 30.0, Level.FAIL, "certificate ended on {end}, by this device's clock"),
        (-5.0, 30.0, Level.FAIL, "set the clock"),
        (28.0, 30.0, Level.WARNING, "plumbline-agent enrol --renew"),
        (1.0, 30.0, Level.OK, "counts until {end}"),
    ],
)
def test_a_certificates_end_is_set_against_this_devices_clock(
    plant: SecurePlant, station: Station, begun_days_ago: float, days: float, level: Level, words: str
) -> None:
    begin = time.time() - begun_days_ago * DAY
    settings = station(identity=plant.identity("s1", plant.provision.authority(), now=begin, days=days))
    note = CertificateNote(begin, begin + days * DAY)
    settings.path("certificate.json").write_bytes(msgspec.json.encode(note))
    found, said = looked(certificate(settings, time.time()))
    assert (found, words.format(end=day(note.not_after)) in said) == (level, True), said


def test_a_certificate_of_another_station_is_no_certificate_of_this_one(plant: SecurePlant, station: Station) -> None:
    settings = station(identity=plant.identity("s2", plant.provision.authority()))
    level, words = looked(certificate(settings, time.time()))
    assert (level, "is s2's, this station is s1" in words) == (Level.FAIL, True), words


@pytest.mark.parametrize(
    ("names", "begun_days_ago", "words"),
    [
        (["broker.plant", "10.0.0.5"], 1.0, "is for 'broker.plant', '10.0.0.5', not for '127.0.0.1'"),
        (["127.0.0.1"], 40.0, "its certificate has ended, by this device's clock"),
        (["127.0.0.1"], -5.0, "does not count yet"),
    ],
)
def test_what_is_wrong_with_a_servers_certificate_is_said_in_words(
    plant: SecurePlant, station: Station, tmp_path: Path, names: list[str], begun_days_ago: float, words: str
) -> None:
    key, public = make_key()
    issued = plant.provision.authority().sign_server(names, public, now=time.time() - begun_days_ago * DAY, days=30.0)
    settings = station()
    with server(write_identity(tmp_path, issued, key)) as port:
        level, said = looked(broker(with_broker(settings, port=port), time.time()))
        assert (level, words in said) == (Level.FAIL, True), said
        cloudy = msgspec.structs.replace(settings.cloud, url=f"https://127.0.0.1:{port}")
        level, said = looked(cloud(msgspec.structs.replace(settings, cloud=cloudy), time.time()))
        assert (level, words in said) == (Level.FAIL, True), said


def test_tls_on_one_side_alone_is_named(plant: SecurePlant, station: Station, tmp_path: Path) -> None:
    without = start_broker(tmp_path / "plain")
    level, words = looked(broker(with_broker(station(), port=without.port), time.time()))
    without.kill()
    assert (level, "TLS" in words) == (Level.FAIL, True), words
    plain = with_broker(load_settings(plant.folder / "s1/agent.toml"), ca_file="", cert_file="", key_file="")
    level, words = looked(broker(plain, time.time()))
    assert (level, "speaks TLS, and this station does not" in words) == (Level.FAIL, True), words


@pytest.mark.parametrize("name", ["ca.pem", "identity.pem"])
def test_a_rotten_file_is_named(station: Station, name: str) -> None:
    settings = station()
    settings.path(name).write_bytes(b"-----BEGIN CERTIFICATE-----\nMIIB")
    checks = {finding.name: finding for finding in examine(settings)}
    for check in ("certificate", "broker", "cloud"):
        level, words = looked(checks[check])
        assert (level, name in words) == (Level.FAIL, True), words
