"""Two who change one station's certificates at the same moment, on a PostgreSQL that lets both begin."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud.store import certificates as module
from cloud.store.certificates import CertificateRow, Certificates, StationCredentials
from cloud.store.database import Database
from contract.errors import RefusedError

NOW = 1_000_000.0


@pytest.fixture
def both(postgres_url: str) -> Iterator[tuple[Certificates, Certificates]]:
    databases = Database(postgres_url), Database(postgres_url)
    yield Certificates(databases[0]), Certificates(databases[1])
    for each in databases:
        each.close()


def _row(serial: str) -> CertificateRow:
    return CertificateRow(serial, "station", "line1", "ca", f"key{serial}", NOW, NOW + 900.0, NOW)


def test_one_token_enrols_one_of_two_devices_that_show_it_at_once(
    both: tuple[Certificates, Certificates], monkeypatch: pytest.MonkeyPatch
) -> None:
    both[0].add_token("line1", "token", "", now=NOW, expires_at=NOW + 60.0)
    looked, look = threading.Barrier(2), module._station_of

    def look_together(*args: object) -> str:
        station = look(*args)  # type: ignore[arg-type]
        looked.wait(60.0)
        return station

    monkeypatch.setattr(module, "_station_of", look_together)

    def enrol(number: int) -> str:
        try:
            both[number].enrol("token", StationCredentials(_row(str(number)), f"t{number}"), now=NOW)
        except RefusedError as error:
            return error.message
        return "enrolled"

    with ThreadPoolExecutor(2) as threads:
        said = sorted(threads.map(enrol, range(2)))
    assert said == ["enrolled", "this enrolment token was used"]
    assert len(both[0].all()) == 1


def test_a_renewal_in_the_middle_of_a_revocation_gives_no_certificate(
    both: tuple[Certificates, Certificates], monkeypatch: pytest.MonkeyPatch
) -> None:
    both[0].provision(StationCredentials(_row("1"), "t"), "", now=NOW)
    revoking, go_on, audit = threading.Event(), threading.Event(), module.write_audit

    def stop_before_the_end(connection: object, at: float, actor: str, act: str, detail: str) -> None:
        if act == "revoke station":
            revoking.set()
            assert go_on.wait(60.0)
        audit(connection, at, actor, act, detail)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_audit", stop_before_the_end)
    with ThreadPoolExecutor(2) as threads:
        revoked = threads.submit(both[0].revoke, "line1", "stolen", now=NOW)
        assert revoking.wait(60.0)
        renewed = threads.submit(both[1].renew, _row("2"), now=NOW)
        time.sleep(0.2)  # so that it waits; it is refused whether or not
        go_on.set()
        assert [row.serial for row in revoked.result()] == ["1"]
        with pytest.raises(RefusedError, match="no certificate to renew"):
            renewed.result()
    assert both[0].stations(NOW) == []


def test_a_station_that_renews_without_end_is_refused_at_last(both: tuple[Certificates, Certificates]) -> None:
    both[0].provision(StationCredentials(_row("1"), "t"), "", now=NOW)
    for number in range(2, 21):
        both[0].renew(_row(str(number)), now=NOW)
    with pytest.raises(RefusedError, match="20 certificates"):
        both[0].renew(_row("21"), now=NOW)
