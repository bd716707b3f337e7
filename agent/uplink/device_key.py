"""The station's private key, made on the device and never sent: by the openssl command, or by `cryptography` where that is."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from contract.errors import InvalidConfig, TransientError

_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A private key and a certificate request that it signed, both PEM."""

    key: str
    request: str


def make_device_key(folder: Path) -> DeviceKey:
    """Return a new key on P-256. The openssl command leaves it in `folder` for a moment, readable by its owner alone.

    Raises:
        InvalidConfig: this device can make none.
        TransientError: openssl failed.
    """
    openssl = shutil.which("openssl")
    if openssl is not None:
        return _by_openssl(openssl, folder)
    try:
        return _by_cryptography()
    except ImportError as error:
        hint = "install openssl here, or let the cloud make it: plumbline-cloud provision STATION --out DIR"
        raise InvalidConfig("this device has no openssl to make a key with", hint=hint) from error


def _by_openssl(openssl: str, folder: Path) -> DeviceKey:
    # A private folder beside the key's future place: /tmp may be shared, or be on another disk.
    with tempfile.TemporaryDirectory(prefix=".enrol-", dir=folder) as private:
        key, request = Path(private) / "key.pem", Path(private) / "request.pem"
        making = [openssl, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        # The cloud takes the name from the token; this one only fills the field.
        files = ["-subj", "/CN=plumbline-station", "-keyout", str(key), "-out", str(request)]
        try:
            done = subprocess.run([*making, *files], capture_output=True, text=True, check=False, timeout=_WITHIN_S)
            if done.returncode:
                raise TransientError(f"openssl made no key: {done.stderr.strip()[-200:]}")
            return DeviceKey(key.read_text(), request.read_text())
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TransientError(f"openssl made no key: {error}") from error


def _by_cryptography() -> DeviceKey:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "plumbline-station")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return DeviceKey(pem.decode(), request.public_bytes(Encoding.PEM).decode())
