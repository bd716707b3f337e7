"""Where a request came from, as far as its headers tell: this machine itself, one of our own pages, or somebody else's."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

# Whoever passes requests on says so in one of these, or should.
_PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def host_name(host: str) -> str:
    """Return the name in a Host header without its port, in small letters; "" where it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback_name(name: str) -> bool:
    """Return whether only this machine answers to a host's name."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def looks_local(headers: Mapping[str, str]) -> bool:
    """Return whether a request that came over loopback is this machine's own.

    Behind a reverse proxy on the same machine everybody comes over loopback, so whatever was passed on is not local. Neither is
    what asks for another name: a page of somebody else's whose name was made to lead here (DNS rebinding).
    """
    if any(name in headers for name in _PASSED_ON):
        return False
    return is_loopback_name(host_name(headers.get("host", "")))


def is_own_page(headers: Mapping[str, str], scheme: str) -> bool:
    """Return whether a request comes from a page of this server, or from no page at all (a command, a typed address).

    Browsers say it in Sec-Fetch-Site where the connection is secure or local, and in Origin by every POST and websocket.
    `scheme` is the request's own.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        asked, own = urlsplit(origin), urlsplit(f"{scheme}://{headers.get('host', '')}")
        return bool(asked.hostname) and _origin(asked.scheme, asked.hostname, asked.port) == _origin(
            scheme, own.hostname, own.port
        )
    except ValueError:
        return False


def _origin(scheme: str, host: str | None, port: int | None) -> tuple[bool, str, int | None]:
    return scheme in ("https", "wss"), (host or "").rstrip("."), port or _DEFAULT_PORTS.get(scheme)
