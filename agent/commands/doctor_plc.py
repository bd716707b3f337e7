"""What `plumbline-agent doctor` sees of the line's controller: its library, its port, and who else may reach that."""

from __future__ import annotations

import errno
import ipaddress
import socket
from importlib.util import find_spec
from pathlib import Path

from agent.commands.doctor_checks import Finding, Level
from agent.settings import Settings

_WITHIN_S = 4.0
_FIRST_FREE_PORT = 1024
_LIBRARY = {"modbus": "pymodbus", "opcua": "asyncua"}
_PORTS = {"modbus": 502, "opcua": 4840}
_PLAIN, _TLS = 1883, 8883
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def controller(settings: Settings, *, running: bool) -> Finding:
    """Look at whether [plc] can be served as it stands."""
    keys = settings.plc
    if not keys.kind:
        return Finding("plc", Level.OK, "no controller of the line is configured")
    library = _LIBRARY.get(keys.kind)
    if library is not None and find_spec(library) is None:
        todo = "pip install 'plumbline-edge[plc]' into the station's environment"
        return Finding("plc", Level.FAIL, f"{keys.kind} needs {library}, which is not installed", todo)
    if library is None:
        return _broker(keys.host, keys.port or (_TLS if keys.ca_file else _PLAIN))
    port = keys.port or _PORTS[keys.kind]
    where = f"{keys.kind} on {keys.host}:{port}"
    if not running:
        wrong = why_not_bound(keys.host, port)
        if wrong is not None:
            return Finding("plc", Level.FAIL, f"{where}: {wrong[0]}", wrong[1])
    elif not _answers(keys.host, port):
        return Finding("plc", Level.FAIL, f"{where}: the station runs and nobody listens there", "see its journal")
    protected = keys.kind == "opcua" and keys.cert_file
    if not protected and not _is_loopback(keys.host):
        todo = "keep that network to the controller: a firewall, a VLAN, or an interface of its own"
        return Finding(
            "plc", Level.WARNING, f"{where}: whoever reaches it may trigger parts; it has no passwords", todo
        )
    return Finding("plc", Level.OK, f"{where} {'answers' if running else 'is free for it'}")


def why_not_bound(host: str, port: int) -> tuple[str, str] | None:
    """Return why nobody could listen there, and what to do; None if somebody could."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.create_server((str(address[0]), port), family=family):
            return None
    except socket.gaierror as error:
        return f"'{host}' is no address: {error.strerror}", "set [plc] host to an address of this machine"
    except PermissionError:
        todo = "`install-agent install` once more lets the service have it (not this shell); or set [plc] port to e.g. 1502"
        return f"a port below {_least_port()} needs CAP_NET_BIND_SERVICE", todo
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program holds the port", f"ss -ltnp 'sport = :{port}' says which"
        return str(error.strerror or error), "set [plc] host to an address of this machine"


def _least_port() -> int:
    try:
        return int(_UNPRIVILEGED.read_text())
    except (OSError, ValueError):
        return _FIRST_FREE_PORT


def _broker(host: str, port: int) -> Finding:
    try:
        socket.create_connection((host, port), _WITHIN_S).close()
    except OSError as error:
        todo = "is the line's broker running, and may this machine reach it?"
        return Finding("plc", Level.FAIL, f"mqtt: {host}:{port} was not reached: {error.strerror or error}", todo)
    return Finding("plc", Level.OK, f"mqtt: {host}:{port} is reached")


def _answers(host: str, port: int) -> bool:
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        socket.create_connection((reached, port), _WITHIN_S).close()
    except OSError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
