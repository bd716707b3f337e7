"""plumbline-cloud station: let a station speak, and write what it needs to start."""

from __future__ import annotations

import argparse
import json
import secrets
from pathlib import Path

import msgspec

from cloud.clock import SystemClock
from cloud.commands.output import Subparsers, print_json
from cloud.commands.server_api import ask_server
from cloud.registry.keys import ORDER_KEY_FILE, load_keys
from cloud.registry.release import Registry
from cloud.settings import CloudSettings, load_settings
from cloud.store.database import Database
from cloud.store.stations import Stations
from contract.errors import InvalidConfig
from contract.ids import check_station_id

_EXAMPLES = """examples:
  plumbline-cloud station add line3-cam1 --config plant/cloud.toml --out line3-cam1
  plumbline-cloud station stop line3-cam1 --reason 'passes cracked parts' --config plant/cloud.toml"""

_AGENT_TOML = """# A Plumbline station. Paths are relative to this file. `plumbline-agent run --help` lists every key.
station = {station}
home = "state"

[source]
kind = "simulated"

[broker]
host = {broker_host}
port = {broker_port}

[cloud]
url = {url}
token_file = "station.token"

[trust]
root = "trust/root.json"
order_keys = {order_keys}
"""


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
    if (out / "agent.toml").exists():
        raise InvalidConfig(f"{out / 'agent.toml'} is there already", hint="choose another --out")
    if not settings.api.public_url and settings.api.host in ("0.0.0.0", "::"):
        hint = 'set [api] public_url in cloud.toml, e.g. "http://10.0.0.5:8080"'
        raise InvalidConfig(f"a station cannot reach the address {settings.api.host}", hint=hint)
    database = Database(settings.database_url())
    stations = Stations(database)
    if station in stations.names() and not args.replace:
        database.close()
        hint = "--replace gives it a new token, and its old one ends"
        raise InvalidConfig(f"station '{station}' is there already", hint=hint)
    keys = load_keys(settings.path(settings.keys))
    root = Registry(settings.path("registry")).tuf(keys).root()
    token = secrets.token_urlsafe(32)
    try:
        (out / "trust").mkdir(parents=True, exist_ok=True)
        (out / "trust" / "root.json").write_bytes(root)
        pinned = keys.order_keys()
        for name, key in zip(_order_key_files(len(pinned)), pinned, strict=True):
            (out / name).write_bytes(msgspec.json.encode(key) + b"\n")
        token_file = out / "station.token"
        token_file.touch(mode=0o600)
        token_file.write_text(token + "\n")
    except OSError as error:
        raise InvalidConfig(f"cannot write in {out}: {error.strerror}", hint="choose a --out you may write") from error
    stations.add(station, token, args.site, SystemClock().now())
    database.close()
    (out / "agent.toml").write_text(_agent_toml(settings, station, len(pinned)))
    if args.json:
        print_json({"station": station, "config": str(out / "agent.toml")})
    else:
        print(f"added {station}; start it with: plumbline-agent run --config {out / 'agent.toml'}")
    return 0


def _order_key_files(count: int) -> list[str]:
    """Return the names of `count` pinned keys: the one that signs now, and those before it that still count."""
    stem = f"trust/{ORDER_KEY_FILE.removesuffix('.json')}"
    return [f"{stem}.json", *(f"{stem}_{number}.json" for number in range(2, count + 1))]


def _agent_toml(settings: CloudSettings, station: str, pinned: int) -> str:
    # A JSON string is a TOML basic string too, and a list of them a TOML array.
    values = {
        "station": station,
        "broker_host": settings.broker.host,
        "order_keys": _order_key_files(pinned),
        "url": settings.api.public_url or settings.api.url(),
    }
    return _AGENT_TOML.format(broker_port=settings.broker.port, **{k: json.dumps(v) for k, v in values.items()})
