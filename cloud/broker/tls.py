"""How the cloud proves itself to the broker, and the broker to it."""

from __future__ import annotations

import ssl
from pathlib import Path

from contract.errors import InvalidConfig


def client_context(ca_file: Path, cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return a context that trusts `ca_file` alone, shows this certificate, and speaks TLS 1.3.

    Raises:
        InvalidConfig: a file is missing or no such thing.
    """
    context = trusting(ca_file)
    try:
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        hint = "make it with: plumbline-cloud provision init"
        raise InvalidConfig(f"the certificate in {cert_file} cannot be used: {error}", hint=hint) from error
    return context


def trusting(ca_file: Path) -> ssl.SSLContext:
    """Return a context that trusts `ca_file` alone and shows no certificate.

    Raises:
        InvalidConfig: it cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        hint = "make it with: plumbline-cloud provision init"
        raise InvalidConfig(f"the certificate authorities in {ca_file} cannot be used: {error}", hint=hint) from error
    return context
