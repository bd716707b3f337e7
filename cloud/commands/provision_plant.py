"""What `plumbline-cloud provision` does to the plant itself: its authorities, its servers' certificates, its broker's folder."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import select

from cloud.provision.authority import make_authority
from cloud.provision.desk import SOON_S, Desk
from cloud.provision.dynsec import ADMIN_USER, INGEST_USER
from cloud.provision.folder import PlantFile, ProvisionFolder
from cloud.provision.mosquitto_conf import BrokerPlan, find_plugin, render
from cloud.provision_wiring import open_folder
from cloud.settings import CloudSettings
from cloud.store.certificate_tables import enrol_tokens
from cloud.store.certificates import CertificateRow, Certificates
from cloud.store.tables import stations
from contract.errors import InvalidConfig, RefusedError

_CA_DAYS = 3650.0
LOOPBACK = ("127.0.0.1", "localhost")


def init(settings: CloudSettings, desk: Desk, args: argparse.Namespace, now: float) -> dict[str, Any]:
    """Make the authorities, the certificates of servers and cloud, and the broker's folder; return what was made.

    Raises:
        InvalidConfig: there are authorities already, a port is none, or no plugin is found.
    """
    folder = open_folder(settings)
    if folder.exists():
        hint = "provision renew makes its servers' certificates anew; rotate-ca changes the authority"
        raise InvalidConfig(f"{folder.path} is there already", hint=hint)
    for option, port in (("--station-port", args.station_port), ("--cloud-port", args.cloud_port)):
        if not 0 < port < 65_536:
            raise InvalidConfig(f"{option} {port} is no port", hint="use 1 to 65535")
    if args.station_port == args.cloud_port:
        raise InvalidConfig("the two listeners cannot share a port", hint="give another --cloud-port")
    plugin = find_plugin(args.plugin)
    public = urlsplit(settings.api.public_url).hostname or ""
    plant = PlantFile(
        broker_names=_names(args.broker_name, settings.broker.host),
        api_names=_names(args.api_name, public or settings.api.host, settings.api.host),
        station_port=args.station_port,
        cloud_port=args.cloud_port,
    )
    folder.broker.mkdir(parents=True, exist_ok=True)
    (folder.broker / "data").mkdir(exist_ok=True)
    folder.path.chmod(0o700)
    for name, subject in (("ca", "Plumbline plant CA"), ("cloud-ca", "Plumbline cloud CA")):
        authority, key = make_authority(f"{subject} {int(now)}", now=now, days=_CA_DAYS)
        folder.write_authority(name, authority, key)
    folder.write_trust()
    folder.write("broker/cloud-ca.pem", folder.authority("cloud-ca").pem)
    _issue(folder, desk, plant)
    folder.write_roles(())
    desk.sync_lists()
    plan = BrokerPlan(args.station_port, args.station_bind, args.cloud_port, args.cloud_bind)
    config = folder.broker / "mosquitto.conf"
    folder.write("broker/mosquitto.conf", render(plan, folder.broker, plugin, as_root=os.geteuid() == 0).encode())
    # The last file: a folder with it is whole.
    folder.write("plant.json", msgspec.json.encode(plant))
    return {
        "folder": str(folder.path),
        "ca_sha256": folder.authority().fingerprint,
        "broker_config": str(config),
        "set": "" if settings.broker.ca_file else toml_lines(settings, plant),
    }


def toml_lines(settings: CloudSettings, plant: PlantFile) -> str:
    """Return the keys of cloud.toml that turn mutual TLS on."""
    at = settings.provision.folder
    return "\n".join(
        (
            "[api]",
            f"cert_file = {json.dumps(f'{at}/api.pem')}",
            f"key_file = {json.dumps(f'{at}/api.pem')}",
            f"client_ca_file = {json.dumps(f'{at}/trust.pem')}",
            f"device_port = {settings.api.device_port or 8443}",
            "[broker]",
            f"port = {plant.cloud_port}",
            f"ca_file = {json.dumps(f'{at}/trust.pem')}",
            f"cert_file = {json.dumps(f'{at}/cloud.pem')}",
            f"key_file = {json.dumps(f'{at}/cloud.pem')}",
        )
    )


def issue_own(settings: CloudSettings, desk: Desk) -> None:
    """Make the certificates of servers and cloud anew."""
    folder = open_folder(settings)
    _issue(folder, desk, folder.plant())


def rotate(settings: CloudSettings, desk: Desk, now: float, *, finish: bool) -> str:
    """Change the authority: first both count and new stations get the new one's; then, on `finish`, only the new one.

    Raises:
        RefusedError: it is the other step's turn, or stations still have certificates of the old one.

    Either step, killed at any point, is ended by doing it again.
    """
    folder = open_folder(settings)
    if not finish:
        if folder.is_finishing():
            raise RefusedError("a rotation is being ended", hint="end it with: provision rotate-ca --finish")
        if folder.has_old() and not folder.is_beginning():
            raise RefusedError("a rotation is under way", hint="end it with: provision rotate-ca --finish")
        authority = folder.begin_rotation(
            lambda: make_authority(f"Plumbline plant CA {int(now)}", now=now, days=_CA_DAYS)
        )
        desk.sync_lists()
        folder.end_beginning()
        return (
            "both authorities count; restart the broker and the server. Stations take the new one when they renew; "
            f"after --finish, devices that enrol pin {authority.fingerprint}"
        )
    if folder.is_beginning():
        raise RefusedError("the rotation was begun by half", hint="do the first step again: provision rotate-ca")
    if not folder.is_finishing():
        if not folder.has_old():
            raise RefusedError("no rotation is under way", hint="begin one with: provision rotate-ca")
        gone = folder.authority("old-ca").fingerprint
        left = sorted(_holders(settings, gone, now) - _holders(settings, folder.authority().fingerprint, now))
        if left:
            hint = "wait until they renewed, enrol them anew, or revoke them"
            raise RefusedError(f"{len(left)} stations know only the old authority: {', '.join(left[:5])}", hint=hint)
    folder.drop_old()
    desk.sync_lists()
    _issue(folder, desk, folder.plant())
    folder.end_finishing()
    return "only the new authority counts; restart the broker and the server"


def is_known(settings: CloudSettings, station: str) -> bool:
    """Return whether `station` was ever given a token or a certificate here."""
    from cloud.store_wiring import open_database

    database = open_database(settings)
    try:
        with database.read() as connection:
            queries = [select(each.c.station).where(each.c.station == station) for each in (stations, enrol_tokens)]
            return any(connection.execute(query).first() is not None for query in queries)
    finally:
        database.close()


def status(settings: CloudSettings, now: float) -> list[dict[str, Any]]:
    """Return each certificate: kind, subject, state, days left, serial, why it ended. The newest of each subject may be "soon".

    A certificate that a newer one replaced needs nobody's attention.
    """
    folder, rows = open_folder(settings), _rows(settings)
    newest = {(row.kind, row.subject): row.serial for row in rows if row.revoked_at is None}
    lines: list[dict[str, Any]] = []
    for name in ("ca", *(("old-ca",) if folder.has_old() else ()), "cloud-ca"):
        authority = folder.authority(name)
        end = authority.certificate.not_valid_after_utc.timestamp()
        lines.append(_line("authority", name, end, now, authority.fingerprint, wanted=name != "old-ca"))
    for row in rows:
        line = _line(
            row.kind, row.subject, row.not_after, now, row.serial, newest.get((row.kind, row.subject)) == row.serial
        )
        if row.revoked_at is not None:
            line |= {"state": "revoked", "reason": row.reason}
        lines.append(line)
    return lines


def _line(kind: str, subject: str, end: float, now: float, serial: str, wanted: bool) -> dict[str, Any]:
    if not wanted:
        state = "replaced"
    elif end <= now:
        state = "expired"
    else:
        state = "expires soon" if end - now < SOON_S else "good"
    days = round((end - now) / 86_400.0, 1)
    return {"kind": kind, "subject": subject, "state": state, "days_left": days, "serial": serial}


def _issue(folder: ProvisionFolder, desk: Desk, plant: PlantFile) -> None:
    # Until a rotation is finished, some stations know only the old authority.
    signer = "old-ca" if folder.has_old() else "ca"
    desk.issue_server("server", plant.broker_names, "broker/server.pem", signer)
    desk.issue_server("api", plant.api_names, "api.pem", signer)
    desk.issue_cloud(INGEST_USER, "cloud.pem")
    desk.issue_cloud(ADMIN_USER, "admin.pem")


def _names(given: list[str], *default: str) -> tuple[str, ...]:
    wanted = [*given, *(name for name in default if name not in ("", "0.0.0.0", "::")), *LOOPBACK]
    return tuple(dict.fromkeys(wanted))


def _rows(settings: CloudSettings) -> list[CertificateRow]:
    from cloud.store_wiring import open_database

    database = open_database(settings)
    try:
        return Certificates(database).all()
    finally:
        database.close()


def _holders(settings: CloudSettings, issuer: str, now: float) -> set[str]:
    """Return the stations with a certificate of an authority that counts."""
    rows = _rows(settings)
    return {row.subject for row in rows if row.kind == "station" and row.issuer == issuer and row.counts(now)}
