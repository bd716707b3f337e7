"""The station's own link to the broker that `plumbline-cloud provision` set up, whatever the time is said to be."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.ports.link import Trouble
from agent.uplink.mqtt import MqttLink
from agent.uplink.tls import StationTls
from cloud.provision.authority import Identity, make_authority, make_key
from contract.errors import InvalidConfig, LinkDown
from contract.messages import StationState
from tests.secure_plant import PATIENCE_S, SecurePlant

DAY = 86_400.0


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecurePlant]:
    made = SecurePlant(tmp_path_factory.mktemp("link"))
    made.command("provision", "a", "--out", made.folder / "a")
    yield made
    made.stop_broker()


def _link(plant: SecurePlant, identity: Path) -> MqttLink:
    def birth(online: bool) -> StationState:
        return StationState("a", "boot", online, time.time(), "1", simulated=True)

    tls = StationTls(plant.folder / "a" / "ca.pem", identity, identity)
    return MqttLink("127.0.0.1", plant.station_port, "a", birth, SystemClock(), tls=tls.context)


# paho drops the socket of a handshake that failed, and leaves closing it to the interpreter.
@pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_a_station_connects_again_once_both_clocks_agree_with_the_brokers_certificate(plant: SecurePlant) -> None:
    file = plant.provision.broker / "server.pem"
    link, good = _link(plant, plant.folder / "a" / "identity.pem"), file.read_bytes()
    # To a station whose clock is behind, the certificate is not valid yet; to one whose broker nobody renewed, no more.
    for begins_at in (time.time() + 30 * DAY, time.time() - 30 * DAY):
        key, public = make_key()
        issued = plant.provision.authority().sign_server(("127.0.0.1",), public, now=begins_at, days=7.0)
        file.write_bytes(Identity(issued.pem, key).pem())
        plant.start_broker()
        with pytest.raises(LinkDown, match="certificate"):
            link.connect(PATIENCE_S)
        plant.stop_broker()
        file.write_bytes(good)
        plant.start_broker()
        link.connect(PATIENCE_S)
        link.close(PATIENCE_S)
        plant.stop_broker()


@pytest.mark.parametrize("name", ["ca.pem", "identity.pem"])
@pytest.mark.parametrize("rotten", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB", b"\xff\xfe"])
def test_a_rotten_file_keeps_a_station_from_the_broker_until_it_is_whole_and_from_nothing_else(
    tmp_path: Path, name: str, rotten: bytes
) -> None:
    authority, _ = make_authority("test", now=time.time(), days=30)
    key, public = make_key()
    whole = {
        "ca.pem": authority.pem,
        "identity.pem": Identity(authority.sign_client("a", public, now=time.time(), days=2).pem, key).pem(),
    }
    for file, data in whole.items():
        (tmp_path / file).write_bytes(data)
    (tmp_path / name).write_bytes(rotten)
    files = tmp_path / "ca.pem", tmp_path / "identity.pem", tmp_path / "identity.pem"
    with pytest.raises(InvalidConfig):
        StationTls(*files, strict=True)
    tls = StationTls(*files)
    assert (tls.context.verify_mode, tls.context.get_ca_certs()) == (ssl.CERT_REQUIRED, [])
    with pytest.raises(InvalidConfig):
        tls.reload()
    (tmp_path / name).write_bytes(whole[name])
    tls.reload()
    assert len(tls.context.get_ca_certs()) == 1


def test_a_station_whose_certificate_expired_is_told_that_the_broker_refuses_it(plant: SecurePlant) -> None:
    plant.start_broker()
    expired = plant.identity("a", plant.provision.authority(), now=time.time() - 30 * DAY, days=7.0)
    link = _link(plant, expired)
    with pytest.raises(LinkDown, match="without an answer"):
        link.connect(PATIENCE_S)
    assert link.trouble() is Trouble.REFUSED
    plant.stop_broker()


def test_without_a_certificate_of_its_own_it_checks_the_broker_all_the_same(plant: SecurePlant, tmp_path: Path) -> None:
    tls = StationTls(plant.folder / "a" / "ca.pem", None, None, strict=True)
    assert (tls.context.verify_mode, len(tls.context.get_ca_certs())) == (ssl.CERT_REQUIRED, 1)
    tls.reload()
    (tmp_path / "ca.pem").write_bytes(b"rotten")
    with pytest.raises(InvalidConfig):
        StationTls(tmp_path / "ca.pem", None, None, strict=True)
