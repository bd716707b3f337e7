"""plumbline-cloud audit: read the audit log, walk its hash chain, write it out."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from cloud.commands.output import Subparsers, print_json, print_table
from cloud.settings import load_settings
from cloud.store.audit import AuditLog
from cloud.store.audit_csv import audit_csv
from cloud.store.database import Database

_EXAMPLES = """examples:
  plumbline-cloud audit list --actor anna --text 'rollout 3' --config plant/cloud.toml
  plumbline-cloud audit verify --config plant/cloud.toml                 # prints the head: keep it elsewhere
  plumbline-cloud audit verify --head 9f2c61be... --config plant/cloud.toml   # and nothing was cut off since
  plumbline-cloud audit export --out audit.csv --config plant/cloud.toml

All three read the database itself: the server may run or not.

exit codes: 0 done and intact, 1 error, 2 wrong usage, 3 the chain is broken, or cut off behind the head given"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "audit",
        help="list, verify or export the audit log",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list acts, newest first")
    listing.add_argument("--limit", type=_count, default=50, help="how many at most (default %(default)s)")
    listing.add_argument("--before", type=_count, metavar="ID", help="only what is older than this entry")
    listing.set_defaults(run=_list)
    verify = actions.add_parser("verify", help="walk the hash chain; exit 3 where it is broken")
    verify.add_argument("--head", type=_hash, metavar="HASH", help="the head that an earlier verify printed")
    verify.set_defaults(run=_verify)
    export = actions.add_parser("export", help="write the log as CSV that is safe to open in a spreadsheet")
    export.add_argument("--out", type=Path, metavar="FILE", help="where to (default: the terminal)")
    export.set_defaults(run=_export)
    for action in (listing, export):
        action.add_argument(
            "--actor", default="", help="only what was done by whose name holds this: a person, a station, plumbline"
        )
        action.add_argument("--act", default="", help="only acts of this kind")
        action.add_argument("--text", default="", help="only where the detail holds this")
    for action in (listing, verify, export):
        action.epilog = _EXAMPLES
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    for action in (listing, verify):
        action.add_argument("--json", action="store_true", help="print JSON")


def _list(args: argparse.Namespace) -> int:
    with _log(args) as log:
        found = log.entries(args.limit, before=args.before, actor=args.actor, act=args.act, text=args.text)[::-1]
    if args.json:
        print_json({"entries": [asdict(each) for each in found]})
        return 0
    rows = [(e.id, _time(e.at), e.actor, e.act, " ".join(e.detail.split())) for e in found]
    print_table(("entry", "at", "who", "act", "detail"), rows)
    return 0


def _verify(args: argparse.Namespace) -> int:
    with _log(args) as log:
        found = log.check(args.head or "")
    if args.json:
        shown = {**asdict(found), "intact": found.intact, "cut_off": found.cut_off, "sentence": found.in_words()}
        print_json(shown)
    else:
        print(found.in_words())
        if found.intact and found.witness:
            print(f"the head you kept is entry {found.witness_id}: nothing up to it is gone")
        if found.intact and found.entries:
            print(f"head: {found.head}\nKeep it where this machine's owner cannot change it; verify --head shows later")
            print("whether entries were cut off at the end, which the chain alone cannot tell.")
    return 0 if found.intact else 3


def _export(args: argparse.Namespace) -> int:
    with _log(args) as log:
        pages = audit_csv(log, actor=args.actor, act=args.act, text=args.text)
        if args.out is None:
            sys.stdout.writelines(pages)
            return 0
        with args.out.open("w", encoding="utf-8", newline="") as file:
            file.writelines(pages)
    print(f"written: {args.out}", file=sys.stderr)
    return 0


@contextmanager
def _log(args: argparse.Namespace) -> Iterator[AuditLog]:
    database = Database(load_settings(args.config).database_url(), upgrade=False)
    try:
        yield AuditLog(database)
    finally:
        database.close()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 2**62:
        raise argparse.ArgumentTypeError("a number from 1")
    return number


def _hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError("64 hexadecimal digits, as verify prints them")
    return text
