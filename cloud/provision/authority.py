"""A certificate authority of the plant, and the certificates it signs (X.509, ECDSA on P-256)."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contract.errors import InvalidConfig

# Clocks of devices are seldom right to the second; a certificate counts from a little before it was made.
_BACKDATE_S = 300.0
_MAX_CSR_CHARS = 8_192


class Purpose(str, Enum):
    """What a certificate is good for."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key, both PEM. One file holds both, so that one rename replaces both."""

    certificate: bytes
    key: bytes

    def pem(self) -> bytes:
        """Return both, the key last."""
        return self.certificate + self.key


@dataclass(frozen=True, slots=True)
class Issued:
    """A signed certificate and what is kept of it. Times are Unix seconds; `serial` and the digests are hexadecimal."""

    pem: bytes
    serial: str
    issuer: str
    key_sha256: str
    not_before: float
    not_after: float


class Authority:
    """A CA that signs. `fingerprint` is the SHA-256 of its certificate (DER), which devices pin."""

    def __init__(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Load it.

        Raises:
            InvalidConfig: the two are no CA of ours, or do not belong together.
        """
        try:
            self.certificate = x509.load_pem_x509_certificate(certificate_pem)
            key = load_pem_private_key(key_pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            raise InvalidConfig(f"the certificate authority cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or _spki(key.public_key()) != _spki(
            self.certificate.public_key()
        ):
            raise InvalidConfig("the certificate authority's key does not belong to its certificate")
        self.key = key
        self.pem = certificate_pem
        self.fingerprint = self.certificate.fingerprint(hashes.SHA256()).hex()

    def sign_server(self, names: Sequence[str], public_key: bytes, *, now: float, days: float) -> Issued:
        """Return a certificate for a server reached under `names` (DNS names or IP addresses; the first is its CN)."""
        san = x509.SubjectAlternativeName([_general_name(name) for name in names])
        return self._sign(names[0], public_key, Purpose.SERVER, now, days, san)

    def sign_client(self, name: str, public_key: bytes, *, now: float, days: float) -> Issued:
        """Return a certificate whose CN is `name`. `public_key` is a DER SubjectPublicKeyInfo."""
        return self._sign(name, public_key, Purpose.CLIENT, now, days, None)

    def _sign(
        self,
        name: str,
        public_key: bytes,
        purpose: Purpose,
        now: float,
        days: float,
        san: x509.SubjectAlternativeName | None,
    ) -> Issued:
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        key = load_der_public_key(public_key)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        begin = datetime.fromtimestamp(now - _BACKDATE_S, timezone.utc).replace(microsecond=0)
        # No certificate outlives who signed it: it would end one day without anybody having been warned.
        end = min(begin + timedelta(days=days), self.certificate.not_valid_after_utc)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if purpose is Purpose.SERVER else ExtendedKeyUsageOID.CLIENT_AUTH
        serial = x509.random_serial_number()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if san is not None:
            builder = builder.add_extension(san, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return Issued(
            pem=certificate.public_bytes(Encoding.PEM),
            serial=f"{serial:x}",
            issuer=self.fingerprint,
            key_sha256=key_digest(public_key),
            not_before=begin.timestamp(),
            not_after=end.timestamp(),
        )


def make_authority(name: str, *, now: float, days: float) -> tuple[Authority, bytes]:
    """Return a new CA and its private key (PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.fromtimestamp(now - _BACKDATE_S, timezone.utc).replace(microsecond=0)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = _private_pem(key)
    return Authority(certificate.public_bytes(Encoding.PEM), key_pem), key_pem


def make_key() -> tuple[bytes, bytes]:
    """Return a new private key (PEM) and its public key (DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _private_pem(key), _spki(key.public_key())


def read_request(text: str) -> bytes:
    """Return the public key (DER) of a certificate request in PEM. Nothing else of it counts: names come from the token.

    Raises:
        InvalidConfig: it is none, its signature is wrong, or the key is not on P-256.
    """
    if len(text) > _MAX_CSR_CHARS:
        raise InvalidConfig(f"a certificate request of {len(text)} characters is too long")
    try:
        request = x509.load_pem_x509_csr(text.encode())
        key = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion) as error:
        raise InvalidConfig("this is no certificate request (PEM, PKCS #10)") from error
    if not valid:
        raise InvalidConfig("the certificate request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidConfig("the certificate request's key is not on the curve P-256", hint="use prime256v1")
    return _spki(key)


def key_digest(public_key: bytes) -> str:
    """Return the SHA-256 of a public key (DER), hexadecimal."""
    return hashlib.sha256(public_key).hexdigest()


def fingerprint(pem: bytes) -> str:
    """Return the SHA-256 of a certificate's DER form, hexadecimal."""
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _spki(key: object) -> bytes:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
