"""Who may open a session: only clients whose certificate is in the folder of the trusted ones, or signed by one that is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from cryptography import x509

from contract.errors import InvalidConfig


class LineUsers:
    """asyncua's UserManager: every session is a plain user's. Nobody changes the address space from outside.

    asyncua's own check looks at the certificate that a client names when it makes its session, and passes over a client that
    names none; this one looks at the certificate that the encrypted channel was made with.
    """

    def __init__(self, trusted: TrustStore | None, now: Callable[[], float]) -> None:
        """`now` returns Unix seconds."""
        self._trusted = trusted
        self._now = now

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        """Return the session's user, None for a stranger."""
        if self._trusted is None:
            return User(role=UserRole.User)
        if not isinstance(certificate, bytes):
            return None
        shown = x509.load_der_x509_certificate(certificate)
        in_time = shown.not_valid_before_utc.timestamp() <= self._now() <= shown.not_valid_after_utc.timestamp()
        return User(role=UserRole.User) if in_time and self._trusted.validate(shown) else None


async def trust_store(folder: Path) -> TrustStore:
    """Return the certificates (.pem, .der) in `folder`, and the revoked ones of `folder`/crl.

    Raises:
        InvalidConfig: there is none, or one is no certificate.
    """
    if not any(each.suffix.lower() in (".pem", ".der") for each in folder.glob("*")):
        raise InvalidConfig(f"no certificate in '{folder}'", hint="put the clients' certificates there (.pem or .der)")
    store = TrustStore([folder], [folder / "crl"])
    try:
        await store.load()
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"a certificate in '{folder}' cannot be used: {error}", hint="PEM or DER files") from error
    return store


async def secure(server: Server, cert_file: Path, key_file: Path, trusted: TrustStore) -> str:
    """Have `server` take encrypted and signed sessions of trusted clients only; return its application URI.

    Raises:
        InvalidConfig: the certificate or its key cannot be used.
    """
    try:
        # asyncua goes by the files' names otherwise.
        await server.load_certificate(cert_file.read_bytes(), _format(cert_file))
        await server.load_private_key(key_file.read_bytes(), format=_format(key_file))
        names = server.iserver.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris: list[str] = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise InvalidConfig(
            f"'{cert_file}' or its key cannot be used: {error}", hint="see [plc] in agent.toml"
        ) from error
    if not uris:
        raise InvalidConfig(
            f"'{cert_file}' names no application URI", hint="OPC UA wants one among its subject's names"
        )
    if server.iserver.private_key.public_key() != server.iserver.certificate.public_key():
        raise InvalidConfig(f"'{key_file}' is not the key of '{cert_file}'")
    server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    options = CertificateValidatorOptions.TRUSTED_VALIDATION | CertificateValidatorOptions.PEER_CLIENT
    server.set_certificate_validator(CertificateValidator(options, trusted))
    return uris[0]


def _format(path: Path) -> str:
    return "pem" if b"-----BEGIN" in path.read_bytes() else "der"
