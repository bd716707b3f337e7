"""Certificates, as OpenSSL's own command judges them."""

from __future__ import annotations

import base64
import contextlib
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloud.provision.authority import Authority, fingerprint, make_authority, make_key, read_request
from cloud.provision.revocation import Revoked, make_list
from contract.errors import InvalidConfig

NOW, DAY = 1_800_000_000.0, 86_400.0


def _verify(tmp_path: Path, ca: Authority, pem: bytes, *options: str, at: float = NOW) -> str:
    """Return what `openssl verify` says, "OK" when it is content."""
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    (tmp_path / "it.pem").write_bytes(pem)
    command = [
        "openssl",
        "verify",
        "-CAfile",
        str(tmp_path / "ca.pem"),
        "-attime",
        str(int(at)),
        "-x509_strict",
        *options,
    ]
    done = subprocess.run([*command, str(tmp_path / "it.pem")], capture_output=True, text=True, check=False)
    return "OK" if done.returncode == 0 else done.stderr


def test_openssl_accepts_what_the_authority_signs_for_its_purpose_and_life(tmp_path: Path) -> None:
    ca, _ = make_authority("plant", now=NOW, days=3650)
    client = ca.sign_client("line1", make_key()[1], now=NOW, days=10)
    server = ca.sign_server(["broker.plant", "10.0.0.5", "::1"], make_key()[1], now=NOW, days=10)
    assert _verify(tmp_path, ca, client.pem, "-purpose", "sslclient") == "OK"
    assert _verify(tmp_path, ca, server.pem, "-purpose", "sslserver") == "OK"
    for name in ("-verify_hostname", "broker.plant"), ("-verify_ip", "10.0.0.5"), ("-verify_ip", "::1"):
        assert _verify(tmp_path, ca, server.pem, *name) == "OK"
    assert "purpose" in _verify(tmp_path, ca, client.pem, "-purpose", "sslserver")
    assert "purpose" in _verify(tmp_path, ca, server.pem, "-purpose", "sslclient")
    assert "mismatch" in _verify(tmp_path, ca, server.pem, "-verify_hostname", "elsewhere")
    assert "expired" in _verify(tmp_path, ca, client.pem, at=NOW + 11 * DAY)
    assert "not yet valid" in _verify(tmp_path, ca, client.pem, at=NOW - DAY)
    assert _verify(tmp_path, ca, client.pem, at=NOW - 200) == "OK"  # a device's clock is seldom right to the second


def test_no_certificate_outlives_its_authority() -> None:
    ca, _ = make_authority("plant", now=NOW, days=30)
    assert ca.sign_client("line1", make_key()[1], now=NOW + 20 * DAY, days=365).not_after < NOW + 31 * DAY


def test_a_station_cannot_sign_for_another(tmp_path: Path) -> None:
    ca, _ = make_authority("plant", now=NOW, days=30)
    key, public = make_key()
    own = ca.sign_client("line1", public, now=NOW, days=10)
    forged = Authority(own.pem, key).sign_client("line2", make_key()[1], now=NOW, days=5)
    (tmp_path / "between.pem").write_bytes(own.pem)
    assert "invalid CA" in _verify(tmp_path, ca, forged.pem, "-untrusted", str(tmp_path / "between.pem"))


def test_a_list_revokes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    ca, _ = make_authority("plant", now=NOW, days=3650)
    gone, stays = (ca.sign_client(name, make_key()[1], now=NOW, days=100) for name in ("gone", "stays"))
    (tmp_path / "crl.pem").write_bytes(make_list(ca, [Revoked(gone.serial, NOW)], None, now=NOW))
    checked = ("-crl_check", "-CRLfile", str(tmp_path / "crl.pem"))
    assert "revoked" in _verify(tmp_path, ca, gone.pem, *checked)
    assert _verify(tmp_path, ca, stays.pem, *checked) == "OK"
    # A list that is out of date would refuse everybody, on a day when nobody revoked anything.
    assert _verify(tmp_path, ca, stays.pem, *checked, at=NOW + 99 * DAY) == "OK"


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=8))
def test_each_list_is_dated_after_the_one_before(waits: list[float]) -> None:
    # OpenSSL keeps the older of two lists with one date when a running broker reads its file anew.
    ca, _ = make_authority("plant", now=NOW, days=10)
    before, now = make_list(ca, [], None, now=NOW), NOW
    for wait in waits:
        now += wait
        after = make_list(ca, [], before, now=now)
        old, new = x509.load_pem_x509_crl(before), x509.load_pem_x509_crl(after)
        assert new.last_update_utc > old.last_update_utc
        assert new.last_update_utc.timestamp() < now
        before = after


def _request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody else")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_of_a_request_only_its_key_counts(tmp_path: Path) -> None:
    ca, _ = make_authority("plant", now=NOW, days=30)
    issued = ca.sign_client("line1", read_request(_request(ec.generate_private_key(ec.SECP256R1()))), now=NOW, days=1)
    assert x509.load_pem_x509_certificate(issued.pem).subject.rfc4514_string() == "CN=line1"


def test_requests_by_other_keys_are_refused() -> None:
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 1024)):
        with pytest.raises(InvalidConfig, match="P-256"):
            read_request(_request(key))


@settings(max_examples=25)
@given(st.text(max_size=300))
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfig):
        read_request(text)


@example(7, 1)  # a version that there is none of: an exception of its own kind
@given(st.integers(0, 400), st.integers(1, 255))
def test_a_request_with_a_flipped_byte_is_refused_or_has_the_same_key(position: int, flip: int) -> None:
    der = bytearray(x509.load_pem_x509_csr(_GOOD.encode()).public_bytes(Encoding.DER))
    der[position % len(der)] ^= flip
    pem = (
        "-----BEGIN CERTIFICATE REQUEST-----\n"
        + base64.b64encode(der).decode()
        + "\n-----END CERTIFICATE REQUEST-----\n"
    )
    with contextlib.suppress(InvalidConfig):
        assert read_request(pem) == read_request(_GOOD)


_GOOD = _request(ec.generate_private_key(ec.SECP256R1()))


def test_an_authority_whose_key_is_another_is_refused() -> None:
    one, _ = make_authority("plant", now=NOW, days=30)
    _, key = make_authority("plant", now=NOW, days=30)
    with pytest.raises(InvalidConfig, match="belong"):
        Authority(one.pem, key)
    assert len(one.fingerprint) == 64
    assert one.fingerprint == fingerprint(one.pem)
