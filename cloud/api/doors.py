"""The server's two doors over TLS: one for people, and one for stations, which asks for a certificate before a byte is read."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from cloud.api.page_socket import MAX_MESSAGE_BYTES
from cloud.api.prompt_protocol import PromptProtocol
from cloud.api.revoked_serials import RevokedSerials
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

    What is revoked while it runs is refused request by request (`door`): OpenSSL reads its list once.

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


def door(
    app: Any, context: ssl.SSLContext | None, *, for_devices: bool = False, crl_file: Path | None = None
) -> uvicorn.Server:
    """Return a server for `app` behind `context`.

    Args:
        for_devices: a station's paths are its own certificate's alone.
        crl_file: whose certificate is listed there by now is refused, on connections that stand too.
    """
    http: Any = PromptProtocol
    if for_devices:
        revoked = RevokedSerials(crl_file) if crl_file is not None else None
        http = partial(_CertifiedProtocol, revoked=revoked)
    # uvicorn takes whatever makes a protocol, though it declares classes alone.
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
        http=http,
        ws_max_size=MAX_MESSAGE_BYTES,
    )
    config.load()
    config.ssl = context
    return uvicorn.Server(config)


class _CertifiedProtocol(PromptProtocol):
    """A connection whose requests are held against its client's certificate."""

    def __init__(self, *args: Any, revoked: RevokedSerials | None, **more: Any) -> None:
        super().__init__(*args, **more)
        self._revoked = revoked

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        certificate = transport.get_extra_info("peercert")
        serial = int((certificate or {}).get("serialNumber", "0"), 16)
        self.app = _only_own_paths(self.app, _common_name(certificate), serial, self._revoked)


def _only_own_paths(
    app: ASGI3Application, station: str, serial: int, revoked: RevokedSerials | None
) -> ASGI3Application:
    async def guarded(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http":
            if revoked is not None and revoked.has(serial):
                await _refuse(send, f"this certificate of station '{station}' was revoked")
                return
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
