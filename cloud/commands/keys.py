"""`plumbline-cloud keys`: the signing keys."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

_EXAMPLE = """\
root.pem and targets.pem belong offline (an encrypted stick); snapshot.pem, timestamp.pem and order.pem on the server.
order_key.json is public: every station pins it, together with the registry's root.

example:
  plumbline-cloud keys init --out ~/plumbline-keys
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "keys",
        help="make the signing keys",
        description="Make the keys that sign releases and orders.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = actions.add_parser(
        "init",
        help="make new keys in a folder",
        description="Make new keys in a folder: Ed25519, one file each, readable by you alone. Never overwrites.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    init.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder; made when missing")
    init.add_argument("--json", action="store_true", help="print one JSON object")
    init.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the keys; return 0."""
    from cloud.registry.keys import ORDER_KEY_FILE, init_keys

    keys = init_keys(args.out)
    files = [f"{name}.pem" for name in keys.signers]
    if args.json:
        shown = {"folder": str(args.out), "private": files, "order_key": keys.order_key()}
        print(msgspec.json.encode(shown).decode())
    else:
        print(f"{args.out}: {', '.join(files)} (private, mode 0600)")
        print(f"{args.out / ORDER_KEY_FILE}: for every station ({keys.order_key().keyid[:12]}...)")
    return 0
