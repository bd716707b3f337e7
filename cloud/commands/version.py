"""plumbline-cloud version: where released versions stand, what they are called, and which files may go."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud.commands.output import Subparsers, plain, print_json, print_table

if TYPE_CHECKING:
    from cloud.registry.release import Registry
    from cloud.settings import CloudSettings
    from cloud.store_wiring import Stores
    from cloud.version_wiring import VersionParts

_EXAMPLES = """examples:
  plumbline-cloud version list --config plant/cloud.toml
  plumbline-cloud version show champion --config plant/cloud.toml
  plumbline-cloud version alias line-3 v2 --reason 'v3 misses dents' --config plant/cloud.toml
  plumbline-cloud version retire v1 --reason 'the lens was changed' --config plant/cloud.toml
  plumbline-cloud version prune --config plant/cloud.toml                 # shows what would be deleted
  plumbline-cloud version prune --apply --keys /media/stick --config plant/cloud.toml

exit codes: 0 done, 1 error or refused, 2 wrong usage"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "version",
        help="list, name, retire and prune released versions",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add(actions, "list", "list versions, newest first", run_list)
    show = _add(actions, "show", "tell all of one version", run_show)
    show.add_argument("version", help="a version, or an alias")
    alias = _add(actions, "alias", "let a name mean a version", run_alias)
    alias.add_argument("alias", help="the name, e.g. line-3; champion and candidate move by themselves too")
    alias.add_argument("version", nargs="?", default="", help="what it shall mean")
    alias.add_argument("--drop", action="store_true", help="let it mean nothing")
    retire = _add(actions, "retire", "let nobody be ordered to run a version", run_retire)
    retire.add_argument("version", help="a version, or an alias")
    retire.add_argument("--safe", metavar="WHY", default="", help="why it may be though stations need it")
    unretire = _add(actions, "unretire", "let a retired version be ordered again", run_unretire)
    unretire.add_argument("version", help="a version")
    for action, needed in ((alias, False), (retire, True), (unretire, True)):
        action.add_argument("--reason", required=needed, default="", help="why, for the audit log")
    prune = _add(actions, "prune", "show which versions' files may be deleted, and why others stay", run_prune)
    prune.add_argument("--apply", action="store_true", help="delete them; what is known of them stays")
    prune.add_argument("--champions", type=int, default=3, help="keep the last so many champions (default %(default)s)")
    prune.add_argument("--days", type=float, default=30.0, help="keep what is younger (default %(default)g)")
    prune.add_argument(
        "--keys", action="append", type=Path, default=[], metavar="DIR", help="a further folder with keys; repeatable"
    )
    for action in (alias, retire, unretire, prune):
        action.add_argument("--actor", default="operator", help="who does it, for the audit log (default %(default)s)")


def _add(actions: Subparsers, name: str, words: str, run: Any) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(
        name, help=words, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    action.add_argument("--json", action="store_true", help="print JSON")
    action.set_defaults(run=run)
    return action


@contextlib.contextmanager
def _parts(args: argparse.Namespace) -> Iterator[tuple[CloudSettings, Registry, Stores, VersionParts]]:
    from cloud.clock import SystemClock
    from cloud.settings import load_settings
    from cloud.store_wiring import open_registry, open_stores
    from cloud.version_wiring import make_version_parts

    settings = load_settings(args.config)
    registry, stores = open_registry(settings), open_stores(settings)
    try:
        yield settings, registry, stores, make_version_parts(settings, stores, registry, SystemClock().now)
    finally:
        stores.database.close()


def run_list(args: argparse.Namespace) -> int:
    """List versions."""
    from cloud.api.versions import listed

    with _parts(args) as (_, _, _, parts):
        found = parts.book.all()
    if args.json:
        print_json([listed(each) for each in found])
        return 0
    rows = [
        (
            each.version,
            each.stands.stage.value,
            ", ".join(each.aliases),
            "" if each.gate is None else "passed" if each.gate.passed else f"failed {len(each.gate.failed)}",
            len(each.stations),
            f"{each.disk_bytes / 1e6:.1f} MB",
            each.stands.actor,
            each.stands.reason,
        )
        for each in found
    ]
    print_table(("version", "stage", "called", "gate", "stations", "disk", "by", "why"), rows)
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Tell all of one version."""
    from cloud.api.versions import told

    with _parts(args) as (_, _, _, parts):
        found = told(parts.book, parts.book.get(args.version))
    if args.json:
        print_json(found)
        return 0
    called = f" ({', '.join(found['aliases'])})" if found["aliases"] else ""
    print(f"{found['version']}{called}: {found['stage'].value} by {found['stage_by']}: {plain(found['stage_why'])}")
    print(f"bundle {found['digest']}, {found['size_bytes']} bytes, released by {found['released_by']}")
    print(f"stations that run it: {', '.join(found['stations_named']) or 'none'}")
    for check in found["checks"]:
        print(f"gate {'passed' if check['passed'] else 'FAILED'}: {check['name']}: {check['sentence']}")
    for node in found["lineage"]:
        print(f"{node['kind']}: {node['text']} {node['detail']}".rstrip())
    for what, lines in (("its files stay", found["needed"]), ("not known", found["gaps"])):
        for line in lines:
            print(f"{what}: {line}")
    return 0


def run_alias(args: argparse.Namespace) -> int:
    """Let a name mean a version, or nothing."""
    from contract.errors import InvalidConfig

    if args.drop == bool(args.version):
        raise InvalidConfig("say which version it shall mean, or --drop")
    with _parts(args) as (_, _, _, parts):
        if args.drop:
            parts.desk.drop_alias(args.alias, args.actor, args.reason)
            version = ""
        else:
            version = parts.desk.set_alias(args.alias, args.version, args.actor, args.reason)
    told = f"'{args.alias}' means {version or 'nothing'}"
    print_json({"alias": args.alias, "version": version}) if args.json else print(told)
    return 0


def run_retire(args: argparse.Namespace) -> int:
    """Retire a version."""
    with _parts(args) as (_, _, _, parts):
        version = parts.desk.retire(args.version, args.actor, args.reason, safe=args.safe)
    print_json({"version": version, "stage": "RETIRED"}) if args.json else print(f"{version} is retired")
    return 0


def run_unretire(args: argparse.Namespace) -> int:
    """Take that back."""
    with _parts(args) as (_, _, _, parts):
        version = parts.desk.unretire(args.version, args.actor, args.reason)
    print_json({"version": version, "stage": "CANDIDATE"}) if args.json else print(f"{version} may be ordered again")
    return 0


def run_prune(args: argparse.Namespace) -> int:
    """Show, or delete, the files that nobody needs."""
    from cloud.clock import SystemClock
    from cloud.registry.keys import load_keys
    from cloud.registry.retention import RetentionRules, files_of, plan_retention, prune
    from contract.errors import InvalidConfig

    if args.champions < 1 or not args.days >= 0:
        raise InvalidConfig("--champions must be at least 1, and --days not below 0")
    rules, now = RetentionRules(args.champions, args.days), SystemClock().now()
    with _parts(args) as (settings, registry, stores, parts):
        keys = load_keys(settings.path(settings.keys), *args.keys)
        versions, bundles = stores.versions, parts.desk.bundles()
        stands = versions.stages(), versions.aliases(), versions.uses(bundles, now)
        staged = {each.digest for each in registry.pending.releases()}
        plan = plan_retention(registry.catalog.all(), *stands, staged, rules, now)
        sizes = files_of(registry, keys, set(plan.gone))
        told: dict[str, Any] = {
            "kept": {name: list(why) for name, why in plan.kept.items()},
            "gone": sizes,
            "frees_bytes": sum(sizes.values()),
        }
        if args.apply:
            why = f"of no use any more (--champions {args.champions} --days {args.days:g})"
            freed = prune(
                registry,
                keys,
                set(plan.gone),
                lambda choose: versions.prune(choose, bundles, args.actor, why, now),
                rules,
                now,
            )
            told |= {"deleted": freed.versions, "waiting": freed.waiting, "freed_bytes": freed.size_bytes}
    if args.json:
        print_json(told)
        return 0
    for name, reasons in plan.kept.items():
        print(f"stays  {name}: {'; '.join(reasons)}")
    for name, size in sizes.items():
        print(f"goes   {name}: {size / 1e6:.1f} MB")
    if not args.apply:
        print(f"{told['frees_bytes'] / 1e6:.1f} MB would be freed; --apply deletes them")
        return 0
    print(f"deleted {', '.join(told['deleted']) or 'nothing'}: {told['freed_bytes'] / 1e6:.1f} MB freed")
    if told["waiting"]:
        print(
            f"{', '.join(told['waiting'])}: the list without them waits for signatures (plumbline-cloud keys pending)"
        )
        print("their files go with the next 'version prune --apply' after 'keys publish'")
    return 0
