"""`plumbline-cloud keys rotate | renew | status`: new keys, new expiry dates, and how late it is."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cloud.clock import SystemClock
from cloud.commands.keys_sign import add_server_arguments, open_here, print_waiting
from cloud.commands.output import Subparsers, print_json, print_table
from contract.errors import InvalidConfig

_ROLES = ("root", "targets", "snapshot", "timestamp", "order")
_LATE = 3
_ROTATE = """\
The new root is signed by enough of the old root keys and of the new ones. Keys that are not here sign later: keys pending.
A running server takes new keys of the image repository up by itself.
A new order key counts once the targets key vouches for it too: bring that one along (--keys), or sign what is then pending.

examples:
  plumbline-cloud keys rotate timestamp --config plant/cloud.toml --keys /media/stick
  plumbline-cloud keys rotate root --count 3 --threshold 2 --out /media/a --out /media/b --out /media/c
  plumbline-cloud keys rotate snapshot timestamp --restart-versions    (both were stolen and used to run versions ahead)
  plumbline-cloud keys rotate order --revoke                           (the order key was stolen)
"""
_RENEW = """\
example:
  plumbline-cloud keys renew targets --config plant/cloud.toml --keys /media/stick
"""
_STATUS = """\
exit code: 0 fine, 3 late or expired: somebody must see to it.

example:
  plumbline-cloud keys status --config plant/cloud.toml --json
"""


def register(actions: Subparsers) -> None:
    """Add the actions."""
    rotate = _add(actions, "rotate", "replace the keys of roles by new ones", _ROTATE, run_rotate)
    rotate.add_argument("role", nargs="+", choices=_ROLES, metavar="ROLE", help=", ".join(_ROLES))
    rotate.add_argument("--count", type=int, metavar="N", help="number of new root or targets keys (default: as now)")
    rotate.add_argument("--threshold", type=int, metavar="M", help="how many of them must sign (default: as now)")
    rotate.add_argument(
        "--out",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="where new keys go; repeated: one key each, in turn (default: the server's keys folder)",
    )
    rotate.add_argument("--lost", action="store_true", help="the old keys are gone and cannot sign; never for root")
    rotate.add_argument("--restart-versions", action="store_true", help="after stolen online keys: count from 1 again")
    rotate.add_argument("--revoke", action="store_true", help="order: what the old key signed counts no more")
    add_server_arguments(rotate)

    renew = _add(actions, "renew", "let root or targets live longer, with the same keys", _RENEW, run_renew)
    renew.add_argument("role", choices=("root", "targets"), help="which")
    add_server_arguments(renew)

    status = _add(actions, "status", "show when the repository expires, and what waits", _STATUS, run_status)
    add_server_arguments(status)


def run_rotate(args: argparse.Namespace) -> int:
    """Rotate; return 0."""
    from cloud.registry.order_keys import rotate_vouched
    from cloud.registry.rotation import rotate_roles

    registry, keys = open_here(args)
    now, roles = SystemClock().now(), dict.fromkeys(args.role)
    order = "order" in roles
    roles.pop("order", None)
    if args.revoke and not order:
        raise InvalidConfig("--revoke is for the order key", hint="TUF keys never count after their rotation")
    size = _size(args)
    if size is not None and not set(roles) <= {"root", "targets"}:
        raise InvalidConfig("--count and --threshold are for root and targets", hint="online roles have one key")
    shown: dict[str, Any] = {"made": []}
    published = True
    if roles:
        rotated = rotate_roles(
            registry,
            keys,
            dict.fromkeys(roles, size),
            now,
            out=args.out,
            lost_keys=args.lost,
            restart_versions=args.restart_versions,
        )
        keys, published = rotated.keys, rotated.published
        shown["made"] = [str(key.folder / f"{key.name}.pem") for key in rotated.made]
        shown["root"] = {"published": published}
    if order:
        after = rotate_vouched(registry.tuf(keys), keys, now, revoke=args.revoke)
        shown["order"] = {"published": after is not None}
        if after is not None:
            keys = after
            assert keys.order is not None  # a rotation leaves a record
            stands = {"version": keys.order.version, "current": keys.order.current, "keys": sorted(keys.order.keys)}
            shown["order"] |= stands
    if args.json:
        print_json(shown)
        return 0
    for made in shown["made"]:
        print(f"made {made}")
    if order and not shown["order"]["published"]:
        print_waiting(registry, registry.tuf(keys).pending(), now)
        again = "plumbline-cloud keys rotate order" + (" --revoke" if args.revoke else "")
        print(f"the old order key signs until the release keys vouch for the new one; when that is published: {again}")
    elif order:
        counts = "it alone counts" if args.revoke else "earlier ones count too"
        print(f"order key {shown['order']['current'][:12]} signs from now on; {counts}; stations hear of it")
    if roles and published:
        print(f"root {registry.tuf(keys).roots()[-1].version} is in force; the old keys sign nothing any more")
    elif roles and not (order and not shown["order"]["published"]):
        print_waiting(registry, registry.tuf(keys).pending(), now)
    return 0


def run_renew(args: argparse.Namespace) -> int:
    """Renew; return 0."""
    registry, keys = open_here(args)
    repository, now = registry.tuf(keys), SystemClock().now()
    done = repository.change_root({}, now) if args.role == "root" else repository.renew_targets(now)
    if args.json:
        print_json({"role": args.role, "published": done})
    elif done:
        at = datetime.fromtimestamp(repository.expires_at()[args.role], tz=timezone.utc)
        print(f"{args.role} is valid until {at.isoformat()[:10]}")
    else:
        print_waiting(registry, repository.pending(), now)
    return 0


def run_status(args: argparse.Namespace) -> int:
    """Show how late it is; return 0, or 3 where somebody must see to it."""
    from cloud.registry.resign_status import resign_status
    from cloud.registry.signing_request import needs

    registry, keys = open_here(args)
    repository, now = registry.tuf(keys), SystemClock().now()
    status = resign_status(repository.expires_at(), now)
    waiting = repository.pending()
    newest = repository.roots()[-1]
    listed = {keyid for role in newest.roles.values() for keyid in role.keyids} | {k.keyid for k in keys.order_keys()}
    idle = [str(key.folder / f"{key.name}.pem") for key in keys.held if key.keyid not in listed]
    if args.json:
        print_json(
            {
                "state": status.state.value,
                "root": newest.version,
                "roles": [asdict(each) for each in status.roles],
                "order_keys_version": keys.order.version if keys.order else 0,
                "waiting": [{"role": each.role, "version": each.version} for each in waiting],
                "idle_keys": idle,
            }
        )
        return _LATE if status.late else 0
    here = {role: len(keys.listed(newest.roles[role].keyids)) for role in newest.roles}
    print_table(
        ("ROLE", "STATE", "EXPIRES", "KEYS HERE", "MUST SIGN"),
        [
            (
                each.role,
                each.state.value,
                datetime.fromtimestamp(each.expires_at, tz=timezone.utc).isoformat()[:16],
                here[each.role],
                f"{newest.roles[each.role].threshold} of {len(newest.roles[each.role].keyids)}",
            )
            for each in status.roles
        ],
    )
    for each in waiting:
        print(f"waits: {each.role} {each.version} has {'; '.join(need.in_words() for need in needs(each))}")
    for file in idle:
        print(f"counts no more, or not yet: {file}")
    if status.late:
        print(status.in_words(), file=sys.stderr)
    return _LATE if status.late else 0


def _size(args: argparse.Namespace) -> tuple[int, int] | None:
    if args.count is None and args.threshold is None:
        return None
    if args.count is None or args.threshold is None:
        raise InvalidConfig("--count and --threshold go together", hint="e.g. --count 3 --threshold 2")
    return args.count, args.threshold


def _add(actions: Subparsers, name: str, words: str, epilog: str, run: Any) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=words,
        description=words[0].upper() + words[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser
