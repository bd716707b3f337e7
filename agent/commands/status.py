"""`plumbline-agent status`: how a station stands, read from its files; it may be running or not."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from agent.settings import Settings

_EXAMPLE = """\
example:
  plumbline-agent status --config agent.toml
  plumbline-agent status --config agent.toml --json | jq .outbox
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="show how a station stands",
        description="Show a station's bundle, totals, outbox, last acknowledgement and enrolment.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("agent.toml"), help="agent.toml (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the status."""
    from agent.settings import load_settings

    status = read(load_settings(args.config))
    if args.json:
        print(msgspec.json.encode(status).decode())
        return 0
    for name, value in status.items():
        print(f"{name.replace('_', ' '):<16} {_in_words(name, value)}")
    return 0


def read(settings: Settings) -> dict[str, Any]:
    """Return the status as plain values.

    Raises:
        NotFound: the station never ran.
    """
    from agent.station_status import station_status

    return station_status(
        settings.home_folder, settings.station, settings.source.kind, refuses=settings.line.unfamiliar > 0
    )


def _in_words(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "acked_at":
        return datetime.fromtimestamp(float(str(value)), timezone.utc).isoformat(" ", "seconds") if value else "never"
    if name == "enrolled_frames":
        return f"{value}" if value else "enrolling"
    if name == "cameras" and isinstance(value, dict):
        return "; ".join(f"{camera or '(first)'} {_camera_in_words(each)}" for camera, each in value.items())
    if isinstance(value, dict):
        return ", ".join(f"{key} {n}" for key, n in value.items()) or "-"
    return str(value) if value not in ("", None) else "-"


def _camera_in_words(camera: dict[str, int]) -> str:
    frames = camera["enrolled_frames"]
    return f"{camera['windows']} windows, " + (f"enrolled on {frames} frames" if frames else "enrolling")
