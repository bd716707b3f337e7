"""The desk, on a real database and folder: tokens, enrolment, renewal, revocation, and a change of authority."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509

from agent.uplink.device_key import make_device_key
from cloud.provision.authority import make_authority
from cloud.provision.broker_roles import BrokerRoles, Told
from cloud.provision.desk import Desk
from cloud.provision.folder import ProvisionFolder
from cloud.provision.mosquitto_conf import BrokerPlan, render
from cloud.store.audit import AuditLog
from cloud.store.certificates import Certificates
from cloud.store.database import Database
from cloud.store.stations import Stations
from contract.errors import LinkDown, RefusedError
from contract.provisioning import EnrolRequest, RenewRequest

DAY = 86_400.0


@dataclass
class Plant:
    folder: ProvisionFolder
    database: Database
    desk: Desk
    at: list[float] = field(default_factory=lambda: [time.time()])

    def csr(self) -> str:
        return make_device_key(self.folder.path).request

    def roles(self) -> set[str]:
        """Return the stations that the broker's file lets speak."""
        document = json.loads((self.folder.broker / "dynamic-security.json").read_bytes())
        users = {c["username"] for c in document["clients"]} - {"cloud:admin", "cloud:ingest"}
        assert all(user.startswith("CN=") for user in users)
        return {user.removeprefix("CN=") for user in users}

    def revoked(self) -> set[int]:
        pem = (self.folder.broker / "crl.pem").read_bytes()
        parts = pem.split(b"-----BEGIN X509 CRL-----")[1:]
        return {r.serial_number for p in parts for r in x509.load_pem_x509_crl(b"-----BEGIN X509 CRL-----" + p)}


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    folder, database, at = (
        ProvisionFolder(tmp_path / "provision"),
        Database(f"sqlite:///{tmp_path / 'c.db'}"),
        [time.time()],
    )
    for name in ("ca", "cloud-ca"):
        folder.write_authority(name, *make_authority(name, now=at[0], days=3650))
    folder.write_trust()
    conf = render(BrokerPlan(), folder.broker, Path("/lib/plugin.so"), as_root=False)
    folder.write("broker/mosquitto.conf", conf.encode())
    roles = BrokerRoles(folder, [_away])
    files = {"agent.toml": "station", "trust/root.json": "{}"}
    desk = Desk(
        folder, Certificates(database), roles, lambda _: files, days=90, now=lambda: at[0], reserved=frozenset({"plumbline-cloud"})
    )  # fmt: skip
    yield Plant(folder, database, desk, at)
    database.close()


def _away() -> object:
    raise LinkDown("no broker")


def _serial(pem: str) -> int:
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_a_token_enrols_one_device_once(plant: Plant) -> None:
    token = plant.desk.make_token("line1", "hall 2", valid_s=3600)
    answer = plant.desk.enrol(EnrolRequest(token, plant.csr()))
    assert (answer.station, answer.files["agent.toml"], plant.roles()) == ("line1", "station", {"line1"})
    assert Stations(plant.database).is_token("line1", answer.station_token)
    assert [s.site for s in Stations(plant.database).status()] == ["hall 2"]
    with pytest.raises(RefusedError, match="was used"):
        plant.desk.enrol(EnrolRequest(token, plant.csr()))
    assert plant.revoked() == set()


def test_only_a_hash_of_the_token_is_kept(plant: Plant, tmp_path: Path) -> None:
    token = plant.desk.make_token("line1", "", valid_s=3600)
    assert not [f for f in tmp_path.glob("c.db*") if token.encode() in f.read_bytes()]


def test_the_same_device_may_ask_again_when_the_answer_was_lost(plant: Plant) -> None:
    token, csr = plant.desk.make_token("line1", "", valid_s=3600), plant.csr()
    lost = plant.desk.enrol(EnrolRequest(token, csr))
    found = plant.desk.enrol(EnrolRequest(token, csr))
    assert not Stations(plant.database).is_token("line1", lost.station_token)
    assert Stations(plant.database).is_token("line1", found.station_token)
    assert plant.revoked() == {_serial(lost.certificate)}


def test_a_token_ends_in_time_and_a_made_up_one_never_began(plant: Plant) -> None:
    token = plant.desk.make_token("line1", "", valid_s=3600)
    plant.at[0] += 3601
    with pytest.raises(RefusedError, match="too old"):
        plant.desk.enrol(EnrolRequest(token, plant.csr()))
    with pytest.raises(RefusedError, match="nobody's"):
        plant.desk.enrol(EnrolRequest("made up", plant.csr()))
    assert Stations(plant.database).names() == []


def test_a_token_is_not_used_up_while_the_broker_cannot_be_told(plant: Plant) -> None:
    token = plant.desk.make_token("line1", "", valid_s=3600)
    plant.folder.broker_pid = lambda: 1  # type: ignore[method-assign]  # one runs here that would overwrite the file
    with pytest.raises(LinkDown):
        plant.desk.enrol(EnrolRequest(token, plant.csr()))
    assert Stations(plant.database).names() == []
    plant.folder.broker_pid = lambda: None  # type: ignore[method-assign]
    assert plant.desk.enrol(EnrolRequest(token, plant.csr())).station == "line1"


@pytest.mark.parametrize("name", ["plumbline-cloud", "plumbline-cloud-ingest-host-0"])
def test_the_clouds_own_names_at_the_broker_are_no_stations(plant: Plant, name: str) -> None:
    with pytest.raises(RefusedError, match="cloud's own name"):
        plant.desk.make_token(name, "", valid_s=3600)
    assert plant.desk.make_token("plumbline-cloudy", "", valid_s=3600)


def test_a_renewed_certificate_leaves_the_old_one_good_until_it_is_over(plant: Plant) -> None:
    first = plant.desk.provision("line1", "").answer
    plant.at[0] += 60 * DAY
    second = plant.desk.renew("line1", RenewRequest(plant.csr()))
    assert second.not_after > first.not_after + 59 * DAY
    assert plant.revoked() == set()
    with pytest.raises(RefusedError, match="no certificate to renew"):
        plant.desk.renew("line2", RenewRequest(plant.csr()))


def test_a_revoked_station_loses_everything_and_may_be_enrolled_anew(plant: Plant) -> None:
    first = plant.desk.provision("line1", "").answer
    renewed = plant.desk.renew("line1", RenewRequest(plant.csr()))
    waiting = plant.desk.make_token("line1", "", valid_s=3600)
    plant.desk.provision("line2", "")
    ended, told, _ = plant.desk.revoke("line1", "stolen")
    assert (ended, told, plant.roles()) == (2, Told.FILE, {"line2"})
    assert plant.revoked() == {_serial(first.certificate), _serial(renewed.certificate)}
    assert not Stations(plant.database).is_token("line1", first.station_token)
    assert not Stations(plant.database).is_token("line1", "")
    with pytest.raises(RefusedError, match="too old"):
        plant.desk.enrol(EnrolRequest(waiting, plant.csr()))
    with pytest.raises(RefusedError, match="no certificate to renew"):
        plant.desk.renew("line1", RenewRequest(plant.csr()))
    assert ("revoke station", "line1: stolen") in [(e.act, e.detail) for e in AuditLog(plant.database).entries()]
    again = plant.desk.enrol(EnrolRequest(plant.desk.make_token("line1", "", valid_s=60), plant.csr()))
    assert plant.roles() == {"line1", "line2"}
    assert _serial(again.certificate) not in plant.revoked()


def test_revoking_while_a_broker_cannot_be_told_ends_all_that_can_be_ended(plant: Plant) -> None:
    first = plant.desk.provision("line1", "").answer
    plant.folder.broker_pid = lambda: None  # type: ignore[method-assign]
    running: Callable[[], int | None] = lambda: 1 << 30  # noqa: E731
    plant.folder.broker_pid = running  # type: ignore[method-assign]
    plant.folder.reload_broker = lambda: False  # type: ignore[method-assign]
    with pytest.raises(LinkDown):
        plant.desk.revoke("line1", "stolen")
    assert plant.revoked() == {_serial(first.certificate)}
    assert not Stations(plant.database).is_token("line1", first.station_token)


def test_a_server_says_once_a_day_which_of_its_own_certificates_end_soon(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    plant.desk.issue_server("server", ("broker",), "broker/server.pem", "ca")

    def warned() -> int:
        caplog.clear()
        plant.desk.sync()
        return sum("server broker ends in" in record.getMessage() for record in caplog.records)

    assert warned() == 0
    plant.at[0] += 65 * DAY
    assert (warned(), warned()) == (1, 0)
    plant.at[0] += 1.1 * DAY
    assert warned() == 1
    plant.desk.issue_server("server", ("broker",), "broker/server.pem", "ca")
    plant.at[0] += 1.1 * DAY
    assert warned() == 0


def test_a_list_read_before_a_revocation_is_not_written_after_it(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    first = plant.desk.provision("line1", "").answer
    read, go_on, look = threading.Event(), threading.Event(), plant.folder.told_list

    def wait_then_look() -> str:
        if threading.current_thread().name == "slow":
            read.set()
            assert go_on.wait(60.0)
        return look()

    monkeypatch.setattr(plant.folder, "told_list", wait_then_look)
    slow = threading.Thread(target=plant.desk.sync_lists, name="slow")
    slow.start()
    assert read.wait(60.0)
    # A second desk shares no lock of threads with the first, as if it were another process.
    other = Desk(
        plant.folder, Certificates(plant.database), BrokerRoles(plant.folder, [_away]), lambda _: {}, days=90, now=time.time
    )  # fmt: skip
    revoking = threading.Thread(target=other.revoke, args=("line1", "stolen"), name="quick")
    revoking.start()
    revoking.join(0.3)
    assert revoking.is_alive()  # it waits for its turn
    go_on.set()
    slow.join()
    revoking.join()
    assert plant.revoked() == {_serial(first.certificate)}
