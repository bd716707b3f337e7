"""Everything of the cloud put together: the one file that knows every part."""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from cloud.api.app import make_app
from cloud.api.auth import Role
from cloud.api.configuration import configuration_routes
from cloud.api.devices import device_routes
from cloud.api.fleet import fleet_routes
from cloud.api.review import review_routes
from cloud.broker.mqtt import MqttLink
from cloud.clock import SystemClock
from cloud.config_orders import ConfigOrders
from cloud.dashboard.fleet_view import fleet_view
from cloud.dashboard.pages import install_dashboard
from cloud.improve_loop import ImproveLoop, ImproveRules, Stored
from cloud.ingest_loop import IngestLoop
from cloud.label_watch import LabelWatch
from cloud.ports.link import Arrival
from cloud.registry.bundle import open_bundle
from cloud.registry.catalog import ReleasedVersion, ReleaseState
from cloud.registry.full_precision import FullPrecisionModels
from cloud.registry.held_out_records import HeldOutRecords
from cloud.registry.keys import Keys, load_keys
from cloud.registry.orders import CurrentOrderSigner
from cloud.registry.release import Registry
from cloud.registry.resign import ResignJob
from cloud.review.retrain_policy import RetrainPolicy
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.settings import CloudSettings
from cloud.store.alarms import Alarms
from cloud.store.answer_states import AnswerStates
from cloud.store.audit import AuditLog
from cloud.store.batches import Batches
from cloud.store.commands import Commands
from cloud.store.configurations import Configurations
from cloud.store.database import Database
from cloud.store.home_lock import HomeLock
from cloud.store.rollouts import Rollouts
from cloud.store.samples import Samples
from cloud.store.stations import Stations
from cloud.store.summaries import Summaries
from contract.errors import AddressInUse, InvalidConfig, PlumblineError

_log = logging.getLogger(__name__)

# About a minute of 10,000 stations' summaries; beyond that the broker keeps them.
_ARRIVALS = 2_000
_TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class Stores:
    """Every table, by what it is about."""

    database: Database
    stations: Stations
    batches: Batches
    summaries: Summaries
    samples: Samples
    alarms: Alarms
    answers: AnswerStates
    rollouts: Rollouts
    configurations: Configurations
    commands: Commands
    audit: AuditLog


def lock_home(settings: CloudSettings) -> HomeLock:
    """Take the home for this aggregator alone.

    Raises:
        InvalidConfig: another one has it, or it cannot be written.
    """
    return HomeLock(settings.path("."))


def open_stores(settings: CloudSettings) -> Stores:
    """Open the database.

    Raises:
        InvalidConfig: the home folder cannot be written, or the database cannot be opened.
    """
    try:
        settings.path(".").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "set `home` in cloud.toml to a folder that may be written"
        raise InvalidConfig(f"cannot write in {settings.path('.')}: {error.strerror}", hint=hint) from error
    database = Database(settings.database_url())
    return Stores(
        database=database,
        stations=Stations(database),
        batches=Batches(database),
        summaries=Summaries(database),
        samples=Samples(database),
        alarms=Alarms(database),
        answers=AnswerStates(database),
        rollouts=Rollouts(database),
        configurations=Configurations(database),
        commands=Commands(database),
        audit=AuditLog(database),
    )


def open_registry(settings: CloudSettings) -> Registry:
    """Return the registry of released versions."""
    return Registry(settings.path("registry"))


def make_releaser(settings: CloudSettings, keys: Keys) -> Any:
    """Return what releases runs into the registry."""
    from cloud.retrain.release_run import RunReleaser  # loads numpy and the run folder's reader

    return RunReleaser(open_registry(settings), keys, settings.path("runs"), SystemClock().now)


def release_run(
    settings: CloudSettings, run: Path, version: str, override_gate: str, actor: str, retire_older: str = ""
) -> ReleasedVersion:
    """Release a run and put it on record.

    `retire_older`: why no bundle released before may ever run again on a station that committed this one; "" for an ordinary
    release.
    """
    releaser = make_releaser(settings, load_keys(settings.path(settings.keys)))
    stores = open_stores(settings)
    running = [status.bundle for status in stores.stations.status() if status.bundle]
    released: ReleasedVersion = releaser.release(
        run, version, override_gate, running=running, raise_counter=bool(retire_older)
    )
    why = f", gate overridden: {override_gate}" if override_gate else ""
    why += f", older bundles must never run again: {retire_older}" if retire_older else ""
    act = "stage" if released.state is ReleaseState.STAGED else "release"
    stores.audit.append(SystemClock().now(), actor, act, f"{version}: bundle {released.digest[:12]}{why}")
    stores.database.close()
    return released


class Aggregator:
    """The running cloud: loops in threads, and the HTTP application to be served by the caller."""

    def __init__(self, settings: CloudSettings) -> None:
        clock = SystemClock()
        now = clock.now
        keys = load_keys(settings.path(settings.keys))
        registry = open_registry(settings)
        stores = open_stores(settings)
        arrivals: queue.Queue[Arrival] = queue.Queue(_ARRIVALS)
        link = MqttLink(settings.broker.host, settings.broker.port, settings.broker.client_id, arrivals, now)
        orders = CurrentOrderSigner(settings.path(settings.keys))
        rollout = RolloutLoop(
            rollouts=stores.rollouts,
            stations=stores.stations,
            releases=registry.catalog,
            signer=orders,
            link=link,
            settings=RolloutSettings(
                wave_shares=settings.rollout.wave_shares,
                probation_frames=settings.rollout.probation_frames,
                min_agreement=settings.rollout.min_agreement,
                probation_timeout_s=settings.rollout.probation_timeout_s,
                shadow_share=settings.rollout.shadow_share,
                max_mix_shift=settings.rollout.max_mix_shift,
                max_memory_mib=settings.rollout.max_memory_mib,
                serve_s=settings.rollout.serve_s,
                policy=RolloutPolicy(silence_s=settings.rollout.silence_s),
            ),
            now=now,
            configurations=stores.configurations,
            order_keys=orders.standing_order_keys,
        )
        configuration = ConfigOrders(
            configurations=stores.configurations, stations=stores.stations, signer=orders, now=now
        )
        improve = make_improve_loop(settings, stores, registry, keys, link, rollout, clock)
        self._ingest = IngestLoop(arrivals, link, stores.batches.commit, now, clock.sleep)
        self._stores, self._link, self._improve = stores, link, improve
        # The keys are read anew each time: a rotation brings others while this runs.
        resign = ResignJob(lambda: registry.tuf(load_keys(settings.path(settings.keys))), now)
        self._stop = threading.Event()
        self._sleep = clock.sleep
        self._threads = [
            self._every(_TICK_S, "ingest", self._ingest.run),
            self._every(_TICK_S, "improve", improve.tick),
            self._every(_TICK_S, "rollout", rollout.tick),
            self._every(3600.0, "resign", resign.tick),
            self._every(60.0, "settings", configuration.renew),
        ]
        self.faults = 0
        self.app = _make_app(settings, stores, registry, link, rollout, improve, resign, configuration, now)

    def start(self) -> None:
        """Start the loops."""
        self._link.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the loops and close the database."""
        self._stop.set()
        self._ingest.stop()
        for thread in self._threads:
            thread.join(10.0)
        self._improve.close()
        self._link.stop()
        self._stores.database.close()

    def _every(self, seconds: float, name: str, tick: Callable[[], object]) -> threading.Thread:
        def work() -> None:
            while not self._stop.is_set():
                try:
                    tick()
                except PlumblineError as error:
                    self.faults += 1
                    _log.error("%s: %s", name, error.one_line())
                except Exception:  # noqa: BLE001 - the loop's outermost guard
                    # A fault in one tick must not end the loop for good; it is counted, and the log has all of it.
                    self.faults += 1
                    _log.exception("%s loop failed and goes on", name)
                self._stop.wait(seconds)

        return threading.Thread(target=work, name=name, daemon=True)


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


def make_improve_loop(
    settings: CloudSettings,
    stores: Stores,
    registry: Registry,
    keys: Keys,
    link: MqttLink,
    rollout: RolloutLoop,
    clock: SystemClock,
) -> ImproveLoop:
    """Return the loop from drift to retrain."""
    from cloud.retrain.pipeline import Pipeline

    for name in stores.stations.names():
        settings.check_no_cohort(name)
    releaser = make_releaser(settings, keys)
    pipeline = Pipeline(
        stores.alarms, registry.blobs, releaser, settings.path("work"), clock.now, settings.retrain.warm_pull
    )
    rules = ImproveRules(
        labels_per_alarm=settings.review.labels_per_alarm,
        audit_share=settings.review.audit_share,
        ask_again_s=settings.review.ask_again_s,
        automatic=settings.retrain.automatic,
        retrain=RetrainPolicy(
            labels=settings.review.labels_per_alarm,
            min_accuracy=settings.retrain.min_accuracy,
            enough_anyway_s=settings.retrain.enough_anyway_s,
            every_s=settings.retrain.every_days * 86_400.0,
            cooldown_s=settings.retrain.cooldown_h * 3_600.0,
        ),
        routine_per_day=settings.review.routine_per_day,
    )
    return ImproveLoop(
        stored=Stored(
            stations=stores.stations,
            summaries=stores.summaries,
            alarms=stores.alarms,
            samples=stores.samples,
            commands=stores.commands,
            rollouts=stores.rollouts,
            audit=stores.audit,
        ),
        releases=registry.catalog,
        carry_out=pipeline.carry_out,
        start_rollout=rollout.start,
        link=link,
        labels=LabelWatch(
            samples=stores.samples, states=stores.answers, records=HeldOutRecords(registry), alarms=stores.alarms
        ),
        policy=settings.drift_policy(),
        rules=rules,
        now=clock.now,
        cohorts=settings.drift.cohorts,
    )


def _make_app(
    settings: CloudSettings,
    stores: Stores,
    registry: Registry,
    link: MqttLink,
    rollout: RolloutLoop,
    improve: ImproveLoop,
    resign: ResignJob,
    configuration: ConfigOrders,
    now: Callable[[], float],
) -> FastAPI:
    api = settings.api
    tokens = {
        Role.OPERATOR: settings.token(api.operator_token_file),
        Role.INSPECTOR: settings.token(api.inspector_token_file),
    }

    def known_labels() -> list[str]:
        newest = registry.catalog.all()
        if not newest:
            return []
        manifest, _ = open_bundle(registry.blobs.path(newest[0].digest))
        return [label.name for label in manifest.labels]

    routers = [
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
        review_routes(tokens=tokens, samples=stores.samples, images=registry.blobs, known_labels=known_labels, now=now),
        fleet_routes(
            tokens=tokens,
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
        configuration_routes(tokens=tokens, control=configuration),
    ]
    on_loopback = api.host in ("127.0.0.1", "::1", "localhost")
    app = make_app(routers, None if on_loopback else tokens[Role.OPERATOR])
    install_dashboard(
        app,
        lambda: fleet_view(
            stations=stores.stations,
            summaries=stores.summaries,
            samples=stores.samples,
            alarms=stores.alarms,
            rollouts=stores.rollouts,
            releases=registry.catalog,
            audit=stores.audit,
            drift_of=improve.drift_of,
            broker_connected=link.connected(),
            now=now(),
            repository=resign.status(),
        ),
    )
    return app
