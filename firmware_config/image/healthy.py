"""`python -m firmware_config.image.healthy`: whether the station in this container is well, for docker's HEALTHCHECK.

It asks /healthz of the station's own local API, which answers 503 when no frame gets through. Where there is no such API, only
whether the station runs can be told.
"""

from __future__ import annotations

import argparse
import json
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

_TIMEOUT_S = 5.0
_MOST_BYTES = 4096
_EPILOG = """\
exit codes: 0 well, 1 not

example: python -m firmware_config.image.healthy --config /etc/plumbline/agent.toml
"""


def why_unwell(config: Path) -> str:
    """Return what is wrong with the station of this agent.toml; "" when nothing is."""
    from agent.api_wiring import DEFAULT_PORT
    from agent.health.home_lock import is_locked
    from agent.settings import load_settings
    from contract.errors import PlumblineError

    try:
        settings = load_settings(config)
    except (PlumblineError, OSError) as error:
        return str(error)
    if not is_locked(settings.home_folder):
        return "the station does not run"
    api = settings.api
    if api.port == 0:
        return ""
    try:
        token = settings.path(api.token_file).read_text("ascii").strip() if api.token_file else ""
    except (OSError, ValueError) as error:
        return f"api.token_file cannot be read: {error}"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(api.host, f"[{api.host}]" if ":" in api.host else api.host)
    port = DEFAULT_PORT if api.port == "auto" else api.port
    request = Request(f"http://{host}:{port}/healthz", headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        # Never through a proxy that the environment names: it is this machine that is asked.
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as response:
            return _judged(response.read(_MOST_BYTES), settings.station, api.port)
    except HTTPError as error:
        return _judged(error.read(_MOST_BYTES), settings.station, api.port)
    except (OSError, HTTPException) as error:
        return f"its local API does not answer: {error}"


def _judged(body: bytes, station: str, port: int | str) -> str:
    try:
        said = json.loads(body)
        if said["station"] == station:
            return "" if said["ok"] else str(said["reason"])
    except (ValueError, LookupError, TypeError):
        said = {}
    # "auto" gives way to a program that has the port, another station say, and does without a local API.
    return "" if port == "auto" else f"port {port} is not its local API: {body[:200].decode(errors='replace').strip()}"


def main(arguments: list[str] | None = None) -> int:
    """Say what is wrong and return 1, or say nothing and return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m firmware_config.image.healthy",
        description="Tell whether the station on this machine is well.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("agent.toml"), help="agent.toml (default %(default)s)")
    args = parser.parse_args(arguments)
    if wrong := why_unwell(args.config):
        print(f"error: {wrong}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
