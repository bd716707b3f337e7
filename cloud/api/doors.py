"""The server's two doors over TLS: one for people, and one for stations, which asks for a certificate before a byte is read."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from contract.errors import InvalidConfig

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

_STATION_PATH = re.compile(r"/v1/(?:orders|reports|fallback|samples|renew)/([^/]+)")


def server_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return the context of a server that speaks TLS 1.3.

    Raises:
        InvalidConfig: the certificate cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        hint = "make it with: plumbline-cloud provision init"
        raise InvalidConfig(f"[api] cert_file '{cert_file}' cannot be used: {error}", hint=hint) from error
    return context


def device_context(cert_file: Path, key_file: Path, client_ca_file: Path, crl_file: Path) -> ssl.SSLContext:
    """Return the context of a server that lets in only who has a certificate of `client_ca_file` which is not revoked.

    What is revoked while it runs is refused by its token, which ends with the certificate.

    Raises:
        InvalidConfig: a file cannot be used.
    """
    context = server_context(cert_file, key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(client_ca_file)
        if crl_file.is_file():
            context.load_verify_locations(crl_file)
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    except (OSError, ssl.SSLError) as error:
        raise InvalidConfig(f"[api] client_ca_file '{client_ca_file}' cannot be used: {error}") from error
    return context


def door(app: Any, context: ssl.SSLContext | None, *, for_devices: bool = False) -> uvicorn.Server:
    """Return a server for `app` behind `context`; `for_devices`: a station's paths are its own certificate's alone."""
    http = _CertifiedProtocol if for_devices else "auto"
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=5, http=http)
    config.load()
    config.ssl = context
    return uvicorn.Server(config)


class _CertifiedProtocol(H11Protocol):
    """A connection whose requests are held against the name in its client's certificate."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app = _only_own_paths(self.app, _common_name(transport.get_extra_info("peercert")))


def _only_own_paths(app: ASGI3Application, station: str) -> ASGI3Application:
    async def guarded(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http":
            found = _STATION_PATH.match(scope["path"])
            if found is not None and found[1] != station:
                await _refuse(send, f"this certificate is station '{station}'s")
                return
        await app(scope, receive, send)

    return guarded


async def _refuse(send: ASGISendCallable, why: str) -> None:
    body = json.dumps({"detail": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _common_name(certificate: dict[str, Any] | None) -> str:
    """Return the CN of what `ssl.SSLSocket.getpeercert` gives, "" for none."""
    names = (pair for part in (certificate or {}).get("subject", ()) for pair in part)
    return next((str(value) for key, value in names if key == "commonName"), "")
