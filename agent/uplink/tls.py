"""How the station proves itself to broker and cloud, and they to it."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from contract.errors import InvalidConfig

_log = logging.getLogger(__name__)


class StationTls:
    """One context for every connection that is made from now on; `reload` gives it a renewed certificate.

    Connections that stand keep what they were made with. Thread-safe: OpenSSL swaps a context's certificate whole.
    """

    def __init__(self, ca_file: Path, cert_file: Path | None, key_file: Path | None, *, strict: bool = False) -> None:
        """Read the files. Without `cert_file` the station checks the other side and shows no certificate of its own.

        A file that is missing or rotten is said, and nobody is reached until `reload` finds it whole: a station judges without
        its cloud, and would not if it ended here. It never speaks in the clear instead.

        Raises:
            InvalidConfig: `strict`, and one is missing, or is no such thing; the message names it.
        """
        self._ca_file, self._cert_file, self._key_file = ca_file, cert_file, key_file
        try:
            self.context = trusting(ca_file.read_text() if ca_file.is_file() else "", str(ca_file))
            self.reload()
        except (InvalidConfig, OSError, ValueError) as error:
            said = error if isinstance(error, InvalidConfig) else InvalidConfig(f"'{ca_file}' cannot be read: {error}")
            if strict:
                raise said from error
            _log.error("no broker and no cloud is reached: %s", said.one_line())
            # It trusts nobody, so every connection fails before a byte of ours is sent.
            self.context = _trusting_nobody()

    def reload(self) -> None:
        """Read the files anew.

        Raises:
            InvalidConfig: as above; the certificate that was there goes on.
        """
        try:
            if self._cert_file is not None:
                self.context.load_cert_chain(self._cert_file, self._key_file)
            # New authorities are added; one that the plant gave up counts until the station restarts.
            self.context.load_verify_locations(self._ca_file)
        except (OSError, ssl.SSLError) as error:
            hint = "make it with: plumbline-agent enrol, or plumbline-cloud provision STATION"
            raise InvalidConfig(
                f"the certificate in '{self._cert_file or self._ca_file}' cannot be used: {error}", hint=hint
            ) from error


def trusting(ca_pem: str, name: str) -> ssl.SSLContext:
    """Return a context that trusts these authorities (PEM) alone, and speaks TLS 1.3.

    Raises:
        InvalidConfig: there are none in it; the message says `name`.
    """
    context = _trusting_nobody()
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ValueError, ssl.SSLError) as error:
        raise InvalidConfig(f"no certificate authority in '{name}'", hint="it comes with enrolment") from error
    return context


def _trusting_nobody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
