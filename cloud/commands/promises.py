"""plumbline-cloud promises: what the fleet promises, and what is left of each error budget."""

from __future__ import annotations

import argparse
from pathlib import Path

from cloud.commands.output import Subparsers, print_json, print_table
from cloud.commands.server_api import ask_server
from cloud.settings import load_settings


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "promises",
        help="what the fleet promises, and what is left of each error budget",
        epilog="example: plumbline-cloud promises --config plant/cloud.toml\n\n"
        "exit codes: 0 releases need not wait, 1 error, 3 a budget is spent and holds them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the promises."""
    answer = ask_server(load_settings(args.config), "GET", "/v1/promises")
    if args.json:
        print_json(answer)
    else:
        rows = [
            (b["promise"], f"{b['spent']:.0%}", f"{b['burn'][0]:.1f} / {b['burn'][1]:.1f}", b["words"])
            for b in answer["budgets"]
        ]
        print_table(("promise", "budget spent", "burn 1 h / 6 h", "in words"), rows)
        if answer["why_held"]:
            print(f"releases wait: {answer['why_held']}")
    return 3 if answer["why_held"] else 0
