"""A plant whose broker an older version configured, before and after `provision update-broker`: no station enrols anew."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.uplink.mqtt import MqttLink
from agent.uplink.tls import StationTls
from cloud.provision.dynsec import ADMIN_USER
from cloud.provision.stations_door import Naming
from contract.messages import StationState
from contract.topics import Channel, shared_filter
from tests.secure_plant import PATIENCE_S, Client, SecurePlant, wait_for

_NEW, _OLD = b"use_subject_as_username true\n", b"use_identity_as_username true\n"


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[SecurePlant]:
    """Give a plant as a version before December 2026 left it, with station "a"."""
    made = SecurePlant(tmp_path)
    conf = made.provision.broker / "mosquitto.conf"
    conf.write_bytes(conf.read_bytes().replace(_NEW, _OLD))
    made.command("provision", "a", "--out", made.folder / "a")
    yield made
    made.stop_broker()


def _users(plant: SecurePlant) -> set[str]:
    document = json.loads((plant.provision.broker / "dynamic-security.json").read_bytes())
    return {client["username"] for client in document["clients"]} - {"cloud:ingest", "cloud:admin"}


def _admin(plant: SecurePlant) -> bool:
    """Return whether who has ca.key is the cloud."""
    thief = Client(plant, plant.identity(ADMIN_USER, plant.provision.authority()), ADMIN_USER)
    assert thief.refused == ""
    is_admin = thief.may_publish("$CONTROL/dynamic-security/v1", b'{"commands": [{"command": "listClients"}]}')
    thief.close()
    return is_admin


def _speaks(plant: SecurePlant, name: str) -> bool:
    client = Client(plant, plant.folder / name / "identity.pem", name)
    says = client.may_publish(f"pl/v1/d/{name}/up/sum") and client.may_subscribe(f"pl/v1/d/{name}/dn/#")
    client.close()
    return says


def _is_refused(plant: SecurePlant, name: str) -> bool:
    client = Client(plant, plant.folder / name / "identity.pem", name)
    if not client.refused:
        client.close()
    return bool(client.refused)


def _link(plant: SecurePlant) -> MqttLink:
    def birth(online: bool) -> StationState:
        return StationState("a", "boot", online, time.time(), "1", simulated=True)

    folder = plant.folder / "a"
    tls = StationTls(folder / "ca.pem", folder / "identity.pem", folder / "identity.pem")
    return MqttLink("127.0.0.1", plant.station_port, "a", birth, SystemClock(), tls=tls.context)


def test_nothing_changes_before_somebody_says_so(plant: SecurePlant, capfd: pytest.CaptureFixture[str]) -> None:
    assert plant.provision.namings() == (Naming.COMMON_NAME,)
    assert _users(plant) == {"a"}
    plant.start_broker()
    plant.command("provision", "b", "--out", plant.folder / "b")
    plant.command("provision", "sync")
    assert _speaks(plant, "a") and _speaks(plant, "b")
    plant.command("provision", "revoke", "b", "--reason", "stolen")
    wait_for(lambda: _is_refused(plant, "b"), "b is refused")
    plant.command("provision", "sync")
    assert _users(plant) == {"a"}
    capfd.readouterr()
    plant.command("provision", "status")
    assert "provision update-broker" in capfd.readouterr().err


def test_a_station_comes_back_with_what_it_has_and_who_has_the_authority_is_the_cloud_no_more(
    plant: SecurePlant,
) -> None:
    plant.start_broker()
    identity = (plant.folder / "a" / "identity.pem").read_bytes()
    link = _link(plant)
    link.connect(PATIENCE_S)
    worker = Client(plant, plant.provision.path / "cloud.pem", "worker-1", cloud=True)
    assert worker.may_publish("pl/v1/d/a/dn/des", b"the order", retain=True)
    wait_for(lambda: bool(link.poll(0.05)), "the order comes")
    assert _admin(plant)  # what is to be mended
    before = (plant.provision.broker / "mosquitto.conf").read_bytes()
    plant.command("provision", "update-broker", code=1)  # the broker would write its roles over the new ones
    assert (plant.provision.broker / "mosquitto.conf").read_bytes() == before
    worker.close()
    plant.stop_broker()
    plant.command("provision", "update-broker")
    assert (plant.provision.namings(), _users(plant)) == ((Naming.SUBJECT,), {"CN=a"})
    plant.start_broker()
    assert not _admin(plant)
    link.close(0.0)
    worker = Client(plant, plant.provision.path / "cloud.pem", "worker-1", cloud=True)
    assert worker.may_subscribe(shared_filter(Channel.SUMMARY))
    link.connect(PATIENCE_S)
    assert (plant.folder / "a" / "identity.pem").read_bytes() == identity
    # A session of its own under the new name: what is retained comes again, and what it says arrives.
    heard = []
    wait_for(lambda: bool(heard.extend(link.poll(0.05)) or heard), "the order comes again")
    assert [(each.channel, each.payload) for each in heard] == [(Channel.DESIRED, b"the order")]
    link.close(PATIENCE_S)
    assert _speaks(plant, "a")
    wait_for(lambda: ("pl/v1/d/a/up/sum", b"x") in worker.arrived, "what it says arrives")
    worker.close()
    plant.command("provision", "update-broker")  # done before: nothing to do
    plant.command("provision", "c", "--out", plant.folder / "c")
    assert _speaks(plant, "c")
    plant.command("provision", "revoke", "a", "--reason", "stolen")
    wait_for(lambda: _is_refused(plant, "a"), "a is refused")


def test_an_update_that_was_killed_between_its_two_files_is_ended_by_whoever_comes_next(plant: SecurePlant) -> None:
    conf = plant.provision.broker / "mosquitto.conf"
    conf.write_bytes(conf.read_bytes().replace(_OLD + b"use_username", _NEW + b"use_username"))
    assert _users(plant) == {"a"}
    plant.command("provision", "update-broker")
    assert _users(plant) == {"CN=a"}


def test_a_broker_that_has_only_the_new_configuration_is_told_the_new_names(plant: SecurePlant) -> None:
    conf = plant.provision.broker / "mosquitto.conf"
    conf.write_bytes(conf.read_bytes().replace(_OLD + b"use_username", _NEW + b"use_username"))
    plant.start_broker()
    assert not _speaks(plant, "a")
    plant.command("provision", "sync")  # the server does it every ten minutes
    assert _speaks(plant, "a") and not _admin(plant)
    assert _users(plant) == {"CN=a", "a"}  # the old name opens nothing any more
    plant.command("provision", "revoke", "a", "--reason", "stolen")
    wait_for(lambda: _users(plant) == set(), "both names are gone")


def test_who_goes_back_to_the_old_line_finds_the_old_names(plant: SecurePlant) -> None:
    plant.command("provision", "update-broker")
    conf = plant.provision.broker / "mosquitto.conf"
    conf.write_bytes(conf.read_bytes().replace(_NEW, _OLD))
    plant.start_broker()
    plant.command("provision", "sync")
    assert _speaks(plant, "a")


def test_a_configuration_that_is_not_ours_is_left_alone(plant: SecurePlant, capfd: pytest.CaptureFixture[str]) -> None:
    conf = plant.provision.broker / "mosquitto.conf"
    conf.write_text("listener 1883\n")
    plant.command("provision", "update-broker", code=1)
    assert conf.read_text() == "listener 1883\n"
    assert "use_subject_as_username true" in capfd.readouterr().err
    assert plant.provision.namings() == tuple(Naming)
    plant.command("provision", "b", "--out", plant.folder / "b")
    assert _users(plant) == {"CN=a", "a", "CN=b", "b"}  # whichever its broker's own configuration says
