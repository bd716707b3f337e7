"""`plumbline-cloud keys`: the signing keys, what waits for them, and how late the repository is."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from cloud.commands import keys_rotate, keys_sign
from cloud.commands.output import Subparsers

_EXAMPLE = """\
root and targets keys belong offline (each holder's encrypted stick); snapshot.pem, timestamp.pem and order.pem on the server.
order_key.json is public: every station pins it, together with the registry's root.

examples:
  plumbline-cloud keys init --out ~/plumbline-keys
  plumbline-cloud keys init --out plant/keys --root-keys 3 --root-threshold 2 --offline /media/a --offline /media/b \\
      --offline /media/c
"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "keys",
        help="make, use and replace the signing keys",
        description="Make, use and replace the keys that sign releases and orders.",
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
    init.add_argument(
        "--offline",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="put root and targets keys here instead; repeated: one key each, in turn",
    )
    for role in ("root", "targets"):
        init.add_argument(
            f"--{role}-keys", type=int, default=1, metavar="N", help=f"number of {role} keys (default %(default)s)"
        )
        init.add_argument(
            f"--{role}-threshold", type=int, default=1, metavar="M", help="how many of them must sign (default 1)"
        )
    init.add_argument("--json", action="store_true", help="print one JSON object")
    init.set_defaults(run=run)
    keys_sign.register(actions)
    keys_rotate.register(actions)


def run(args: argparse.Namespace) -> int:
    """Make the keys; return 0."""
    from cloud.registry.keys import ORDER_KEY_FILE, init_keys

    counts = {role: (getattr(args, f"{role}_keys"), getattr(args, f"{role}_threshold")) for role in ("root", "targets")}
    keys = init_keys(args.out, counts=counts, offline=args.offline)
    files = [f"{key.name}.pem" for key in keys.held]
    if args.json:
        shown = {
            "folder": str(args.out),
            "private": files,
            "order_key": keys.order_key(),
            "places": {f"{key.name}.pem": str(key.folder) for key in keys.held},
        }
        print(msgspec.json.encode(shown).decode())
    else:
        for folder in keys.folders:
            here = [f"{key.name}.pem" for key in keys.held if key.folder == folder]
            print(f"{folder}: {', '.join(here) or 'no keys'} (private, mode 0600)")
        print(f"{args.out / ORDER_KEY_FILE}: for every station ({keys.order_key().keyid[:12]}...)")
    return 0
