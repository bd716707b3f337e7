"""plumbline-cloud config: order, show and take back remote settings of stations, on the running server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cloud.commands.output import Subparsers, plain, print_json, print_table
from cloud.commands.server_api import ask_server
from cloud.settings import load_settings
from contract.errors import InvalidConfig

_EXAMPLE = """examples:
  plumbline-cloud config set line3-cam1 --file overlay.toml --reason 'shorter windows' --config plant/cloud.toml
  plumbline-cloud config show line3-cam1 --config plant/cloud.toml
  plumbline-cloud config clear line3-cam1 --config plant/cloud.toml

A station lays the file over its agent.toml, starts anew with it, watches itself for the probation, and goes back by itself
when it is not well. It refuses keys that decide who is trusted, where images go or what the line looks at."""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "config",
        help="order, show or take back settings of stations",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    give = actions.add_parser("set", help="order settings to lie over agent.toml, in place of those ordered before")
    give.add_argument("--file", type=Path, required=True, help="the settings, in the form of agent.toml")
    give.set_defaults(run=_set)
    clear = actions.add_parser("clear", help="take every remote setting back")
    clear.set_defaults(run=_clear)
    show = actions.add_parser("show", help="show what was ordered and what the station reports")
    show.add_argument("station", metavar="STATION", help="a station that was added")
    show.set_defaults(run=_show)
    for action in (give, clear):
        action.add_argument("stations", metavar="STATION", nargs="+", help="stations that were added")
        action.add_argument("--reason", default="", help="why, for the audit log")
        action.add_argument(
            "--probation-s", type=float, default=60.0, help="seconds each must be well with them (default %(default)g)"
        )
    for action in (give, clear, show):
        action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
        action.add_argument("--json", action="store_true", help="print JSON")


def _set(args: argparse.Namespace) -> int:
    try:
        settings = args.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"'{args.file}' cannot be read: {error}") from error
    if not settings.strip():
        hint = "plumbline-cloud config clear takes settings back"
        raise InvalidConfig(f"'{args.file}' is empty", hint=hint)
    return _order(args, settings)


def _clear(args: argparse.Namespace) -> int:
    return _order(args, "")


def _order(args: argparse.Namespace, settings: str) -> int:
    body = {
        "stations": args.stations,
        "settings": settings,
        "reason": args.reason,
        "probation_s": args.probation_s,
    }
    ordered: list[dict[str, Any]] = ask_server(load_settings(args.config), "POST", "/v1/configurations", body)
    if args.json:
        print_json(ordered)
        return 0
    print_table(
        ("station", "deployment", "config_seq"), [(o["station"], o["deployment"], o["config_seq"]) for o in ordered]
    )
    print(
        "sent; whether a station takes and keeps them is told by: plumbline-cloud config show STATION", file=sys.stderr
    )
    return 0


def _show(args: argparse.Namespace) -> int:
    path = f"/v1/configurations/{quote(args.station, safe='')}"
    found: dict[str, Any] = ask_server(load_settings(args.config), "GET", path)
    if args.json:
        print_json(found)
        return 0
    ordered, reported = found["ordered"], found["reported"]
    if ordered is None:
        print("ordered: nothing yet")
    else:
        sent = "sent" if ordered["published"] else "not sent yet"
        print(f"ordered: config_seq {ordered['config_seq']}, deployment {ordered['deployment']}, {sent}")
        print(ordered["settings"].rstrip() or "(agent.toml alone)")
    state = reported["state"] or "nothing said yet"
    print(f"reported: {state} of config_seq {reported['config_seq']}, deployment {reported['deployment'] or '-'}")
    print(f"in force: {reported['configuration'][:12] or 'agent.toml alone'}")
    if reported["reason"]:
        print(f"reason: {plain(reported['reason'])}")
    return 0
