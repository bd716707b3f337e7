"""Puts a station together: the only place where adapters and loops meet (DESIGN 2)."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

from agent.chores import Chores
from agent.cloud_wiring import AGENT_VERSION, CloudSide
from agent.config_wiring import ConfigSide
from agent.health.home_lock import HomeLock
from agent.health.watchdog import ServiceManager
from agent.line_wiring import Line
from agent.mailboxes import Inbox, ReportBox, Switch
from agent.model_wiring import Models
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.samples import SampleSender
from agent.remote_settings import RemoteSettings
from agent.settings import NO_SERVICE, ServiceEnvironment, Settings
from agent.store_wiring import Store
from agent.supervisor import Supervisor
from contract.errors import PlumblineError

if TYPE_CHECKING:
    from agent.api_wiring import LocalApi


class _Loop(Protocol):
    """What a thread turns; `faults` counts the errors that nothing in it foresaw."""

    faults: int

    def run(self, stop: threading.Event) -> None: ...


class Station:
    """A station, put together and not yet running."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        log: Log,
        service: ServiceEnvironment = NO_SERVICE,
        *,
        reread: Callable[[], Settings] | None = None,
        remote: RemoteSettings | None = None,
    ) -> None:
        """Open everything `settings` names; `reread` returns them anew when `reload_asked` is set.

        `remote`: where orders of settings go; None follows none.

        Raises:
            InvalidConfig: a path, a source or a key in it cannot be used, or another agent runs on this home.
            BadBundle: the provisioned bundle is broken.
        """
        self._settings = settings
        self._clock = clock
        self._log = log
        self._roll_rng = random.Random()
        self._reread = reread
        self.reload_asked = threading.Event()
        """Set by a signal handler: [[models]] are read again."""
        self._stopping = threading.Event()
        self._closing = ExitStack()
        with ExitStack() as stack:
            home = settings.home_folder
            stack.callback(HomeLock(home).release)
            self._line = Line(settings, clock, log, stack)
            self.simulated = self._line.simulated
            self._store = Store(settings, clock, log, stack, simulated=self.simulated)
            self.boot = self._store.boot
            switch, inbox, report = Switch(), Inbox(), ReportBox()
            self._models = Models(
                settings, clock, log, stack, switch=switch, memory=self._store.memory(), degrading=self._line.degrading
            )
            self._cameras = self._line.cameras(self._store)
            cloud = CloudSide(
                settings,
                clock,
                log,
                self._store,
                stack,
                roll=self._roll_rng.random,
                simulated=self.simulated,
            )
            self.frame_loop = self._line.frame_loop(self._cameras, self._store, self._models, cloud, stack)
            side = ConfigSide(remote, settings, clock, inbox, report) if remote else None
            arriving, trust = side.inbox if side else inbox, cloud.trust()
            self.uplink_loop = cloud.uplink(arriving, report, self._make_chores)
            self.orders_loop = cloud.orders(arriving, report, self.uplink_loop)
            self.update_loop = cloud.updates(
                trust,
                inbox,
                side.report if side else report,
                switch,
                self._models.slots,
                lambda: remote is not None and remote.store.trial() is not None,
            )
            self.certificate_loop = cloud.renewal()
            self.opinions = cloud.second_opinions(self._models.manifest_of, self._line.is_pressed)
            self._api = self._open_api(stack, report)
            notices = ServiceManager(service.notify_socket, service.watchdog_s, clock)
            notices.goes_on = remote.restart_asked if remote else notices.goes_on
            stack.callback(notices.close)
            self._supervisor = Supervisor(
                self._line.captures,
                self.frame_loop,
                notices,
                clock,
                log,
                wedged_s=settings.line.wedged_s,
                chores=[
                    *(camera.enrolled.save for camera in self._cameras),
                    self._reload,
                    self._models.tell,
                    self._models.settle,
                    lambda: self._line.degrade(self.frame_loop.frames, self._models.beside),
                    self._line.plc.teller(self._store.memory()),
                ],
                why_unsound=self._why_unsound,
            )
            watched = (self._line.meter, self._supervisor, self.uplink_loop)
            self.config_loop = side.loop(lambda: trust.keys.read().keys, *watched) if side and trust else None
            self._closing = stack.pop_all()

    def run(self, stop: threading.Event) -> bool:
        """Run until `stop` is set or every source is exhausted.

        Returns whether the station ended as it should: everything judged was stored, and no stage was beyond help.
        """
        self._store.recorder.start()
        uplink_stop = threading.Event()
        threads = [
            threading.Thread(target=loop.run, args=(uplink_stop,), name=name, daemon=True)
            for name, loop in self._loops_beside().items()
        ]
        for thread in threads:
            thread.start()
        if self._api is not None:
            self._api.start()
        self._stopping = stop
        self._line.plc.begin(stop, self._why_not_ready)
        self._supervisor.run(stop)
        # The line first, then the disk, then the network: what was judged is stored, and what is stored may still be sent.
        stored = self._store.stop(10.0)
        uplink_stop.set()
        for thread in threads:
            thread.join(8.0)
        with suppress(PlumblineError):
            self._line.plc.tell_last()
        self._log.say(f"stopped after {self.frame_loop.frames} frames")
        well = stored and not self._supervisor.failed
        if well:
            with suppress(PlumblineError):
                self._models.ended_well()
                if self.update_loop is not None:
                    self.update_loop.forgive()
        return well

    def close(self) -> None:
        """Close files and let go of the home."""
        self._closing.close()

    def _loops_beside(self) -> dict[str, _Loop]:
        """Return what runs beside the line, by its thread's name."""
        every: dict[str, _Loop | None] = {
            "uplink": self.uplink_loop,
            "orders": self.orders_loop,
            "update": self.update_loop,
            "opinions": self.opinions,
            "settings": self.config_loop,
            "certificate": self.certificate_loop,
            "plc": self._line.plc.loop,
        }
        return {name: loop for name, loop in every.items() if loop is not None}

    def _reload(self) -> None:
        if self._reread is not None and self.reload_asked.is_set():
            self.reload_asked.clear()
            self._models.reload(self._reread)

    def _why_not_ready(self) -> str:
        """Return what keeps the line's controller from triggering parts, "" if nothing."""
        if self._stopping.is_set():
            return "the station stops"
        if self._models.in_charge() is None:
            return "no model is installed"
        if not self._store.recorder.healthy():
            return "results cannot be stored"
        return self._line.meter.why_stalled(self._settings.line.wedged_s, self._settings.plc.camera)

    def _why_unsound(self) -> str:
        if self._store.recorder.corrupt:
            return "the database is damaged; the next start puts it aside"
        return self._models.serving.why_unsound()

    def _make_chores(self, store: Store, sender: SampleSender | None) -> Chores:
        connection = store.connect()
        return Chores(
            self._settings.station,
            store.memory(),
            store.samples(connection),
            sender,
            self._settings.policy.images_leave,
            {camera.name: camera.enrolled for camera in self._cameras},
            self._log,
            {camera.name: camera.guarantee for camera in self._cameras},
        )

    def _open_api(self, stack: ExitStack, report: ReportBox) -> LocalApi | None:
        if self._settings.api.port == 0:
            return None
        from agent.api.station_metrics import StationFigures
        from agent.api_wiring import StationFacts, open_api

        def figures() -> StationFigures:
            loops: dict[str, _Loop] = {"frames": self.frame_loop, **self._loops_beside()}
            reported = report.current()
            return StationFigures(
                AGENT_VERSION,
                self._store.recorder.healthy(),
                reported.update_state if reported else "",
                {name: loop.faults for name, loop in loops.items()},
                self._supervisor.restarts,
                self._models.beside.states(),
                self.uplink_loop.trouble if self.uplink_loop is not None else None,
                self._line.plc.desk.counts() if self._line.plc.desk is not None else None,
                self._line.plc.loop.why_degraded() if self._line.plc.loop is not None else "",
            )

        view = StationFacts(
            self._settings,
            self._clock,
            self._line.meter,
            self._models.slots,
            in_charge=self._models.in_charge,
            stored=self._store.recorder.healthy,
            void=lambda: "; ".join(filter(None, (camera.guarantee.note for camera in self._cameras))),
            figures=figures,
            degrade=lambda: self._line.degrading.figures,
            machine=lambda: self._line.machine_figures,
        )
        api = open_api(self._settings, self._clock, self._log, view, self._line.meter, self._models.manifests)
        if api is not None:
            stack.callback(api.stop, 2.0)
        return api
