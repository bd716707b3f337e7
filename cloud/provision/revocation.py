"""The list of certificates that count no more (X.509 CRL)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.provision.authority import Authority

# A broker refuses everybody once its list is out of date, so the list lasts as long as the CA: revoking makes a new one anyway.
_BACKDATE_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Revoked:
    """A certificate that ended early: its serial (hexadecimal), and when (Unix seconds)."""

    serial: str
    at: float


def make_list(authority: Authority, revoked: Sequence[Revoked], before: bytes | None, *, now: float) -> bytes:
    """Return the CRL (PEM) of `authority`'s certificates.

    Args:
        before: the list that this one replaces. OpenSSL keeps the older of two with the same date when a running broker reads
            its file anew, so each is dated at least a second after the one before it.
    """
    begin, number = datetime.fromtimestamp(now - _BACKDATE_S, timezone.utc).replace(microsecond=0), 1
    if before is not None:
        old = x509.load_pem_x509_crl(before)
        begin = max(begin, old.last_update_utc + timedelta(seconds=1))
        number = old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(begin)
        .next_update(max(authority.certificate.not_valid_after_utc, begin + timedelta(days=1)))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    for each in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(int(each.serial, 16))
            .revocation_date(datetime.fromtimestamp(each.at, timezone.utc).replace(microsecond=0))
            .build()
        )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)
