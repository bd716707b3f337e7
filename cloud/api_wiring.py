"""The HTTP side put together: who may ask what, and the sockets it listens on."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from fastapi import FastAPI

from cloud.api.app import make_app
from cloud.api.configuration import configuration_routes
from cloud.api.devices import device_routes
from cloud.api.enrol import enrol_routes, renew_routes
from cloud.api.fleet import fleet_routes
from cloud.api.review import review_routes
from cloud.api.stations import station_routes
from cloud.broker.sharded import RunningLink
from cloud.config_orders import ConfigOrders
from cloud.dashboard.pages import install_dashboard
from cloud.improve_loop import ImproveLoop
from cloud.pages_wiring import fleet_pages, make_banners, make_fleet_source
from cloud.people_wiring import Entrance
from cloud.ports.needs import Need
from cloud.provision.desk import Desk
from cloud.registry.full_precision import FullPrecisionModels
from cloud.registry.known_labels import KnownLabels
from cloud.registry.release import Registry
from cloud.registry.resign import ResignJob
from cloud.rollout_loop import RolloutLoop
from cloud.settings import CloudSettings
from cloud.store.review_claims import ReviewClaims
from cloud.store.station_history import StationHistory
from cloud.store_wiring import Stores
from contract.errors import AddressInUse


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket for the HTTP server.

    Raises:
        AddressInUse: another program holds the port, or the address is not this machine's.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        hint = "stop the other program, or set [api] host and port in cloud.toml"
        raise AddressInUse(f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from error
    return listener


def make_apps(
    settings: CloudSettings,
    stores: Stores,
    registry: Registry,
    link: RunningLink,
    rollout: RolloutLoop,
    improve: ImproveLoop,
    resign: ResignJob,
    configuration: ConfigOrders,
    desk: Desk | None,
    entrance: Entrance,
    needs: Callable[[], Sequence[Need]],
    now: Callable[[], float],
) -> tuple[FastAPI, FastAPI]:
    """Return the application for people (and, without a door of their own, stations), and that of the stations' door."""
    api, guards = settings.api, entrance.guards
    source = make_fleet_source(stores, registry, improve, needs, now)

    devices = [
        device_routes(
            tuf_folder=registry.tuf_folder,
            is_token=stores.stations.is_token,
            samples=stores.samples,
            images=registry.blobs,
            full_precision=FullPrecisionModels(registry),
            desired_of=rollout.desired_of,
            take_report=lambda report, at: stores.stations.commit((), [report], at),
            now=now,
        ),
    ]
    if desk is not None:
        devices.append(renew_routes(desk, stores.stations.is_token))
    routers = [
        *entrance.routers,
        *([] if api.device_port else devices),
        *([enrol_routes(desk)] if desk is not None else []),
        review_routes(
            guards=guards,
            samples=stores.samples,
            claims=ReviewClaims(stores.database),
            images=registry.blobs,
            choice=KnownLabels(registry).choice,
            now=now,
        ),
        fleet_routes(
            guards=guards,
            stations=stores.stations,
            summaries=stores.summaries,
            samples=stores.samples,
            alarms=stores.alarms,
            rollouts=stores.rollouts,
            releases=registry.catalog,
            audit=stores.audit,
            control=rollout,
            drift=improve,
            broker_connected=link.connected,
            now=now,
            repository=resign.status,
        ),
        station_routes(
            guards=guards,
            fleet=source,
            status=stores.stations.one,
            history=StationHistory(stores.database),
            drift_of=improve.drift_of,
        ),
        configuration_routes(guards=guards, control=configuration),
    ]
    app = make_app(routers, entrance.rules)
    entrance.shell.say_at_top(make_banners(stores, link, resign.status, now))
    install_dashboard(
        app,
        fleet_pages(entrance.shell, source=source, stores=stores, registry=registry, improve=improve, rollout=rollout),
    )
    return app, make_app(devices)
