"""What mosquitto lets through with the configuration and roles that `plumbline-cloud provision` made (DESIGN 5)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.broker.roles import RolesConnection
from cloud.broker.tls import client_context
from cloud.provision.authority import make_authority
from cloud.provision.broker_roles import Synced, Told
from cloud.provision.dynsec import ADMIN_USER, INGEST_USER, add_commands, remove_commands
from cloud.provision.folder import ProvisionFolder
from cloud.provision_wiring import make_desk
from cloud.settings import load_settings
from cloud.store.certificates import Certificates
from cloud.store.database import Database
from contract.topics import AGGREGATOR_STATE, UP_CHANNELS, shared_filter
from tests.secure_plant import Client, SecurePlant, wait_for

OWN, OTHERS = "pl/v1/d/b", "pl/v1/d/a"


@dataclass
class Guarded:
    """A running broker, and what its ingest worker heard."""

    plant: SecurePlant
    worker: Client

    def station(self, name: str) -> Path:
        return self.plant.folder / name / "identity.pem"

    def heard(self) -> list[str]:
        """Return what reached the worker, once everything that was sent before is there."""
        mark = f"mark {time.monotonic_ns()}".encode()
        marker = Client(self.plant, self.station("marker"), "any")
        assert marker.may_publish("pl/v1/d/marker/up/sum", mark)
        marker.close()
        wait_for(lambda: any(payload == mark for _, payload in self.worker.arrived), "the mark")
        return [topic for topic, _ in self.worker.arrived if "marker" not in topic]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    plant = SecurePlant(tmp_path_factory.mktemp("guard"))
    for name in ("a", "b", "marker"):
        plant.command("provision", name, "--out", plant.folder / name)
    plant.start_broker()
    worker = Client(plant, plant.provision.path / "cloud.pem", "worker-1", cloud=True)
    assert worker.refused == ""
    assert all(worker.may_subscribe(shared_filter(channel)) for channel in UP_CHANNELS)
    yield Guarded(plant, worker)
    worker.close()
    plant.stop_broker()


@pytest.fixture
def guarded(running: Guarded) -> Guarded:
    running.worker.arrived.clear()
    return running


def test_a_station_speaks_on_its_own_topics_and_hears_the_cloud(guarded: Guarded) -> None:
    station = Client(guarded.plant, guarded.station("a"), "a")
    assert station.may_subscribe("pl/v1/d/a/dn/des")
    assert station.may_subscribe("pl/v1/d/a/dn/#")
    assert all(station.may_publish(f"pl/v1/d/a/{channel.value}") for channel in UP_CHANNELS)
    assert guarded.heard() == [f"pl/v1/d/a/{channel.value}" for channel in UP_CHANNELS]
    assert guarded.worker.may_publish("pl/v1/d/a/dn/ack")
    assert guarded.worker.may_publish(AGGREGATOR_STATE)
    wait_for(lambda: bool(station.arrived), "the cloud's word")
    station.close()


@pytest.mark.parametrize(
    "topic",
    [
        f"{OTHERS}/up/sum", f"{OTHERS}/up/state", f"{OTHERS}/dn/des", f"{OWN}/dn/des", AGGREGATOR_STATE,
        "$CONTROL/dynamic-security/v1", "$SYS/broker/uptime", "pl/v1/d/b", "elsewhere",
    ],
)  # fmt: skip
def test_a_station_publishes_nothing_else(guarded: Guarded, topic: str) -> None:
    rogue = Client(guarded.plant, guarded.station("b"), "b")
    assert not rogue.may_publish(topic, b'{"commands": [{"command": "deleteClient", "username": "a"}]}')
    rogue.close()
    assert guarded.heard() == []


@pytest.mark.parametrize(
    "topic",
    [
        "#", "+/#", "pl/#", "pl/v1/d/+/up/sum", "pl/v1/d/+/dn/des", f"{OTHERS}/dn/des", f"{OTHERS}/#", f"{OWN}/#", f"{OWN}/up/#",
        "$share/agg/pl/v1/d/+/up/sum", "$share/agg/pl/v1/d/b/dn/#", "$share/x/#", "$SYS/#", "$CONTROL/#",
        "$CONTROL/dynamic-security/v1/response", AGGREGATOR_STATE,
    ],
)  # fmt: skip
def test_a_station_subscribes_to_nothing_else(guarded: Guarded, topic: str) -> None:
    rogue = Client(guarded.plant, guarded.station("b"), "b")
    assert not rogue.may_subscribe(topic)
    rogue.close()


def test_a_will_on_another_stations_topic_is_never_published(guarded: Guarded) -> None:
    for topic in (f"{OTHERS}/up/state", f"{OWN}/up/state"):
        client = Client(guarded.plant, guarded.station("b"), "b", will=topic)
        assert client.refused == ""
        client.cut()
    # Its own Will, cut second, came: so the other one was due, and held back.
    wait_for(lambda: (f"{OWN}/up/state", b"will") in guarded.worker.arrived, "the Will of its own")
    assert guarded.heard() == [f"{OWN}/up/state"]


def test_another_stations_client_id_takes_nobodys_session(guarded: Guarded) -> None:
    station = Client(guarded.plant, guarded.station("a"), "a")
    rogue = Client(guarded.plant, guarded.station("b"), "a")
    assert rogue.refused == ""  # it is b, whatever it calls itself
    assert not rogue.may_subscribe("pl/v1/d/a/dn/#")
    assert rogue.may_publish(f"{OWN}/up/sum")
    assert station.may_publish(f"{OTHERS}/up/sum")
    assert not station.lost
    rogue.close()
    station.close()
    # Heard here, and not while the next test listens.
    assert guarded.heard() == [f"{OWN}/up/sum", f"{OTHERS}/up/sum"]


def test_without_a_certificate_of_the_plant_nobody_is_let_in(guarded: Guarded) -> None:
    plant = guarded.plant
    mine, now = plant.provision.authority(), time.time()
    stranger, _ = make_authority(mine.certificate.subject.rfc4514_string().removeprefix("CN="), now=now, days=10.0)
    identities = {
        "none": None,
        "foreign, of a CA with the same name": plant.identity("a", stranger),
        "expired": plant.identity("a", mine, now=now - 20 * 86_400, days=10.0),
        "not yet valid": plant.identity("a", mine, now=now + 86_400),
        "a server's": plant.provision.path / "api.pem",
        "the cloud's own, at the stations' door": plant.provision.path / "cloud.pem",
    }
    let_in = [what for what, identity in identities.items() if not Client(plant, identity, "a").refused]
    assert let_in == []
    assert guarded.heard() == []


def test_a_station_is_not_let_in_at_the_clouds_door(guarded: Guarded) -> None:
    assert Client(guarded.plant, guarded.station("b"), "worker-1", cloud=True).refused
    assert not guarded.worker.lost


def test_a_certificate_without_a_role_may_do_nothing(guarded: Guarded) -> None:
    plant = guarded.plant
    unknown = Client(plant, plant.identity("unknown", plant.provision.authority()), "unknown")
    assert unknown.refused == ""
    assert not unknown.may_publish("pl/v1/d/unknown/up/sum")
    assert not unknown.may_subscribe("pl/v1/d/unknown/dn/des")
    unknown.close()
    assert guarded.heard() == []


def test_two_workers_share_a_certificate(guarded: Guarded) -> None:
    second = Client(guarded.plant, guarded.plant.provision.path / "cloud.pem", "worker-2", cloud=True)
    assert second.refused == ""
    assert not second.may_subscribe("#")
    assert not second.may_subscribe("$share/other/pl/v1/d/+/up/sum")
    assert not second.may_publish("$CONTROL/dynamic-security/v1", b'{"commands": [{"command": "listClients"}]}')
    second.close()
    assert not guarded.worker.lost


def test_a_packet_that_is_too_large_ends_its_connection_alone(guarded: Guarded) -> None:
    station = Client(guarded.plant, guarded.station("b"), "b")
    station._client.publish(f"{OWN}/up/sum", bytes(2 << 20), qos=1)
    wait_for(lambda: station.lost, "the connection ends")
    station.close()
    assert guarded.heard() == []


def test_a_new_station_is_let_in_and_a_revoked_one_put_out_while_the_broker_runs(guarded: Guarded) -> None:
    plant = guarded.plant
    plant.command("provision", "c", "--out", plant.folder / "c")
    first = Client(plant, guarded.station("c"), "c", will="pl/v1/d/c/up/state")
    assert first.may_publish("pl/v1/d/c/up/sum")
    plant.command("provision", "revoke", "c", "--reason", "stolen")
    wait_for(lambda: first.lost, "its connection is closed")
    first.close()
    # The list is read on SIGHUP, which the broker sees when it next looks.
    wait_for(lambda: bool(_refused(plant, guarded.station("c"))), "the revoked certificate is refused")
    for name in ("a", "b"):
        assert _refused(plant, guarded.station(name)) == ""
    assert guarded.heard() == ["pl/v1/d/c/up/sum"]  # and no Will


def test_the_device_that_another_replaces_is_put_out_and_not_let_in_again(guarded: Guarded) -> None:
    plant = guarded.plant
    plant.command("provision", "d", "--out", plant.folder / "d")
    first = Client(plant, guarded.station("d"), "d")
    plant.command("provision", "d", "--out", plant.folder / "d2")
    wait_for(lambda: first.lost, "the first device's connection is closed")
    first.close()
    wait_for(lambda: bool(_refused(plant, guarded.station("d"))), "the first device's certificate is refused")
    second = Client(plant, guarded.station("d2"), "d")
    assert second.may_publish("pl/v1/d/d/up/sum")
    second.close()
    assert guarded.heard() == ["pl/v1/d/d/up/sum"]
    plant.command("provision", "revoke", "d", "--reason", "the other tests know nothing of it")


def test_a_list_that_was_written_and_not_told_is_told_by_whoever_comes_next(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = guarded.plant
    plant.command("provision", "e", "--out", plant.folder / "e")
    with monkeypatch.context() as killed:
        killed.setattr(ProvisionFolder, "reload_broker", _die)
        with pytest.raises(SystemExit):
            plant.command("provision", "e", "--out", plant.folder / "e2")
    assert _refused(plant, guarded.station("e")) == ""  # on the disk its certificate has ended
    plant.command("provision", "sync")
    wait_for(lambda: bool(_refused(plant, guarded.station("e"))), "the certificate that ended is refused")
    plant.command("provision", "revoke", "e", "--reason", "the other tests know nothing of it")


def test_a_broker_that_was_wiped_learns_its_stations_again(guarded: Guarded) -> None:
    plant = guarded.plant
    settings = load_settings(plant.config)
    database = Database(settings.database_url())
    desk = make_desk(settings, database, time.time)
    plant.command("provision", "gone", "--out", plant.folder / "gone")
    admin = plant.provision.path / "admin.pem"
    with RolesConnection(
        "127.0.0.1", plant.cloud_port, client_context(plant.provision.trust, admin, admin), "x"
    ) as roles:
        roles.ask(remove_commands("a"))
        roles.ask(add_commands(["enrolling"], plant.provision.namings()))  # no certificate of it is in the database yet
        Certificates(database).revoke("gone", "while the broker was away", now=time.time())
        lost = Client(plant, guarded.station("a"), "a")
        assert not lost.may_publish(f"{OTHERS}/up/sum")
        lost.close()
        assert (desk.sync(), desk.sync()) == (Synced(Told.RUNNING, 1, 1), Synced(Told.RUNNING, 0, 0))
        stations = {f"CN={name}" for name in ("a", "b", "marker", "enrolling")}
        assert stations | {"cloud:ingest", "cloud:admin"} == roles.clients()
    database.close()
    again = Client(plant, guarded.station("a"), "a")
    assert again.may_publish(f"{OTHERS}/up/sum")
    again.close()


def test_more_commands_than_one_message_takes_are_all_answered(guarded: Guarded) -> None:
    plant = guarded.plant
    admin = plant.provision.path / "admin.pem"
    tls = client_context(plant.provision.trust, admin, admin)
    with RolesConnection("127.0.0.1", plant.cloud_port, tls, "y") as roles:
        asked = [{"command": "getClient", "username": name} for name in ("CN=a", "CN=b", "nobody") * 40]
        answers = roles.ask(asked)
    found = [answer.get("data", {}).get("client", {}).get("username", "nobody") for answer in answers]
    assert found == [each["username"] for each in asked]


def _die(_folder: ProvisionFolder) -> bool:
    raise SystemExit("killed")


def _refused(plant: SecurePlant, identity: Path) -> str:
    client = Client(plant, identity, "any")
    if not client.refused:
        client.close()
    return client.refused


def _forged(plant: SecurePlant, subject: x509.Name) -> Path:
    """Return a certificate of the stations' authority with any subject, as who has ca.key can make it."""
    authority, key, now = (
        plant.provision.authority(),
        ec.generate_private_key(ec.SECP256R1()),
        datetime.now(timezone.utc),
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    file = plant.folder / f"forged-{certificate.serial_number:x}.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
    return file


def _named(oid: x509.ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid, value)


_CN, _O, _OWN_OID = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
_SUBJECTS = {
    "its common name": lambda user: [[_named(_CN, user)]],
    "its common name after another part": lambda user: [[_named(_O, "plant")], [_named(_CN, user)]],
    "its common name before another part": lambda user: [[_named(_CN, user)], [_named(_O, "plant")]],
    "two common names": lambda user: [[_named(_CN, user)], [_named(_CN, "b")]],
    "a part of several": lambda user: [[_named(_CN, user), _named(_O, user)]],
    "no common name": lambda user: [[_named(_O, user)]],
    "a type that nobody knows": lambda user: [[_named(_OWN_OID, user)]],
    "no subject at all": lambda _user: [],
}


@pytest.mark.parametrize("user", [INGEST_USER, ADMIN_USER])
@pytest.mark.parametrize("subject", list(_SUBJECTS))
def test_who_has_the_stations_authority_is_not_the_cloud(guarded: Guarded, user: str, subject: str) -> None:
    plant = guarded.plant
    parts = [x509.RelativeDistinguishedName(part) for part in _SUBJECTS[subject](user)]
    forged = _forged(plant, x509.Name(parts))
    assert Client(plant, forged, "worker-9", cloud=True).refused
    # What it says of itself beside its certificate, its name and its client id, is the cloud's too.
    for client_id in (user, "worker-1"):
        thief = Client(plant, forged, client_id, user=user)
        if not thief.refused:
            assert not thief.may_publish("$CONTROL/dynamic-security/v1", b'{"commands": [{"command": "listClients"}]}')
            assert not thief.may_subscribe("$CONTROL/dynamic-security/v1/response")
            assert not thief.may_publish(f"{OTHERS}/dn/des")
            assert not thief.may_publish(f"{OTHERS}/up/sum")
            assert not thief.may_publish(AGGREGATOR_STATE)
            assert not thief.may_subscribe("$share/agg/pl/v1/d/+/up/sum")
            thief.close()
    assert guarded.heard() == []
    assert not guarded.worker.lost


def test_who_has_the_stations_authority_takes_no_session_of_the_clouds(guarded: Guarded) -> None:
    forged = _forged(guarded.plant, x509.Name([_named(_CN, "worker-1")]))
    thief = Client(guarded.plant, forged, "worker-1")
    assert thief.refused == ""
    thief.close()
    assert guarded.heard() == []
    assert not guarded.worker.lost
