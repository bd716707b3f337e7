"""plumbline-cloud mirror: show the released versions in MLflow."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cloud.commands.output import Subparsers, print_json
from cloud.settings import CloudSettings, load_settings
from contract.errors import InvalidConfig, PlumblineError, TransientError

if TYPE_CHECKING:
    from cloud.registry.mirror_releases import MirrorReport


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "mirror",
        help="show the released versions in MLflow's model registry ([mlflow] in cloud.toml)",
        epilog="example: plumbline-cloud mirror --config plant/cloud.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Mirror every version; a second run changes nothing."""
    settings = load_settings(args.config)
    if not settings.mlflow.tracking_uri:
        raise InvalidConfig("no MLflow is set", hint='write tracking_uri = "http://HOST:5000" under [mlflow]')
    report = _mirror(settings)
    if args.json:
        print_json({"shown": report.shown, "unchanged": report.unchanged, "failed": report.failed})
    else:
        print(f"{len(report.shown)} shown anew ({', '.join(report.shown) or 'none'}), {report.unchanged} as they were")
    if report.failed:
        first = next(iter(report.failed.items()))
        raise TransientError(
            f"{len(report.failed)} could not be shown, first {first[0]}: {first[1]}", hint="run it again"
        )
    return 0


def _mirror(settings: CloudSettings) -> MirrorReport:
    from cloud import store_wiring  # here, so that --help does not load what it needs
    from cloud.mirror_wiring import mirror_now

    stores = store_wiring.open_stores(settings)
    try:
        return mirror_now(settings.mlflow, store_wiring.open_registry(settings), stores.rollouts.all())
    finally:
        stores.database.close()


def mirror_beside(settings: CloudSettings) -> None:
    """Mirror after a release, where an MLflow is set; what goes wrong is said on stderr and never undoes the release."""
    if not settings.mlflow.tracking_uri:
        return
    try:
        failed = _mirror(settings).failed
        said = next(iter(failed.values()), "")
    except PlumblineError as error:
        said = error.one_line()
    if said:
        print(f"warning: released, but not mirrored: {said}; later: plumbline-cloud mirror", file=sys.stderr)
