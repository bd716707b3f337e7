"""plumbline-cloud rollout: start, list, watch and abort rollouts on the running server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from cloud.clock import SystemClock
from cloud.commands.output import Subparsers, print_json, print_table
from cloud.commands.server_api import ask_server
from cloud.settings import load_settings
from contract.errors import NotFound

_EXAMPLE = """examples:
  plumbline-cloud rollout start --version v2 --config plant/cloud.toml --wait
  plumbline-cloud rollout list --config plant/cloud.toml
  plumbline-cloud rollout abort 3 --reason 'wrong lamp' --config plant/cloud.toml

exit codes: 0 done, 1 error, 3 the rollout that was waited for stopped itself"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "rollout",
        help="start, list or abort a rollout",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    start = actions.add_parser("start", help="roll a released version out: canary first, then in waves")
    start.add_argument("--version", required=True, help="a released version")
    start.add_argument("--wait", action="store_true", help="wait until it is done or stopped")
    start.set_defaults(run=_start)
    listing = actions.add_parser("list", help="list rollouts and their stations")
    listing.set_defaults(run=_list)
    abort = actions.add_parser("abort", help="stop a rollout and bring its stations back")
    abort.add_argument("rollout", type=int, help="the rollout's number")
    abort.add_argument("--reason", required=True, help="why, for the audit log")
    abort.set_defaults(run=_abort)
    for action in (start, listing, abort):
        action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
        action.add_argument("--json", action="store_true", help="print JSON")


def _start(args: argparse.Namespace) -> int:
    settings = load_settings(args.config)
    rollout = ask_server(settings, "POST", "/v1/rollouts", {"version": args.version})["rollout"]
    if not args.wait:
        print_json({"rollout": rollout}) if args.json else print(f"rollout {rollout} of {args.version} has started")
        return 0
    last = ""
    while True:
        found = _find(ask_server(settings, "GET", "/v1/rollouts"), rollout)
        if found["state"] in ("DONE", "ABORTED"):
            break
        now = ", ".join(f"{m['station']} {m['state'].lower()}" for m in found["stations"])
        if now != last:
            print(f"rollout {rollout}, wave {found['wave']}: {now}", file=sys.stderr, flush=True)
            last = now
        SystemClock().sleep(1.0)
    print_json(found) if args.json else print(f"rollout {rollout}: {found['state']} ({found['reason']})")
    return 0 if found["state"] == "DONE" else 3


def _list(args: argparse.Namespace) -> int:
    rollouts = ask_server(load_settings(args.config), "GET", "/v1/rollouts")
    if args.json:
        print_json(rollouts)
        return 0
    rows = [
        (r["id"], r["version"], r["state"], m["station"], m["wave"], m["state"], m["reason"])
        for r in rollouts
        for m in r["stations"]
    ]
    print_table(("rollout", "version", "state", "station", "wave", "station state", "reason"), rows)
    return 0


def _abort(args: argparse.Namespace) -> int:
    settings = load_settings(args.config)
    answer = ask_server(settings, "POST", f"/v1/rollouts/{args.rollout}/abort", {"reason": args.reason})
    print_json(answer) if args.json else print(
        f"rollout {args.rollout} is being stopped; its stations are ordered back"
    )
    return 0


def _find(rollouts: list[dict[str, Any]], rollout: int) -> dict[str, Any]:
    for found in rollouts:
        if found["id"] == rollout:
            return found
    raise NotFound(f"rollout {rollout} is gone")
