"""Messages of enrolment: how a station comes by its certificate (JSON over HTTPS).

GET  /v1/ca                the certificates that the plant trusts; the device checks their fingerprint before it trusts them
POST /v1/enrol             EnrolRequest -> Enrolled; once for each token
POST /v1/renew/{station}   RenewRequest -> Renewed; by the station's token and, on the device port, its certificate
"""

from __future__ import annotations

import msgspec

from contract.errors import BadMessage

MAX_ENROL_BYTES = 256 * 1024
RENEW_AT_SHARE = 2 / 3
"""The share of a certificate's life after which a station asks for the next one."""

_FILE_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-./")
_MAX_FILES = 32


class EnrolRequest(msgspec.Struct, frozen=True):
    """A device's one-time token, and a request for a certificate (PKCS #10, PEM) signed by a key that it made itself."""

    token: str
    csr: str


class RenewRequest(msgspec.Struct, frozen=True):
    """A request for the next certificate, by a new key."""

    csr: str


class Renewed(msgspec.Struct, frozen=True):
    """A certificate (PEM), the authorities to trust from now on (PEM, one or two), and its life (Unix seconds)."""

    certificate: str
    ca: str
    not_before: float
    not_after: float


class Enrolled(msgspec.Struct, frozen=True):
    """Everything a new station needs. `files` are agent.toml and the trust anchors, by their path in the station's folder."""

    station: str
    certificate: str
    ca: str
    not_before: float
    not_after: float
    station_token: str
    files: dict[str, str]


class CertificateNote(msgspec.Struct, frozen=True):
    """What a station keeps beside its certificate, so that it need not parse it: its life (Unix seconds)."""

    not_before: float
    not_after: float

    def renew_at(self) -> float:
        """Return when the next certificate is asked for."""
        return self.not_before + RENEW_AT_SHARE * (self.not_after - self.not_before)


def check_files(files: dict[str, str]) -> dict[str, str]:
    """Return `files` when each is a plain relative path below the folder that they are written to.

    Raises:
        BadMessage: one is not, or there are too many.
    """
    if len(files) > _MAX_FILES:
        raise BadMessage(f"{len(files)} files are too many for a station")
    for name in files:
        parts = name.split("/")
        if not name or not _FILE_CHARS.issuperset(name) or not all(p.strip(".") for p in parts):
            raise BadMessage(f"'{name[:80]}' is no file of a station's folder")
    return files
