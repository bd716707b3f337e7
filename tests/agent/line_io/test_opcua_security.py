"""OPC UA with certificates: strangers, the expired and the unencrypted get no session; those in the folder do."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from agent.line_io.desk import Desk
from agent.line_io.opcua import OpcUaLine
from agent.line_io.opcua_security import LineUsers, trust_store
from contract.errors import InvalidConfig
from tests.agent.line_io.line_certs import Pair, make_pair
from tests.agent.line_io.line_rig import Line
from tests.agent.line_io.opcua_rig import Controller, line_on, until
from tests.agent.line_io.test_opcua_line import listens
from tests.fakes.agent_line import ListLog
from tests.fixtures_broker import free_port

PLC = "urn:plant:plc"
REFUSED = (ConnectionError, OSError, asyncio.TimeoutError, ua.UaError)


class Secured:
    """A line with certificates; `known` is in the folder of the trusted, `signed` by an authority that is."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.own = make_pair(folder, "station", uri="urn:plant:press-3")
        self.known = make_pair(folder, "known", uri=PLC)
        self.authority = make_pair(folder, "authority", authority=True)
        self.signed = make_pair(folder, "signed", issuer=self.authority, uri=PLC)
        self.revoked = make_pair(folder, "revoked", issuer=self.authority, uri=PLC)
        trusted = folder / "trusted"
        (trusted / "crl").mkdir(parents=True)
        for each in (self.known, self.authority):
            shutil.copy(each.cert, trusted)
        _revoke(self.authority, self.revoked, trusted / "crl" / "authority.pem")
        more = {"trusted": trusted, "cert_file": self.own.cert, "key_file": self.own.key}
        self.line: Line = line_on(self.port, more=more).start()
        asyncio.run(until(lambda: listens(self.port)))

    def controller(self, pair: Pair, uri: str = PLC) -> Controller:
        return Controller(self.port, secure=(pair, self.own.cert, uri))


def _revoke(authority: Pair, gone: Pair, path: Path) -> None:
    start = authority.certificate.not_valid_before_utc
    revoked = x509.RevokedCertificateBuilder().serial_number(gone.certificate.serial_number).revocation_date(start)
    listed = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(start)
        .next_update(authority.certificate.not_valid_after_utc)
        .add_revoked_certificate(revoked.build())
        .sign(authority.private, hashes.SHA256())
    )
    path.write_bytes(listed.public_bytes(serialization.Encoding.PEM))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = Secured(tmp_path_factory.mktemp("secured"))
    yield made
    made.line.stop()


@pytest.mark.parametrize("who", ["known", "signed"])
def test_a_known_client_gets_its_verdict_over_an_encrypted_channel(secured: Secured, who: str) -> None:
    async def go() -> None:
        async with secured.controller(getattr(secured, who)) as plc:
            await plc.until_state("Ready")
            job, error = await plc.start("part-1")
            assert error == 0
            assert (await plc.event("ResultReadyEventType", job=job))["ResultContent"][0].Value == "PASS"

    asyncio.run(go())


@pytest.mark.parametrize("who", ["stranger", "expired", "revoked", "another's name", "of no authority"])
def test_who_is_not_known_gets_no_session(secured: Secured, tmp_path: Path, who: str) -> None:
    pair, uri = make_pair(tmp_path, "stranger", uri=PLC), PLC
    if who == "expired":
        pair = make_pair(tmp_path, "expired", issuer=secured.authority, uri=PLC, days=-1)
    elif who == "revoked":
        pair = secured.revoked
    elif who == "another's name":
        pair, uri = secured.known, "urn:plant:somebody-else"
    elif who == "of no authority":
        pair = make_pair(tmp_path, "plant", issuer=make_pair(tmp_path, "other", authority=True), uri=PLC)

    async def go() -> None:
        with pytest.raises(REFUSED):
            async with secured.controller(pair, uri):
                pass

    asyncio.run(go())


def test_a_stranger_who_names_no_certificate_in_its_session_is_refused_too(
    secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncua checks what a client names, and one that names nothing passes there."""

    async def go() -> None:
        plc = secured.controller(make_pair(tmp_path, "stranger", uri=PLC))
        client = plc.client
        create = client.uaclient.create_session

        async def nameless(parameters: Any) -> Any:
            parameters.ClientCertificate = None
            return await create(parameters)

        monkeypatch.setattr(client.uaclient, "create_session", nameless)
        client.application_uri = PLC
        await client.set_security(
            SecurityPolicyBasic256Sha256,
            str(tmp_path / "stranger.pem"),
            str(tmp_path / "stranger-key.pem"),
            server_certificate=str(secured.own.cert),
        )
        with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
            await client.connect()

    asyncio.run(go())


def test_nobody_speaks_in_the_clear_to_a_line_with_certificates(secured: Secured) -> None:
    async def go() -> None:
        client = Client(f"opc.tcp://127.0.0.1:{secured.port}/plumbline/", timeout=4)
        with pytest.raises(REFUSED):
            await client.connect()

    asyncio.run(go())


def test_nobody_is_an_administrator() -> None:
    port = free_port()
    line = line_on(port).start()

    async def go() -> None:
        await until(lambda: listens(port))
        client = Client(f"opc.tcp://127.0.0.1:{port}/plumbline/", timeout=4)
        client.set_user("admin")
        client.set_password("x")
        with pytest.raises(REFUSED):
            await client.connect()
        async with Controller(port) as plc:
            with pytest.raises(REFUSED):
                await (await plc.node()).add_object(ua.NodeId("mine", 1), ua.QualifiedName("mine", 1))

    try:
        asyncio.run(go())
    finally:
        line.stop()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"cert_file": "own.pem", "key_file": "own-key.pem"}, "known clients"),
        ({"trusted": "trusted"}, "no use without"),
        ({"cert_file": "own.pem", "key_file": "own-key.pem", "trusted": "empty"}, "no certificate in"),
        ({"cert_file": "missing.pem", "key_file": "own-key.pem", "trusted": "trusted"}, r"missing\.pem"),
        ({"cert_file": "rotten.pem", "key_file": "own-key.pem", "trusted": "trusted"}, r"rotten\.pem"),
        ({"cert_file": "own.pem", "key_file": "other-key.pem", "trusted": "trusted"}, "not the key of"),
        ({"cert_file": "nameless.pem", "key_file": "nameless-key.pem", "trusted": "trusted"}, "application URI"),
        ({"cert_file": "own.pem", "key_file": "own-key.pem", "trusted": "rotten"}, "cannot be used"),
    ],
)
def test_certificates_that_cannot_be_used_are_said(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, uri in (("own", "urn:a"), ("other", "urn:b"), ("nameless", "")):
        make_pair(tmp_path, name, uri=uri)
    for folder in ("trusted", "empty", "rotten"):
        (tmp_path / folder).mkdir()
    shutil.copy(tmp_path / "other.pem", tmp_path / "trusted")
    for rotten in (tmp_path / "rotten.pem", tmp_path / "rotten" / "one.pem"):
        rotten.write_text("no certificate")
    more: dict[str, Any] = {key: tmp_path / name for key, name in files.items()}
    line = OpcUaLine(Desk.__new__(Desk), ListLog(), station="s", host="127.0.0.1", port=free_port(), **more)
    with pytest.raises(InvalidConfig, match=said):
        line.start()
    line.stop()


def test_whether_a_certificate_has_expired_is_asked_of_the_stations_clock(tmp_path: Path) -> None:
    (tmp_path / "trusted").mkdir()
    known = make_pair(tmp_path, "known", uri=PLC)
    shutil.copy(known.cert, tmp_path / "trusted")
    trusted = asyncio.run(trust_store(tmp_path / "trusted"))
    der = known.certificate.public_bytes(serialization.Encoding.DER)
    during = known.certificate.not_valid_before_utc.timestamp() + 60.0
    after = known.certificate.not_valid_after_utc.timestamp() + 60.0
    assert LineUsers(trusted, lambda: during).get_user(None, certificate=der) is not None
    assert LineUsers(trusted, lambda: after).get_user(None, certificate=der) is None
