"""plumbline-cloud init: a home folder with config, tokens and keys."""

from __future__ import annotations

import argparse
import json
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from cloud.clock import SystemClock
from cloud.commands.output import Subparsers, print_json
from cloud.registry.keys import ORDER, init_keys, load_keys
from cloud.registry.release import Registry
from contract.errors import InvalidConfig, RefusedError

_CONFIG = """# Plumbline's cloud. Paths are relative to `home`, which is relative to this file. Every key has a default.
home = "."
keys = "{keys}"

[api]
host = "{api_host}"
port = {api_port}
{public_url}{api_tls}
[broker]
host = "{broker_host}"
port = {broker_port}
{broker_tls}"""

_API_TLS = """cert_file = "provision/api.pem"
key_file = "provision/api.pem"
client_ca_file = "provision/trust.pem"
device_port = {device_port}
"""

_BROKER_TLS = """ca_file = "provision/trust.pem"
cert_file = "provision/cloud.pem"
key_file = "provision/cloud.pem"
"""

_EXAMPLES = """examples:
  plumbline-cloud init --home plant --broker-port 1883
  plumbline-cloud init --home plant --secure --broker-name broker.plant --public-url https://cloud.plant:8080"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "init",
        help="make a home folder: cloud.toml, tokens and keys",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--home", type=Path, required=True, help="folder to make; must not hold a cloud.toml yet")
    parser.add_argument(
        "--api-port", type=int, default=8080, help="port of the API and dashboard (default %(default)s)"
    )
    parser.add_argument(
        "--public-url",
        default="",
        metavar="URL",
        help="how devices and people reach the API, e.g. http://cloud.plant:8080: it then listens on every address "
        "(default: this machine alone reaches it)",
    )
    parser.add_argument("--broker-host", default="127.0.0.1", help="MQTT broker (default %(default)s)")
    parser.add_argument("--broker-port", type=int, help="its port (default 1883; with --secure 8884, the cloud's own)")
    parser.add_argument(
        "--keys",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="use keys that keys init made: HOME/keys and this folder; may be repeated",
    )
    parser.add_argument(
        "--broker-name",
        action="append",
        default=[],
        metavar="NAME",
        help="with --secure: what stations call the broker",
    )
    parser.add_argument(
        "--broker-bind", default="", help="with --secure: the address that it listens at (default: every one)"
    )
    parser.add_argument("--station-port", type=int, default=8883, help="with --secure: its port for stations")
    parser.add_argument("--device-port", type=int, default=8443, help="with --secure: the API's port for stations")
    parser.add_argument(
        "--secure",
        action="store_true",
        help="mutual TLS: make certificates and a broker's configuration too (provision init)",
    )
    parser.add_argument("--json", action="store_true", help="print what was made as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the home folder."""
    home: Path = args.home
    config = home / "cloud.toml"
    if config.exists():
        raise InvalidConfig(f"{config} is there already", hint="choose another --home, or edit that file")
    broker_port = (8884 if args.secure else 1883) if args.broker_port is None else args.broker_port
    for option, port in (("--api-port", args.api_port), ("--broker-port", broker_port)):
        if not 0 < port < 65_536:
            raise InvalidConfig(f"{option} {port} is no port", hint="use 1 to 65535")
    if args.secure and args.api_port == args.device_port:
        hint = "the API's door for stations is another one: choose another --api-port or --device-port"
        raise InvalidConfig(f"--api-port and --device-port are both {args.api_port}", hint=hint)
    _check_url(args.public_url, secure=args.secure)
    secrets_folder = home / "secrets"
    try:
        secrets_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for role in ("operator", "inspector"):
            file = secrets_folder / f"{role}.token"
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(32) + "\n")
    except OSError as error:
        raise InvalidConfig(
            f"cannot write in {home}: {error.strerror}", hint="choose a --home you may write"
        ) from error
    keys = load_keys(home / "keys", *args.keys) if args.keys else init_keys(home / "keys")
    keys.signer(ORDER)
    # Where the order key lies, the server finds the other online keys too; paths in the file start from the home.
    used = next(folder for folder in (home / "keys", *args.keys) if list(folder.glob(f"{ORDER}*.pem")))
    in_config = "keys" if used == home / "keys" else str(used.resolve())
    repository, waits = Registry(home / "registry").tuf(keys), ""
    try:
        repository.create(SystemClock().now())
    except RefusedError as error:
        if not repository.pending():
            raise
        waits = error.one_line()
    # The config comes last: a home with a config is whole.
    text = _CONFIG.format(
        keys=json.dumps(in_config)[1:-1],
        api_host="0.0.0.0" if args.public_url else "127.0.0.1",
        api_port=args.api_port,
        public_url=f"public_url = {json.dumps(args.public_url.rstrip('/'))}\n" if args.public_url else "",
        broker_host=json.dumps(args.broker_host)[1:-1],
        broker_port=broker_port,
        api_tls=_API_TLS.format(device_port=args.device_port) if args.secure else "",
        broker_tls=_BROKER_TLS if args.secure else "",
    )
    config.write_text(text)
    made: dict[str, str] = {}
    if args.secure:
        from cloud.commands.provision import init_plant

        made = init_plant(config, args.broker_name, args.station_port, broker_port, bind=args.broker_bind)
    if args.json:
        print_json({"config": str(config), "keys": str(used), "waits": waits, **made})
    else:
        print(f"made {config}; the keys in {used} sign releases: back them up and keep them off the devices")
        if made:
            print(f"start the broker with: mosquitto -c {made['broker_config']}")
            print(f"devices pin this: --ca-sha256 {made['ca_sha256']}")
        if waits:
            print(f"no station can be added before this: {waits}")
    return 0


def _check_url(url: str, *, secure: bool) -> None:
    if not url:
        return
    scheme = "https" if secure else "http"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("https", scheme) and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise InvalidConfig(f"--public-url {url} is no address", hint=f"use e.g. {scheme}://cloud.plant:8080")
