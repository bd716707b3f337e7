"""Puts together, from cloud.toml, what provisions stations: for the commands and for the server."""

from __future__ import annotations

import ipaddress
import secrets
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

import msgspec

from cloud.broker.roles import RolesConnection
from cloud.broker.tls import client_context
from cloud.ports.shards import shard_of, split_shard
from cloud.provision.agent_folder import StationPlan, station_files
from cloud.provision.broker_roles import BrokerRoles, Roles
from cloud.provision.desk import Desk
from cloud.provision.folder import ProvisionFolder
from cloud.registry.keys import load_keys
from cloud.registry.release import Registry
from cloud.settings import CloudSettings
from cloud.store.certificates import Certificates
from cloud.store.database import Database
from contract.errors import InvalidConfig

_CLIENT_ID = "plumbline-provision"


def open_folder(settings: CloudSettings) -> ProvisionFolder:
    """Return the folder of the plant's authorities; it may not be there yet."""
    return ProvisionFolder(settings.path(settings.provision.folder))


def make_desk(settings: CloudSettings, database: Database, now: Callable[[], float]) -> Desk:
    """Return the desk at which stations come by certificates."""
    folder = open_folder(settings)
    brokers = settings.broker.shards or (f"{settings.broker.host}:{settings.broker.port}",)

    def connection(address: str) -> Callable[[], AbstractContextManager[Roles]]:
        host, _, port = address.rpartition(":")

        def connect() -> AbstractContextManager[Roles]:
            tls = client_context(folder.trust, folder.path / "admin.pem", folder.path / "admin.pem")
            # An id of its own each time: two at once, in two containers too, must not end each other's connection.
            return RolesConnection(host.strip("[]"), int(port), tls, f"{_CLIENT_ID}-{secrets.token_hex(8)}")

        return connect

    return Desk(
        folder,
        Certificates(database),
        BrokerRoles(folder, [connection(each) for each in brokers]),
        lambda station: files_of(settings, station),
        days=settings.provision.days,
        now=now,
        reserved=frozenset((settings.broker.client_id, _CLIENT_ID)),
    )


def files_of(settings: CloudSettings, station: str) -> dict[str, str]:
    """Return a station's agent.toml and trust anchors.

    Raises:
        InvalidConfig: a station could not reach the addresses in cloud.toml.
    """
    settings.check_no_cohort(station)
    keys = load_keys(settings.path(settings.keys))
    root = Registry(settings.path("registry")).tuf(keys).root()
    pinned = [msgspec.json.encode(key) for key in keys.order_keys()]
    return station_files(station, station_plan(settings, station), root, pinned)


def station_plan(settings: CloudSettings, station: str) -> StationPlan:
    """Return how `station` reaches this cloud, and the broker that is its own.

    Raises:
        InvalidConfig: they cannot reach the address in cloud.toml.
    """
    if not settings.api.public_url and settings.api.host in ("0.0.0.0", "::"):
        hint = 'set [api] public_url in cloud.toml, e.g. "http://10.0.0.5:8080"'
        raise InvalidConfig(f"a station cannot reach the address {settings.api.host}", hint=hint)
    folder, url = open_folder(settings), settings.api.public_url or settings.api.url()
    if settings.api.device_port:
        url = f"https://{_bracketed(urlsplit(url).hostname or settings.api.host)}:{settings.api.device_port}"
    tls = bool(settings.broker.ca_file) and folder.exists()
    shards = settings.broker.shards
    if shards:
        # By its place: where stations reach a broker is seldom where the cloud does.
        seen_as = settings.broker.public_shards or shards
        host, port = split_shard(seen_as[shards.index(shard_of(station, shards))])
        return StationPlan(host, port, url, tls=tls)
    if not tls:
        return StationPlan(settings.broker.host, settings.broker.port, url, tls=False)
    plant = folder.plant()
    return StationPlan(plant.broker_names[0], plant.station_port, url, tls=True)


def people_context(settings: CloudSettings) -> ssl.SSLContext | None:
    """Return the context of the door for people, None for plain HTTP.

    Raises:
        InvalidConfig: [api] cert_file or key_file cannot be used.
    """
    from cloud.api.doors import server_context

    api = settings.api
    return server_context(settings.path(api.cert_file), settings.path(api.key_file)) if api.cert_file else None


def stations_context(settings: CloudSettings) -> ssl.SSLContext:
    """Return the context of the door for stations.

    Raises:
        InvalidConfig: device_port is set without the files that it needs, or one cannot be used.
    """
    from cloud.api.doors import device_context

    api = settings.api
    if not (api.cert_file and api.key_file and api.client_ca_file):
        hint = "set cert_file, key_file and client_ca_file too, or device_port = 0"
        raise InvalidConfig("[api] device_port needs certificates", hint=hint)
    certificate, key, authorities = (settings.path(f) for f in (api.cert_file, api.key_file, api.client_ca_file))
    return device_context(certificate, key, authorities, open_folder(settings).crl)


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
