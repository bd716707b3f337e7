"""Everything that `serve` runs, put together."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

import msgspec

from cloud.api_wiring import make_apps
from cloud.clock import SystemClock
from cloud.config_orders import ConfigOrders
from cloud.fallback_figures import FallbackFigures
from cloud.fallback_wiring import make_opinions
from cloud.heard_by_http import HeardByHttp
from cloud.improve_wiring import make_improve_loop
from cloud.ingest_wiring import broker_context, brokers_of, make_arrivals, make_ingest, make_link, make_telemetry
from cloud.loop_counts import LoopCounts
from cloud.mirror_wiring import mirror_or_tell
from cloud.notices_wiring import make_alerts, make_metrics, make_watch
from cloud.people_wiring import make_entrance
from cloud.promise_wiring import make_accounts
from cloud.provision_wiring import make_desk, open_folder
from cloud.registry.keys import load_keys
from cloud.registry.orders import CurrentOrderSigner
from cloud.registry.resign import ResignJob
from cloud.rollout.judge import RolloutPolicy
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.server_figures import EvidenceFigures, ServerFigures
from cloud.settings import CloudSettings
from cloud.store.keeping import Keeping, KeepRules
from cloud.store.rollout_evidence import RolloutEvidenceRows
from cloud.store_wiring import open_registry, open_stores
from cloud.version_wiring import make_version_parts
from contract.errors import PlumblineError

_log = logging.getLogger(__name__)

_TICK_S = 0.5
_LOOK_S = 5.0


class Aggregator:
    """The running cloud: loops in threads, and the HTTP application to be served by the caller."""

    def __init__(self, settings: CloudSettings) -> None:
        clock = SystemClock()
        now = clock.now
        keys = load_keys(settings.path(settings.keys))
        registry = open_registry(settings)
        stores = open_stores(settings)
        self.accounts = make_accounts(settings.promises, stores.database, now)
        arrivals = make_arrivals(len(brokers_of(settings)))
        link = make_link(
            brokers_of(settings),
            settings.broker.client_id,
            arrivals,
            now,
            tls=broker_context(settings),
            channels=settings.ingest.in_serve,
        )
        desk = make_desk(settings, stores.database, now) if open_folder(settings).exists() else None
        orders, watch = CurrentOrderSigner(settings.path(settings.keys)), make_watch(settings, stores, clock)
        heard = HeardByHttp(now)
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
                policy=RolloutPolicy(
                    silence_s=settings.rollout.silence_s,
                    offline_wait_s=settings.rollout.offline_wait_s,
                    soak_s=settings.rollout.soak_s,
                    max_failure=settings.rollout.max_failure,
                    confidence=settings.rollout.confidence,
                ),
                shadow_stations=settings.rollout.shadow_stations,
                canary=settings.rollout.canary,
                strata=settings.rollout.strata,
                max_shift=settings.rollout.max_shift,
                max_latency_ratio=settings.rollout.max_latency_ratio,
                approvals=settings.rollout.approvals,
                windows=settings.rollout.windows,
                hold_on_budget=settings.rollout.hold_on_budget,
                cohorts=settings.drift.cohorts,
            ),
            now=now,
            configurations=stores.configurations,
            order_keys=orders.standing_order_keys,
            stages=stores.versions,
            why_held=self.accounts.promises.why_held,
            evidence=RolloutEvidenceRows(stores.database),
            why_lost=watch.why,
            reached=heard.reached,
        )
        configuration = ConfigOrders(
            configurations=stores.configurations, stations=stores.stations, signer=orders, now=now
        )
        improve = make_improve_loop(settings, stores, registry, keys, link, rollout, clock)
        self._telemetry = make_telemetry(settings)
        self._ingest = make_ingest(settings, arrivals, link, stores.database, clock, self._telemetry)
        self._stores, self._link, self._improve = stores, link, improve
        # The keys are read anew each time: a rotation brings others while this runs.
        keeping = Keeping(stores.database, KeepRules(**msgspec.structs.asdict(settings.keep)))
        resign = ResignJob(lambda: registry.tuf(load_keys(settings.path(settings.keys))), now)
        self.loops = LoopCounts(clock.monotonic)
        alerts = make_alerts(
            settings,
            stores,
            link,
            now,
            watch,
            repository=resign.status,
            promises=self.accounts.promises,
            faults=self.loops.recent_faults,
            heard_by_http=heard.all,
        )
        self._alerts = alerts
        self._stop = threading.Event()
        self._sleep = clock.sleep
        self._threads = [
            # Where workers take messages in, nothing arrives here, and the loop waits for nothing.
            *([self._every(_TICK_S, "ingest", self._ingest.run)] if settings.ingest.in_serve else []),
            self._every(_TICK_S, "improve", improve.tick),
            self._every(_TICK_S, "rollout", rollout.tick),
            self._every(3600.0, "resign", resign.tick),
            self._every(60.0, "settings", configuration.renew),
            *([self._every(600.0, "roles", desk.sync)] if desk is not None else []),
            self._every(5.0, "keeping", lambda: keeping.tick(now())),
            self._every(5.0, "notices", alerts.loop.tick),
            self._every(3600.0, "notices of before", lambda: alerts.prune(now())),
            *(self._every(1.0, f"alerts to {name}", delivery.tick) for name, delivery in alerts.deliveries),
            self._every(_LOOK_S, "database", watch.look),
            self._every(1.0, "database outages", alerts.outages.tick),
            *(self._every(1.0, f"database alerts to {name}", urgent.tick) for name, urgent in alerts.urgent),
            self._every(60.0, "promises", self.accounts.promises.tick),
            self._every(10.0, "costs", self.accounts.meter.flush),
            self._every(300.0, "accounts", self.accounts.tick),
        ]
        if settings.mlflow.tracking_uri:
            # A thread of its own: an MLflow that is slow or away holds nothing up.
            mirror = lambda: mirror_or_tell(settings.mlflow, registry, stores.rollouts.all())  # noqa: E731
            self._threads.append(self._every(300.0, "mirror", mirror))
        entrance = make_entrance(settings, stores, clock, watch.why)
        self._threads.append(self._every(60.0, "failed tries", entrance.tries.tick))
        versions = make_version_parts(settings, stores, registry, now)
        # Released by other processes, and by retrains: each gets its place.
        self._threads.append(self._every(10.0, "stages", versions.desk.adopt))
        figures = ServerFigures(
            loops=self.loops,
            link=link,
            ingest=self._ingest if settings.ingest.in_serve else None,
            arrivals_waiting=arrivals.qsize,
            disks={"the cloud's home": settings.path(".")},
            drift_phases=improve.phases,
            monotonic=clock.monotonic,
            database_away_s=watch.away_s,
        )
        self.faults = 0
        self.opinions = make_opinions(settings.fallback, registry, clock, self.accounts.meter.asked)
        metrics = make_metrics(
            settings,
            stores,
            registry,
            alerts,
            figures,
            EvidenceFigures(lambda: improve.evidence(stores.stations.retired()), watch.why),
            FallbackFigures(self.opinions),
            entrance.pages.refused,
            why_lost=watch.why,
            repository=resign.status,
            promises=self.accounts.promises,
        )
        people, devices = make_apps(
            settings,
            stores,
            registry,
            link,
            rollout,
            improve,
            resign,
            configuration,
            desk,
            entrance,
            metrics,
            self.opinions,
            self.accounts,
            versions,
            alerts.needs.current,
            watch.why,
            heard,
            now,
        )
        around = self._telemetry.around if self._telemetry is not None else lambda app: app
        self.app, self.device_app = around(people), around(devices)

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
        self._alerts.close()
        self.opinions.close()
        self._link.stop()
        with contextlib.suppress(PlumblineError):
            self.accounts.meter.flush()
        self._stores.database.close()
        if self._telemetry is not None:
            self._telemetry.close()

    def _every(self, seconds: float, name: str, tick: Callable[[], object]) -> threading.Thread:
        self.loops.known(name, endless=tick == self._ingest.run)

        def work() -> None:
            while not self._stop.is_set():
                self.loops.begin(name)
                failed = True
                try:
                    tick()
                    failed = False
                except PlumblineError as error:
                    self.faults += 1
                    _log.error("%s: %s", name, error.one_line())
                    # What passes by itself is no fault of the loop.
                    failed = not error.retry
                except Exception:  # noqa: BLE001 - the loop's outermost guard
                    # A fault in one tick must not end the loop for good; it is counted, and the log has all of it.
                    self.faults += 1
                    _log.exception("%s loop failed and goes on", name)
                self.loops.end(name, failed=failed)
                self._stop.wait(seconds)

        return threading.Thread(target=work, name=name, daemon=True)
