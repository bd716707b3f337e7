"""plumbline-cloud kit: an update in a folder or a file, for stations without a network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.commands.output import Subparsers, print_json

if TYPE_CHECKING:
    from cloud.registry.catalog import ReleasedVersion
    from cloud.registry.keys import Keys
    from cloud.settings import CloudSettings

_EPILOG = """\
A kit holds the bundle, the update metadata and a signed order for each station; on the station:
  plumbline-agent update apply /media/usb/kit.plk --config agent.toml

It installs on the named stations only, until it expires, and not after a later order or a later kit. Making one deploys
nothing: what the server tells connected stations stays as it is. The server may be running meanwhile.

examples:
  plumbline-cloud kit make --station line3-cam1 --version v2 --out kit.plk --config plant/cloud.toml
  plumbline-cloud kit make --all --version v2 --days 60 --out /media/usb/kit --config plant/cloud.toml --json

exit codes: 0 made, 1 error"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "kit",
        help="make an update for stations without a network",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    make = actions.add_parser(
        "make",
        help="write a kit for a USB stick",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whom = make.add_mutually_exclusive_group(required=True)
    whom.add_argument("--station", action="append", default=[], help="for this station; may be given again")
    whom.add_argument("--all", action="store_true", help="for every station")
    make.add_argument("--version", required=True, help="a released version, or an alias")
    make.add_argument("--out", type=Path, required=True, help="a .plk file, or else a folder, to make")
    make.add_argument("--days", type=float, default=30.0, help="how long it is accepted (default %(default)g)")
    make.add_argument("--actor", default="operator", help="who makes it, for the audit log (default %(default)s)")
    make.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    make.add_argument("--json", action="store_true", help="print JSON")
    make.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make a kit."""
    from cloud.clock import SystemClock
    from cloud.registry.catalog import ReleaseState
    from cloud.registry.keys import load_keys
    from cloud.registry.kit import check_free, kit_files, kit_metadata, write_kit
    from cloud.registry.order_keys import standing_order_keys
    from cloud.registry.release import Registry
    from cloud.settings import load_settings
    from cloud.store.kit_orders import KitOrders
    from cloud.store.stations import Stations
    from cloud.store.versions import Versions
    from cloud.store_wiring import open_database
    from contract.errors import InvalidConfig, RefusedError
    from contract.ids import bundle_target

    settings, now = load_settings(args.config), SystemClock().now()
    if not 0 < args.days <= 3650:
        raise InvalidConfig(f"--days {args.days:g} is not above 0 and at most 3650")
    check_free(args.out)
    registry, keys = Registry(settings.path("registry")), load_keys(settings.path(settings.keys))
    database = open_database(settings)
    try:
        versions = Versions(database)
        release = registry.catalog.get(versions.resolve(args.version))
        versions.check_usable(release.version)
        if release.state is not ReleaseState.RELEASED:
            raise RefusedError(f"version '{release.version}' was withdrawn", hint="choose another one")
        metadata = kit_metadata(registry.tuf_folder, keys, release.digest, now, args.days * 86_400)
        names = Stations(database).names() if args.all else args.station
        if not names:
            raise InvalidConfig("there is no station", hint="add one with: plumbline-cloud station add NAME")
        # Numbers first: one that is never used costs nothing, one that is used twice would.
        numbers = KitOrders(database).reserve(names, release.version, args.actor, now, args.days)
    finally:
        database.close()
    orders = {name: _order(settings, keys, release, name, seq, now, args.days) for name, seq in numbers.items()}
    target = bundle_target(release.digest)
    facts = {"version": release.version, "bundle": release.digest, "made_at": now, "expires_at": metadata.expires_at}
    bundle = {target: registry.tuf_folder / "targets" / target}
    files = kit_files(metadata, bundle, orders, facts, order_keys=standing_order_keys(keys))
    size = write_kit(files, args.out)
    if args.json:
        print_json({"kit": str(args.out), **facts, "size_bytes": size, "desired_seq": numbers})
    else:
        print(
            f"'{args.out}': {release.version} (bundle {release.digest[:12]}, {size >> 10} KiB) for"
            f" {', '.join(sorted(numbers))}, accepted for {args.days:g} days"
        )
    return 0


def _order(
    settings: CloudSettings,
    keys: Keys,
    release: ReleasedVersion,
    station: str,
    seq: int,
    now: float,
    days: float,
) -> str:
    from cloud.registry.orders import issue_order
    from contract.messages import Probation

    rules = settings.rollout
    return issue_order(
        keys,
        station=station,
        bundle=release.digest,
        size_bytes=release.size_bytes,
        deployment=f"kit-{seq}",
        desired_seq=seq,
        probation=Probation(
            rules.probation_frames,
            rules.min_agreement,
            rules.probation_timeout_s,
            shadow_share=rules.shadow_share,
            max_mix_shift=rules.max_mix_shift,
            max_memory_mib=rules.max_memory_mib,
            serve_s=rules.serve_s,
        ),
        now=now,
        release_counter=release.release_counter,
        lifetime_s=days * 86_400,
    )
