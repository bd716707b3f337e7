"""The HTTP side put together: who may ask what, and the sockets it listens on."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from fastapi import FastAPI

from cloud.api.app import make_app
from cloud.api.audit import audit_routes
from cloud.api.auth import Scope
from cloud.api.configuration import configuration_routes
from cloud.api.datasets import dataset_routes
from cloud.api.devices import device_routes
from cloud.api.drift import drift_routes
from cloud.api.enrol import enrol_routes, renew_routes
from cloud.api.fleet import fleet_routes
from cloud.api.idempotency import FirstAnswers
from cloud.api.metrics import Metrics, metrics_routes
from cloud.api.promises import promise_routes
from cloud.api.review import review_routes
from cloud.api.right_tokens import RightTokens
from cloud.api.rollout_acts import RolloutActs
from cloud.api.rollouts import rollout_routes
from cloud.api.stations import station_routes
from cloud.api.versions import version_routes
from cloud.broker.sharded import RunningLink
from cloud.clock import SystemClock
from cloud.config_orders import ConfigOrders
from cloud.dashboard.audit_page import install_audit_page
from cloud.dashboard.cost_lines import cost_lines
from cloud.dashboard.disputes_page import install_disputes
from cloud.dashboard.drift_page import install_drift
from cloud.dashboard.drift_view import DriftBooks
from cloud.dashboard.model_page import install_model_page
from cloud.dashboard.models_page import install_models_page
from cloud.dashboard.pages import install_dashboard
from cloud.dashboard.review_page import ReviewParts, install_review
from cloud.dashboard.review_view import ReviewDesk
from cloud.dashboard.rollout_page import install_rollout_page
from cloud.dashboard.rollouts_page import RolloutDesk, install_rollouts_page
from cloud.dashboard.runbooks_page import install_runbooks_page
from cloud.dashboard.shared_read import SharedRead
from cloud.fallback.service import FallbackService
from cloud.heard_by_http import HeardByHttp
from cloud.improve_loop import ImproveLoop
from cloud.pages_wiring import fleet_pages, make_banners, make_fleet_source
from cloud.people_wiring import Entrance
from cloud.ports.needs import Need
from cloud.promise_wiring import Accounts
from cloud.provision.desk import Desk
from cloud.registry.full_precision import FullPrecisionModels
from cloud.registry.known_labels import KnownLabels
from cloud.registry.release import Registry
from cloud.registry.resign import ResignJob
from cloud.rollout_loop import RolloutLoop
from cloud.settings import CloudSettings
from cloud.store.certificates import Certificates
from cloud.store.drift_traces import DriftTraces
from cloud.store.review_claims import ReviewClaims
from cloud.store.rollout_reading import RolloutReading
from cloud.store.station_history import StationHistory
from cloud.store_wiring import Stores
from cloud.version_wiring import VersionParts
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
    metrics: Metrics,
    opinions: FallbackService,
    accounts: Accounts,
    versions: VersionParts,
    needs: Callable[[], Sequence[Need]],
    why_unwell: Callable[[], str],
    heard: HeardByHttp,
    now: Callable[[], float],
) -> tuple[FastAPI, FastAPI]:
    """Return the application for people (and, without a door of their own, stations), and that of the stations' door."""
    api, guards = settings.api, entrance.guards
    source = make_fleet_source(stores, registry, improve, needs, heard, now)
    reading = RolloutReading(stores.database, heard.fresh)
    rollouts = RolloutDesk(
        reading=reading,
        approvals=stores.rollouts.approvals,
        acts=RolloutActs(rollout, reading.one, now),
        versions=versions.book.to_choose_from,
        now=now,
    )
    choice, claims, traces = KnownLabels(registry).choice, ReviewClaims(stores.database), DriftTraces(stores.database)
    certificates = Certificates(stores.database)
    right_tokens = RightTokens(lambda: certificates.right_tokens(now()), SystemClock().monotonic)
    full_precision, is_token = FullPrecisionModels(registry), stores.stations.is_token

    devices = [
        device_routes(
            tuf_folder=registry.tuf_folder,
            is_token=is_token,
            is_token_for_orders=heard.noting(is_token),
            samples=stores.samples,
            images=registry.blobs,
            opinions=opinions,
            on_image=accounts.meter.image,
            desired_of=rollout.desired_of,
            take_report=lambda report, at: stores.stations.commit((), [report], at),
            now=now,
        ),
    ]
    if desk is not None:
        devices.append(renew_routes(desk, is_token))
    routers = [
        *entrance.routers,
        *([] if api.device_port else devices),
        *([enrol_routes(desk, entrance.limits, right_tokens)] if desk is not None else []),
        review_routes(
            guards=guards,
            samples=stores.samples,
            claims=claims,
            images=registry.blobs,
            choice=choice,
            now=now,
        ),
        fleet_routes(
            guards=guards,
            stations=stores.stations,
            summaries=stores.summaries,
            samples=stores.samples,
            control=rollout,
            drift=improve,
            broker_connected=link.connected,
            now=now,
            repository=resign.status,
        ),
        version_routes(guards, versions.book, versions.desk),
        dataset_routes(guards, versions.datasets),
        promise_routes(
            guards=guards,
            promises=accounts.promises,
            costs=accounts.costs,
            retrains=stores.alarms.retrains,
            now=now,
        ),
        rollout_routes(
            guards=guards,
            reading=rollouts.reading,
            approvals=rollouts.approvals,
            acts=rollouts.acts,
            first_answers=FirstAnswers(),
        ),
        audit_routes(guards=guards, audit=stores.audit),
        drift_routes(
            guards=guards,
            stations=stores.stations,
            alarms=stores.alarms,
            traces=traces,
            drift=improve,
        ),
        station_routes(
            guards=guards,
            fleet=source,
            status=stores.stations.one,
            history=StationHistory(stores.database),
            drift_of=improve.drift_of,
        ),
        configuration_routes(guards=guards, control=configuration),
        metrics_routes(guards, metrics),
    ]
    may_know = lambda request: guards.knows_already(request, Scope.READ)  # noqa: E731
    app = make_app(routers, entrance.rules, metrics.answered, why_unwell, may_know)
    install_rollouts_page(entrance.shell, rollouts)
    install_rollout_page(entrance.shell, rollouts)
    install_models_page(entrance.shell, versions.book, versions.desk)
    install_model_page(entrance.shell, versions.book, versions.desk, versions.datasets)
    install_audit_page(entrance.shell, stores.audit, now)
    install_runbooks_page(entrance.shell)
    entrance.shell.say_at_top(make_banners(stores, link, resign.status, why_unwell, now))
    install_review(
        app,
        entrance.shell,
        guards,
        ReviewParts(
            desk=lambda person: ReviewDesk(
                labeller=person, samples=stores.samples, claims=claims, images=registry.blobs, choice=choice, now=now
            ),
            samples=stores.samples,
            images=registry.blobs,
            choice=choice,
            models=full_precision,
        ),
    )
    install_disputes(entrance.shell, stores.samples, choice, now)
    install_drift(entrance.shell, DriftBooks(improve, stores.alarms, stores.samples, traces, now))
    install_dashboard(
        app,
        entrance.pages,
        fleet_pages(
            entrance.shell,
            source=source,
            stores=stores,
            registry=registry,
            improve=improve,
            rollout=rollout,
            budgets=accounts.promises.budgets,
            costs=SharedRead(lambda: cost_lines(accounts.costs, stores.alarms.retrains(), now()), 30.0, now),
        ),
    )
    return app, make_app(devices, answered=metrics.answered, why_unwell=why_unwell)
