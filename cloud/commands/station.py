"""plumbline-cloud station: let a station speak, and write what it needs to start."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

from cloud.clock import SystemClock
from cloud.commands.output import Subparsers, print_json
from cloud.commands.server_api import ask_server
from cloud.commands.station_folder import check_free, write_files
from cloud.provision_wiring import files_of
from cloud.settings import load_settings
from cloud.store.stations import Stations
from contract.errors import InvalidConfig
from contract.ids import check_station_id

_EXAMPLES = """examples:
  plumbline-cloud station add line3-cam1 --config plant/cloud.toml --out line3-cam1
  plumbline-cloud station stop line3-cam1 --reason 'passes cracked parts' --config plant/cloud.toml"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "station",
        help="add a station, or order one to stop judging",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a station and write its config, token and trust anchors to a folder")
    add.add_argument("station", help="its id: a-z, 0-9, '-' and '_'")
    add.add_argument("--out", type=Path, required=True, help="folder to make, to be copied to the device")
    add.add_argument("--replace", action="store_true", help="give a known station a new token; its old one ends")
    add.add_argument("--site", default="", help="where it stands, e.g. 'plant 2'")
    add.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    add.add_argument("--json", action="store_true", help="print JSON")
    add.set_defaults(run=run)
    stop = actions.add_parser(
        "stop",
        help="order a station to run no bundle: every part is REVIEW until a rollout orders it one again",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stop.add_argument("station", help="its id")
    stop.add_argument("--reason", required=True, help="why, for the audit log")
    stop.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    stop.add_argument("--json", action="store_true", help="print JSON")
    stop.set_defaults(run=_stop)


def _stop(args: argparse.Namespace) -> int:
    settings, station = load_settings(args.config), check_station_id(args.station)
    answer = ask_server(settings, "POST", f"/v1/stations/{station}/stop", {"reason": args.reason})
    print_json(answer) if args.json else print(
        f"{station} is ordered to run nothing; a rollout orders it a bundle again"
    )
    return 0


def run(args: argparse.Namespace) -> int:
    """Add a station."""
    settings = load_settings(args.config)
    station, out = check_station_id(args.station), args.out
    settings.check_no_cohort(station)
    check_free(out)
    if settings.broker.ca_file:
        hint = f"plumbline-cloud provision token {station}, or provision {station} --out {out}"
        raise InvalidConfig("this plant's broker asks stations for a certificate", hint=hint)
    files = files_of(settings, station)
    from cloud.store_wiring import open_database

    database = open_database(settings)
    stations = Stations(database)
    if station in stations.names() and not args.replace:
        database.close()
        hint = "--replace gives it a new token, and its old one ends"
        raise InvalidConfig(f"station '{station}' is there already", hint=hint)
    token = secrets.token_urlsafe(32)
    # The database first would let a station speak that has no folder; the config is written last of its folder.
    try:
        config = write_files(
            out, files, token, before_config=lambda: stations.add(station, token, args.site, SystemClock().now())
        )
    finally:
        database.close()
    if args.json:
        print_json({"station": station, "config": str(config)})
    else:
        print(f"added {station}; start it with: plumbline-agent run --config {config}")
    return 0
