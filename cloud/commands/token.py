"""plumbline-cloud token: let people in and out, on the running server."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from cloud.commands.output import Subparsers, print_json, print_table
from cloud.commands.server_api import ask_server
from cloud.settings import load_settings

_ROLES = ("viewer", "inspector", "engineer", "releaser", "admin")

_EXAMPLES = """examples:
  plumbline-cloud token add eva --role engineer --days 90 --config plant/cloud.toml
  plumbline-cloud token list --config plant/cloud.toml
  plumbline-cloud token revoke 3 --config plant/cloud.toml
  plumbline-cloud token sessions --end 3331066d2366cecc --config plant/cloud.toml

roles: viewer looks on; inspector labels parts; engineer also tunes and stops; releaser starts and approves rollouts; admin all.
The token is printed once: hand it over, and sign in with it on the dashboard, or give it to commands in a file named by
PLUMBLINE_TOKEN_FILE, so that the audit log names who acted. The files secrets/operator.token (admin) and
secrets/inspector.token need no command: write another token into one, and the old one opens nothing from then on.

All of it asks the server, which must run. exit codes: 0 done, 1 error or refused, 2 wrong usage"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "token",
        help="make, list and revoke people's access tokens, and end their sessions",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a token for a person, and print it once")
    add.add_argument("person", metavar="NAME", help="the person, as the audit log is to call them")
    add.add_argument("--role", required=True, choices=_ROLES, help="what they are in the plant")
    add.add_argument("--days", type=float, help="how long it is good (default: until it is revoked)")
    add.set_defaults(run=_add)
    listing = actions.add_parser("list", help="list tokens, without the secrets")
    listing.set_defaults(run=_list)
    revoke = actions.add_parser("revoke", help="end a token, and what was begun with it, at once")
    revoke.add_argument("token", metavar="ID", type=int, help="its number in the list")
    revoke.set_defaults(run=_revoke)
    sessions = actions.add_parser("sessions", help="list who is signed in with a browser, or sign somebody out")
    sessions.add_argument("--end", metavar="ID", help="the session to end")
    sessions.set_defaults(run=_sessions)
    for action in (add, listing, revoke, sessions):
        action.epilog, action.formatter_class = _EXAMPLES, argparse.RawDescriptionHelpFormatter
        action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
        action.add_argument("--json", action="store_true", help="print JSON")


def _add(args: argparse.Namespace) -> int:
    body = {"person": args.person, "role": args.role, "days": args.days}
    made = ask_server(load_settings(args.config), "POST", "/v1/tokens", body)
    if args.json:
        print_json(made)
        return 0
    until = f", good until {_when(made['expires_at'])}" if made["expires_at"] else ""
    print(f"token {made['id']} of {made['person']} ({made['role']}){until}; it is shown this once:\n{made['token']}")
    return 0


def _list(args: argparse.Namespace) -> int:
    tokens = ask_server(load_settings(args.config), "GET", "/v1/tokens")
    if args.json:
        print_json(tokens)
        return 0
    rows = [
        (t["id"], t["person"], t["role"], t["made_by"], _state(t), _when(t["used_at"]) if t["used_at"] else "never")
        for t in tokens
    ]
    print_table(("id", "person", "role", "made by", "state", "used"), rows)
    return 0


def _revoke(args: argparse.Namespace) -> int:
    ask_server(load_settings(args.config), "DELETE", f"/v1/tokens/{args.token}")
    print_json({"revoked": args.token}) if args.json else print(f"token {args.token} opens nothing any more")
    return 0


def _sessions(args: argparse.Namespace) -> int:
    settings = load_settings(args.config)
    if args.end is not None:
        ask_server(settings, "DELETE", f"/v1/sessions/{args.end}")
        print_json({"ended": args.end}) if args.json else print(f"session {args.end} is over")
        return 0
    sessions = ask_server(settings, "GET", "/v1/sessions")
    if args.json:
        print_json(sessions)
        return 0
    rows = [
        (s["id"], s["person"], s["role"], s["origin"], _when(s["began_at"]), _when(s["expires_at"])) for s in sessions
    ]
    print_table(("id", "person", "role", "by", "since", "until"), rows)
    return 0


def _state(token: dict[str, Any]) -> str:
    if token["revoked_at"]:
        return f"revoked {_when(token['revoked_at'])}"
    return f"until {_when(token['expires_at'])}" if token["expires_at"] else "good"


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
