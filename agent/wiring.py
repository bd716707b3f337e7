"""Puts a station together: the only place where adapters and loops meet (DESIGN 2)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.api.meter import LineMeter
from agent.asking import Asking
from agent.camera_line import CameraLine
from agent.capture import Capture, Captures
from agent.chores import Chores
from agent.cloud_wiring import AGENT_VERSION, CloudSide
from agent.config_wiring import ConfigSide
from agent.decide.budget import Budget
from agent.decide.causes import Drop
from agent.decide.degrade import LadderRules
from agent.decide.frame_faults import FrameFaults
from agent.decide.heat import HeatRules
from agent.decide.sampling import Sampler
from agent.degrading import Degrading
from agent.enrolled import Enrolled
from agent.frame_loop import FrameLoop, LineRules
from agent.guarantee import Guarantee
from agent.health.clock_sync import clock_synced
from agent.health.disk import disk_room
from agent.health.home_lock import HomeLock
from agent.health.power import PowerSensors
from agent.health.process_memory import process_memory_mib
from agent.health.station_health import health_note
from agent.health.thermal import ThermalSensors
from agent.health.watchdog import ServiceManager
from agent.mailboxes import Inbox, ReportBox, Switch
from agent.model_wiring import Models
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.policy import ImagesLeave
from agent.ports.samples import SampleSender
from agent.ports.slots import InstalledBundle
from agent.ports.source import FrameSource
from agent.ports.tracing import BeginSpan
from agent.remote_settings import RemoteSettings
from agent.settings import NO_SERVICE, ServiceEnvironment, Settings
from agent.settings_keys import SourceSettings
from agent.slots.unpacked import open_archive, open_folder
from agent.source_wiring import open_source
from agent.store.outbox_count import OutboxCount
from agent.store_wiring import Store
from agent.supervisor import Supervisor
from agent.windows import WindowRules
from contract.errors import BadBundle, PlumblineError

if TYPE_CHECKING:
    from agent.api_wiring import LocalApi

_ASK_LEAST_S = 0.02
# Of the deadline: beyond it the line needs every core for itself.
_PRESSED_SHARE = 0.5


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
        self._rng = np.random.default_rng()
        self._roll_rng = np.random.default_rng()
        self._trace_rng = np.random.default_rng()
        self._reread = reread
        self.reload_asked = threading.Event()
        """Set by a signal handler: [[models]] are read again."""
        self._closing = ExitStack()
        with ExitStack() as stack:
            home = settings.home_folder
            stack.callback(HomeLock(home).release)
            self._meter = LineMeter(clock, self._left_out)
            self._degrading = self._make_degrading()
            sources = {"": settings.source, **{camera.name: camera for camera in settings.cameras}}
            self._captures = Captures([self._capture(*each, stack) for each in sources.items()])
            self.simulated = any(capture.simulated for capture in self._captures)
            self._store = Store(settings, clock, log, stack, simulated=self.simulated)
            self.boot = self._store.boot
            switch, inbox, report = Switch(), Inbox(), ReportBox()
            self._models = Models(
                settings, clock, log, stack, switch=switch, memory=self._store.memory(), degrading=self._degrading
            )
            self._cameras = [self._camera_line(capture) for capture in self._captures]
            cloud = CloudSide(
                settings,
                clock,
                log,
                self._store,
                stack,
                roll=lambda: float(self._roll_rng.random()),
                simulated=self.simulated,
            )
            begin_span = self._make_spans(stack)
            self.frame_loop = self._make_frame_loop(cloud, begin_span)
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
            self.opinions = cloud.second_opinions(self._models.manifest_of, self._line_is_pressed)
            self._api = self._open_api(stack, report)
            notices = ServiceManager(service.notify_socket, service.watchdog_s, clock)
            notices.goes_on = remote.restart_asked if remote else notices.goes_on
            stack.callback(notices.close)
            self._supervisor = Supervisor(
                self._captures,
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
                    self._degrade,
                ],
                why_unsound=self._why_unsound,
            )
            watched = (self._meter, self._supervisor, self.uplink_loop)
            self.config_loop = side.loop(lambda: trust.keys.read().keys, *watched) if side and trust else None
            self._closing = stack.pop_all()

    def run(self, stop: threading.Event) -> bool:
        """Run until `stop` is set or every source is exhausted.

        Returns whether the station ended as it should: everything judged was stored, and no stage was beyond help.
        """
        self._store.recorder.start()
        uplink_stop = threading.Event()
        loops = {
            "uplink": self.uplink_loop,
            "orders": self.orders_loop,
            "update": self.update_loop,
            "opinions": self.opinions,
            "settings": self.config_loop,
            "certificate": self.certificate_loop,
        }
        threads = [
            threading.Thread(target=loop.run, args=(uplink_stop,), name=name, daemon=True)
            for name, loop in loops.items()
            if loop is not None
        ]
        for thread in threads:
            thread.start()
        if self._api is not None:
            self._api.start()
        self._supervisor.run(stop)
        # The line first, then the disk, then the network: what was judged is stored, and what is stored may still be sent.
        stored = self._store.stop(10.0)
        uplink_stop.set()
        for thread in threads:
            thread.join(8.0)
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

    def _reload(self) -> None:
        if self._reread is not None and self.reload_asked.is_set():
            self.reload_asked.clear()
            self._models.reload(self._reread)

    def _left_out(self, camera: str) -> int:
        dropped = self._captures.dropped(camera)
        return dropped.get(Drop.BACKLOG.value, 0) + dropped.get(Drop.SKIPPED.value, 0)

    def _why_unsound(self) -> str:
        if self._store.recorder.corrupt:
            return "the database is damaged; the next start puts it aside"
        return self._models.serving.why_unsound()

    def _capture(self, name: str, source: SourceSettings, stack: ExitStack) -> Capture:
        def opened() -> FrameSource:
            return self._meter.source(open_source(self._settings, self._clock, source), name)

        capture = Capture(
            name,
            opened(),
            opened,
            self._clock,
            room=self._settings.line.queue,
            judge_one_in=lambda: self._degrading.judge_one_in,
        )
        stack.callback(capture.close, 2.0)
        return capture

    def _make_degrading(self) -> Degrading:
        keys = self._settings.degrade
        rules = LadderRules(
            climb_after_s=keys.climb_s,
            relief_s=keys.relief_s,
            backlog_share=keys.backlog,
            heat=HeatRules(hot_c=keys.hot_c),
        )
        power = PowerSensors(low_battery=keys.battery)
        return Degrading(rules, self._log, heat=ThermalSensors().look, power_trouble=power.trouble)

    def _degrade(self) -> None:
        if not self._settings.degrade.enabled:
            return
        counts = [capture.dropped() for capture in self._captures]
        dropped = sum(c.get(Drop.BACKLOG.value, 0) + c.get(Drop.SUPERSEDED.value, 0) for c in counts)
        self._degrading.tick(self._clock.monotonic(), self.frame_loop.frames + dropped, dropped)

    def _camera_line(self, capture: Capture) -> CameraLine:
        settings, name = self._settings, capture.name
        policy, line = settings.policy, settings.line
        return CameraLine(
            name,
            Enrolled(self._store.memory(), self._log, frames_needed=settings.enrol.frames, camera=name),
            Sampler(self._rng, audit_rate=policy.audit_rate, doubtful_per_window=policy.doubtful_per_window),
            FrameFaults(blank_sd=line.blank_sd, frozen_after=line.frozen_after),
            Guarantee(self._store.memory(), self._log, ask=policy.images_leave is ImagesLeave.REQUESTED, camera=name),
            next_window=self._store.next_window[name],
            simulated=capture.simulated,
        )

    def _make_spans(self, stack: ExitStack) -> BeginSpan:
        settings = self._settings
        if not settings.trace.endpoint:
            return lambda _frame, _camera: None
        from agent.telemetry import Telemetry  # OpenTelemetry is an extra

        made = Telemetry(
            settings.station,
            AGENT_VERSION,
            endpoint=settings.trace.endpoint,
            share=settings.trace.share,
            roll=lambda: float(self._trace_rng.random()),
        )
        stack.callback(made.close)
        return made.begin

    def _make_frame_loop(self, cloud: CloudSide, begin_span: BeginSpan) -> FrameLoop:
        settings, policy = self._settings, self._settings.policy
        deadline_ms = settings.line.deadline_ms
        asking = Asking(
            cloud.fallback(self._models.in_charge, self._captures.wake),
            Budget.full(policy.fallback_burst, policy.fallback_per_s, self._clock.monotonic()),
            self._clock,
            deadline_ms=deadline_ms,
            least_s=_ASK_LEAST_S,
            allowed=lambda: self._degrading.second_opinions,
        )
        waiting = OutboxCount(self._store.connect())
        windows = WindowRules(
            station=settings.station,
            frames=settings.windows.frames,
            seconds=settings.windows.seconds,
            sketch=settings.windows.sketch,
            clock_synced=lambda: clock_synced(self._clock.now()),
            shadow=self._models.serving.take_shadow,
            health=lambda: health_note(
                self._degrading.figures, process_memory_mib(), disk_room(settings.home_folder), waiting()
            ),
            notes=self._degrading.note_of_window if len(self._cameras) == 1 else lambda: self._degrading.note,
        )
        return FrameLoop(
            self._captures,
            self._cameras,
            self._models.serving,
            asking,
            self._meter.recorder(self._store.recorder),
            self._clock,
            self._log,
            LineRules(lambda: self._store.boot, deadline_ms, windows),
            beside=self._models.beside,
            begin_span=begin_span,
        )

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

    def _line_is_pressed(self) -> bool:
        pressed = self._meter.recent_latency_ms > self._settings.line.deadline_ms * _PRESSED_SHARE
        return pressed or not self._degrading.second_opinions

    def _open_api(self, stack: ExitStack, report: ReportBox) -> LocalApi | None:
        if self._settings.api.port == 0:
            return None
        from agent.api.station_metrics import StationFigures
        from agent.api_wiring import StationFacts, open_api

        def figures() -> StationFigures:
            loops = {
                "frames": self.frame_loop,
                "uplink": self.uplink_loop,
                "orders": self.orders_loop,
                "update": self.update_loop,
                "opinions": self.opinions,
                "settings": self.config_loop,
                "certificate": self.certificate_loop,
            }
            reported = report.current()
            return StationFigures(
                AGENT_VERSION,
                self._store.recorder.healthy(),
                reported.update_state if reported else "",
                {name: loop.faults for name, loop in loops.items() if loop is not None},
                self._supervisor.restarts,
                self._models.beside.states(),
                self.uplink_loop.trouble if self.uplink_loop is not None else None,
            )

        view = StationFacts(
            self._settings,
            self._clock,
            self._meter,
            self._models.slots,
            in_charge=self._models.in_charge,
            stored=self._store.recorder.healthy,
            void=lambda: "; ".join(filter(None, (camera.guarantee.note for camera in self._cameras))),
            figures=figures,
            degrade=lambda: self._degrading.figures,
        )
        api = open_api(self._settings, self._clock, self._log, view, self._meter, self._models.manifests)
        if api is not None:
            stack.callback(api.stop, 2.0)
        return api


def open_bundle(path: Path, scratch: Path) -> InstalledBundle:
    """Return the bundle at `path`, a .plb archive (unpacked below `scratch`) or an unpacked folder, every hash checked.

    Raises:
        NotFound: there is none.
        BadBundle: it is torn, or does not match its hashes.
    """
    try:
        return open_folder(path) if path.is_dir() else open_archive(path, scratch / "bundle")
    except BadBundle as error:
        raise BadBundle(f"bundle '{path}': {error.message}", hint=error.hint or "fetch or make it again") from error
