"""plumbline-cloud provision: the plant's certificates, and which stations may speak."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cloud.clock import SystemClock
from cloud.commands.output import Subparsers, print_json, print_table
from cloud.commands.provision_help import EXAMPLES, HELP


class _ActionOrStation(argparse._SubParsersAction):  # type: ignore[type-arg]  # argparse gives it no parameter at run time
    """`provision STATION` is `provision station STATION`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        words = list(values or ())
        if words and words[0] not in self._name_parser_map:
            words.insert(0, "station")
        super().__call__(parser, namespace, words, option_string)


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "provision",
        help="certificates: the plant's authority, stations' enrolment, revocation",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION|STATION", required=True, action=_ActionOrStation)
    names = {
        "init": "make the plant's certificate authority and a broker's configuration",
        "station": "make a station's key and certificate here (also: provision STATION)",
        "token": "make a one-time token by which a device enrols itself",
        "revoke": "end a station's certificate and tokens",
        "status": "list certificates and when they end",
        "sync": "make the broker's roles and revocation list those of the database",
        "renew": "make the servers' and the cloud's own certificates anew",
        "rotate-ca": "change the plant's certificate authority, in two steps",
        "update-broker": "let a broker of an older version tell stations from the cloud, whoever has ca.key",
    }
    made = {
        name: actions.add_parser(
            name, help=text, epilog=HELP[name], formatter_class=argparse.RawDescriptionHelpFormatter
        )
        for name, text in names.items()
    }
    # What is no action is a station; argparse would refuse it before it is asked.
    actions.choices = None  # type: ignore[assignment]  # argparse then takes any
    for name, each in made.items():
        each.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
        each.add_argument("--json", action="store_true", help="print JSON")
        each.set_defaults(run=_RUN[name])
    init = made["init"]
    for server in ("broker", "api"):
        init.add_argument(
            f"--{server}-name",
            action="append",
            default=[],
            metavar="NAME",
            help=f"DNS name or IP address of the {server}; may be repeated (default: as in cloud.toml)",
        )
    init.add_argument("--station-port", type=int, default=8883, help="the broker's port for stations")
    init.add_argument("--cloud-port", type=int, default=8884, help="its port for the cloud itself")
    init.add_argument("--station-bind", default="", help="address to listen at for stations (default: every one)")
    init.add_argument("--cloud-bind", default="", help="address to listen at for the cloud (default: every one)")
    init.add_argument("--plugin", type=Path, help="mosquitto_dynamic_security.so (default: found beside mosquitto)")
    for name in ("station", "token", "revoke"):
        made[name].add_argument("station", help="its id: a-z, 0-9, '-' and '_'")
    made["station"].add_argument("--out", type=Path, required=True, help="folder to make, to be copied to the device")
    for name in ("station", "token"):
        made[name].add_argument("--site", default="", help="where it stands, e.g. 'plant 2'")
    made["token"].add_argument("--hours", type=float, default=24.0, help="how long it is good (default %(default)g)")
    made["revoke"].add_argument("--reason", required=True, help="why, for the audit log")
    made["rotate-ca"].add_argument("--finish", action="store_true", help="second step: trust the old authority no more")


def _init(args: argparse.Namespace) -> int:
    from cloud.commands import provision_plant

    with _open(args) as (settings, desk):
        made = provision_plant.init(settings, desk, args, SystemClock().now())
    if args.json:
        print_json(made)
    else:
        print(f"made {made['folder']}; back it up, and keep its *.key files off every other machine")
        print(f"devices pin this: --ca-sha256 {made['ca_sha256']}")
        print(f"start the broker with: mosquitto -c {made['broker_config']}")
        if made["set"]:
            print(f"set in {args.config}:\n{made['set']}")
    return 0


def init_plant(
    config: Path, broker_names: list[str], station_port: int, cloud_port: int, *, bind: str
) -> dict[str, str]:
    """Do `provision init` for a cloud.toml that was just made; return what was made."""
    from cloud.commands import provision_plant

    args = argparse.Namespace(
        config=config,
        broker_name=broker_names,
        api_name=[],
        station_port=station_port,
        cloud_port=cloud_port,
        station_bind=bind,
        cloud_bind=bind,
        plugin=None,
    )
    with _open(args) as (settings, desk):
        return provision_plant.init(settings, desk, args, SystemClock().now())


def _station(args: argparse.Namespace) -> int:
    from cloud.commands.station_folder import check_free, write_station

    check_free(args.out)
    with _open(args) as (settings, desk):
        _check_tls(settings)
        provisioned = desk.provision(args.station, args.site)
    config = write_station(args.out, provisioned.answer, provisioned.key)
    if args.json:
        print_json({"station": args.station, "config": str(config), "told": provisioned.told.value})
    else:
        print(f"provisioned {args.station}, told {provisioned.told.value}")
        print(f"start it with: plumbline-agent run --config {config}")
    _note_loopback(settings)
    return 0


def _note_loopback(settings: Any) -> None:
    """Say that other machines cannot reach the cloud where they can reach the broker."""
    from cloud.commands.provision_plant import LOOPBACK
    from cloud.provision_wiring import open_folder

    url = settings.api.public_url or settings.api.url()
    if urlsplit(url).hostname in LOOPBACK and open_folder(settings).plant().broker_names[0] not in LOOPBACK:
        print(
            f"note: {url} is for this machine alone. For other devices set [api] host and public_url in cloud.toml, or begin with "
            "init --public-url; the certificate must have that name too",
            file=sys.stderr,
        )


def _token(args: argparse.Namespace) -> int:
    from cloud.provision_wiring import open_folder, station_plan
    from contract.errors import InvalidConfig

    if not 0 < args.hours <= 24 * 365:
        raise InvalidConfig(f"--hours {args.hours:g} is no time to wait", hint="use more than 0, and a year at most")
    with _open(args) as (settings, desk):
        _check_tls(settings)
        station_plan(settings, args.station)  # an address that no device reaches is no use in the command below
        if not (settings.api.public_url or settings.api.url()).startswith("https://"):
            hint = "set [api] cert_file and key_file, or make the station's folder here: provision STATION --out DIR"
            raise InvalidConfig("a device enrols over HTTPS alone, and [api] in cloud.toml has none", hint=hint)
        settings.check_no_cohort(args.station)
        token = desk.make_token(args.station, args.site, valid_s=args.hours * 3600.0)
        # While the authority changes, servers still show certificates of the old one.
        pin, url = open_folder(settings).issuing()[-1].fingerprint, settings.api.public_url or settings.api.url()
    if args.json:
        print_json({"station": args.station, "token": token, "ca_sha256": pin, "url": url, "hours": args.hours})
    else:
        print(f"on the device, within {args.hours:g} hours:")
        print(f"  plumbline-agent enrol --url {url} --token={token} --ca-sha256 {pin} --out {args.station}")
    _note_loopback(settings)
    return 0


def _revoke(args: argparse.Namespace) -> int:
    from cloud.commands import provision_plant
    from contract.errors import RefusedError

    with _open(args) as (settings, desk):
        known = provision_plant.is_known(settings, args.station)
        ended, told, reloaded = desk.revoke(args.station, args.reason)
    if not known:
        # Revoked all the same, should it come; but who mistyped a stolen station's name must not think that it is shut out.
        hint = "check the name: plumbline-cloud provision status lists every station"
        raise RefusedError(f"no station {args.station} was ever provisioned here, so none was shut out", hint=hint)
    if args.json:
        print_json(
            {"station": args.station, "certificates": ended, "told": told.value, "revocation_list_read": reloaded}
        )
    else:
        print(f"{args.station}: {ended} certificate(s) ended, its tokens too; told {told.value}")
        if not reloaded:
            print("a broker on another machine needs the new broker/crl.pem, and SIGHUP to read it")
    return 0


def _status(args: argparse.Namespace) -> int:
    from cloud.commands import provision_plant
    from cloud.provision.stations_door import Naming
    from cloud.provision_wiring import open_folder

    with _open(args) as (settings, _):
        lines = provision_plant.status(settings, SystemClock().now())
        old_door = Naming.COMMON_NAME in open_folder(settings).namings()
    if args.json:
        print_json(lines)
    else:
        header = ("kind", "subject", "state", "days left", "serial")
        print_table(header, [[line[k] for k in ("kind", "subject", "state", "days_left", "serial")] for line in lines])
    if old_door:
        print(
            "note: whoever has ca.key can be the cloud at this broker: plumbline-cloud provision update-broker",
            file=sys.stderr,
        )
    return 3 if any(line["state"] in ("expires soon", "expired") for line in lines) else 0


def _sync(args: argparse.Namespace) -> int:
    with _open(args) as (_, desk):
        synced = desk.sync()
    if args.json:
        print_json({"told": synced.told.value, "added": synced.added, "removed": synced.removed})
    else:
        print(f"told {synced.told.value}; {synced.added} stations added, {synced.removed} removed")
    return 0


def _renew(args: argparse.Namespace) -> int:
    from cloud.commands import provision_plant

    with _open(args) as (settings, desk):
        provision_plant.issue_own(settings, desk)
    if args.json:
        print_json({"renewed": True})
    else:
        print("renewed the servers' and the cloud's own certificates; restart the broker and the server")
    return 0


def _rotate(args: argparse.Namespace) -> int:
    from cloud.commands import provision_plant

    with _open(args) as (settings, desk):
        said = provision_plant.rotate(settings, desk, SystemClock().now(), finish=args.finish)
    print_json({"said": said}) if args.json else print(said)
    return 0


def _update_broker(args: argparse.Namespace) -> int:
    from cloud.provision.folder import CONF, ROLES
    from cloud.provision_wiring import open_folder

    with _open(args) as (settings, desk):
        changed, folder = desk.update_broker(), open_folder(settings)
    conf = folder.broker / CONF
    if args.json:
        print_json({"changed": changed, "broker_config": str(conf)})
    elif not changed:
        print(f"nothing to do: {conf} is up to date, and so are its roles")
    else:
        print(f"changed {conf} and the roles beside it; start the broker with: mosquitto -c {conf}")
        print(f"a broker with a folder of its own needs both files, {CONF} and {ROLES}, before it starts")
    return 0


@contextmanager
def _open(args: argparse.Namespace) -> Iterator[tuple[Any, Any]]:
    """Give the settings and the desk."""
    from cloud.provision_wiring import make_desk
    from cloud.settings import load_settings
    from cloud.store_wiring import open_database

    settings = load_settings(args.config)
    database = open_database(settings)
    try:
        yield settings, make_desk(settings, database, SystemClock().now)
    finally:
        database.close()


def _check_tls(settings: Any) -> None:
    from contract.errors import InvalidConfig

    if not settings.broker.ca_file:
        hint = "provision init prints the lines; plumbline-cloud station add does without certificates"
        raise InvalidConfig("[broker] ca_file, cert_file and key_file are not set in cloud.toml", hint=hint)


_RUN = {
    "init": _init,
    "station": _station,
    "token": _token,
    "revoke": _revoke,
    "status": _status,
    "sync": _sync,
    "renew": _renew,
    "rotate-ca": _rotate,
    "update-broker": _update_broker,
}
