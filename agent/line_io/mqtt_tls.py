"""Whom the station believes at the line's own broker, and who it says it is."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from contract.errors import InvalidConfig


@dataclass(frozen=True, slots=True)
class LineCertificates:
    """`ca`: the broker's authority, and nobody else's; None: no TLS. `cert` and `key`: the station's own, where it shows one."""

    ca: Path | None
    cert: Path | None
    key: Path | None

    def context(self) -> ssl.SSLContext | None:
        """Return them as they lie there now, None for no TLS.

        Raises:
            InvalidConfig: one cannot be used, or is of no use.
        """
        if self.ca is None:
            if self.cert is not None:
                raise InvalidConfig(
                    "plc.cert_file is shown over TLS only", hint="set plc.ca_file, the broker's authority"
                )
            return None
        # The line's broker is not ours: many speak no more than TLS 1.2.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except OSError as error:
            files = f"'{self.ca}'" if self.cert is None else f"'{self.ca}' or '{self.cert}'"
            raise InvalidConfig(f"{files} cannot be used: {error}", hint="see [plc] in agent.toml") from error
        return context
