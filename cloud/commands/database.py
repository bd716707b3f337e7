"""plumbline-cloud database: what is in the database, and which version its tables are of."""

from __future__ import annotations

import argparse
from pathlib import Path

from cloud.commands.output import Subparsers, print_json, print_table
from cloud.settings import load_settings
from cloud.store.database_view import view_database

_EXAMPLES = """examples:
  plumbline-cloud database status --config plant/cloud.toml
  plumbline-cloud database upgrade --config plant/cloud.toml

`serve` and `ingest` upgrade by themselves when they start. Run `upgrade` before where that takes long: the summaries are
copied once, and need their room twice until it is over. Make a backup first: an older program cannot use a newer database."""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "database",
        help="show the database's version, size and rows, or upgrade it",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, what in (("status", "show it and change nothing"), ("upgrade", "bring its tables to this version's")):
        action = actions.add_parser(
            name,
            help=what,
            epilog=f"example: plumbline-cloud database {name} --config plant/cloud.toml",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
        action.add_argument("--json", action="store_true", help="print JSON")
        action.set_defaults(run=run, upgrade=name == "upgrade")


def run(args: argparse.Namespace) -> int:
    """Show the database, upgraded first where that was asked for."""
    from cloud.store_wiring import open_database

    database = open_database(load_settings(args.config), upgrade=args.upgrade)
    try:
        view = view_database(database)
    finally:
        database.close()
    if args.json:
        print_json(view)
        return 0
    head = [
        ("engine", view["engine"]),
        ("version", f"{view['version'] or 'none yet'} (this program: {view['newest']})"),
    ]
    print_table(("database", view["url"]), [*head, ("size", f"{view['bytes'] / 2**20:.1f} MiB")])
    if view["version"] != view["newest"]:
        newer = (view["version"] or "") > view["newest"]
        todo = "a newer plumbline-cloud made it: update this one, or restore a backup"
        print(f"\n{todo if newer else 'upgrade it with: plumbline-cloud database upgrade'}")
    if view["rows"]:
        print()
        print_table(("table", "rows"), sorted(view["rows"].items()))
    if view["partitions"]:
        print()
        print_table(("partition of summaries", "rows"), sorted(view["partitions"].items()))
    return 0
