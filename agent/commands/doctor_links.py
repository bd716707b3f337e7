"""What `plumbline-agent doctor` asks over the network: broker, cloud, and the station's own API."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from urllib.parse import urlsplit

from agent.commands import doctor_tls as tls
from agent.commands.doctor_checks import Finding, Level
from agent.settings import Settings

_WITHIN_S = 4.0
_NOT_REACHED = "is it running, and may this machine reach it? summaries wait in the outbox until then"
# CONNECT of "MQTT" version 127, clean start, client id "doctor" (MQTT Version 5.0, 3.1.2.2).
_UNKNOWN_VERSION = b"\x10\x12\x00\x04MQTT\x7f\x02\x00\x0a\x00\x06doctor"
_NOT_REACHED_TLS = ("it was not reached", _NOT_REACHED)
_REVOKED = "it may not take this station's certificate: plumbline-cloud provision status says whether it is revoked"
_OBJECTS_WITHIN_S = 0.7
_REASONS = {0x84: "it does not speak MQTT 5", 0x86: "bad user name or password", 0x87: "not authorised"}


def broker(settings: Settings, now: float) -> Finding:
    """Ask whether the broker would take this station; the station's own session is not touched."""
    host, port = settings.broker.host, settings.broker.port
    if not host:
        return Finding("broker", Level.OK, "no uplink is configured")
    if settings.broker.ca_file:
        return _broker_over_tls(settings, now)
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), _WITHIN_S) as connection:
            # Another client id than the station's: the same one would throw the running station off its connection.
            connection.sendall(connect_packet(f"doctor-{settings.station}-{os.getpid()}"))
            answer = connection.recv(64)
            if len(answer) >= 4 and answer[0] == 0x20 and answer[3] == 0:
                connection.sendall(b"\xe0\x00")
    except OSError as error:
        if isinstance(error, ConnectionResetError) and tls.speaks_tls(host, port):
            return _wants_tls(where)
        return Finding("broker", Level.FAIL, f"{where} was not reached: {error.strerror or error}", _NOT_REACHED)
    if len(answer) < 4 or answer[0] != 0x20:
        if tls.speaks_tls(host, port):
            return _wants_tls(where)
        return Finding("broker", Level.FAIL, f"{where} answers, but not as an MQTT broker", "correct [broker] port")
    if answer[3]:
        reason = _REASONS.get(answer[3], f"reason 0x{answer[3]:02x}")
        return Finding("broker", Level.FAIL, f"{where} refuses the connection: {reason}", "check this station's access")
    return Finding("broker", Level.OK, f"{where} accepts an MQTT 5 connection")


def _wants_tls(where: str) -> Finding:
    todo = "set [broker] ca_file, cert_file and key_file: plumbline-cloud provision token STATION"
    return Finding("broker", Level.FAIL, f"{where} speaks TLS, and this station does not", todo)


def _broker_over_tls(settings: Settings, now: float) -> Finding:
    host, port = settings.broker.host, settings.broker.port
    where = f"{host}:{port}"
    context = tls.context(settings, settings.broker)
    broken = _NOT_REACHED_TLS
    try:
        with socket.create_connection((host, port), _WITHIN_S) as plain:
            broken = "it ended the connection in the middle of the TLS handshake", "is this its TLS port?"
            with context.wrap_socket(plain, server_hostname=host) as connection:
                broken = "it ended the connection after the handshake", _REVOKED
                answer, ends = _asked(connection), tls.server_end(connection)
    except OSError as error:
        lost = isinstance(error, (ConnectionError, ssl.SSLEOFError)) and broken is not _NOT_REACHED_TLS
        words = broken if lost else tls.why(error, host, port, now)
        if words is not None:
            return Finding("broker", Level.FAIL, f"{where}: {words[0]}", words[1])
        return Finding("broker", Level.FAIL, f"{where} was not reached: {error.strerror or error}", _NOT_REACHED)
    if not answer:
        return Finding("broker", Level.FAIL, f"{where}: it ended the connection after the handshake", _REVOKED)
    if answer[0] != 0x20:
        return Finding("broker", Level.FAIL, f"{where} answers, but not as an MQTT broker", "correct [broker] port")
    shown = "this station's certificate" if settings.broker.cert_file else "a TLS connection"
    found = f"{where} takes {shown}; its own ends {tls.day(ends)}"
    if tls.ends_soon(ends, now):
        return Finding("broker", Level.WARNING, found, "plumbline-cloud provision renew, then restart the broker")
    return Finding("broker", Level.OK, found)


def _asked(connection: ssl.SSLSocket) -> bytes:
    """Return what a broker says to a stranger's question.

    A broker of the plant takes the certificate's name for the client id, whatever id is sent: a connection would end the running
    station's. So an MQTT version is asked for that there is none of. A broker refuses that by name, and only after it has taken
    the certificate, of which in TLS 1.3 the handshake alone does not tell.
    """
    # What it has against the certificate it says first, and what is sent before it is read can cost that word.
    connection.settimeout(_OBJECTS_WITHIN_S)
    with contextlib.suppress(TimeoutError):
        return connection.recv(64)
    connection.settimeout(_WITHIN_S)
    connection.sendall(_UNKNOWN_VERSION)
    return connection.recv(64)


def connect_packet(client_id: str) -> bytes:
    """Return an MQTT 5 CONNECT: clean start, no Will, 10 s keep-alive, session ends with the connection.

    Source: MQTT Version 5.0, 3.1.
    """
    name = client_id.encode()
    body = b"\x00\x04MQTT\x05\x02\x00\x0a\x00" + len(name).to_bytes(2, "big") + name
    if len(body) > 127:
        raise ValueError("a longer id would need a longer length field")
    return bytes((0x10, len(body))) + body


def cloud(settings: Settings, now: float) -> Finding:
    """Ask the cloud for what an update would ask first."""
    url = settings.cloud.url.rstrip("/")
    if not url:
        return Finding("cloud", Level.OK, "none is configured: no updates, second opinions or uploads")
    import httpx

    headers = {}
    if settings.cloud.token_file:
        try:
            token = settings.path(settings.cloud.token_file).read_text(errors="replace").strip()
        except OSError as error:
            return Finding("cloud", Level.FAIL, f"cloud.token_file: {error.strerror or error}", "provision it")
        headers["Authorization"] = f"Bearer {token}"
    trust = tls.context(settings, settings.cloud) if settings.cloud.ca_file else True
    try:
        answer = httpx.get(f"{url}/v1/tuf/metadata/timestamp.json", headers=headers, timeout=_WITHIN_S, verify=trust)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        at = urlsplit(url)
        words = tls.why(error, at.hostname or "", at.port or 443, now)
        if words is not None:
            return Finding("cloud", Level.FAIL, f"{url}: {words[0]}", words[1])
        if isinstance(error, httpx.RemoteProtocolError) and settings.cloud.cert_file:
            found = f"{url} ended the connection"
            return Finding("cloud", Level.FAIL, found, _REVOKED)
        todo = "is it running, and may this machine reach it? the line goes on without"
        return Finding("cloud", Level.FAIL, f"{url} was not reached: {error or type(error).__name__}", todo)
    if answer.status_code in (401, 403):
        todo = "check cloud.token_file; if the station was revoked, enrol it again"
        return Finding("cloud", Level.FAIL, f"{url} refuses this station ({answer.status_code})", todo)
    if answer.status_code != 200:
        found = f"{url} answers {answer.status_code} for its update metadata"
        return Finding("cloud", Level.WARNING, found, "is that a Plumbline aggregator?")
    return Finding("cloud", Level.OK, f"{url} answers")


def api(settings: Settings, *, running: bool) -> Finding:
    """Ask the running station's own API how it is, or see whether its port is free."""
    from agent.api_wiring import DEFAULT_PORT

    named = settings.api.port
    if named == 0:
        return Finding("api", Level.OK, "the local API is switched off")
    port = DEFAULT_PORT if isinstance(named, str) else named
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.api.host, settings.api.host)
    import httpx

    headers = {}
    if settings.api.token_file:
        try:
            headers["Authorization"] = f"Bearer {settings.path(settings.api.token_file).read_text().strip()}"
        except (OSError, UnicodeDecodeError) as error:
            return Finding("api", Level.FAIL, f"api.token_file: {error}", "provision it")
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/healthz"
    try:
        answer = httpx.get(url, headers=headers, timeout=_WITHIN_S)
        body = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL):
        if running:
            return Finding("api", Level.WARNING, f"the station runs, {url} does not answer", "see its journal")
        return Finding("api", Level.OK, f"port {port} is free for it")
    except ValueError:
        body = {}
    station = body.get("station") if isinstance(body, dict) else None
    if station != settings.station:
        who = f"station {station}" if station else "another program"
        level = Level.WARNING if named == "auto" else Level.FAIL
        return Finding("api", level, f"port {port} is held by {who}", "set [api] port to a free one, or 0 for none")
    if answer.status_code != 200:
        return Finding("api", Level.FAIL, f"the station is not well: {str(body.get('reason', ''))[:200]}")
    return Finding("api", Level.OK, f"{url} says the station is well")
