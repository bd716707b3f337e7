"""Puts the frame line together: cameras read ahead, what is given up under heat or backlog, the loop that judges, its traces."""

from __future__ import annotations

import random
from contextlib import ExitStack

from agent.api.meter import LineMeter
from agent.asking import Asking
from agent.beside import BesideModels
from agent.camera_line import CameraLine
from agent.capture import Capture, Captures
from agent.cloud_wiring import AGENT_VERSION, CloudSide
from agent.decide.budget import Budget
from agent.decide.causes import Drop
from agent.decide.degrade import LadderRules
from agent.decide.frame_faults import FrameFaults
from agent.decide.heat import HeatRules
from agent.decide.sampling import Sampler
from agent.decide.unfamiliar import RefusedOfLate
from agent.degrading import Degrading
from agent.enrolled import Enrolled
from agent.frame_loop import FrameLoop, LineRules
from agent.guarantee import Guarantee
from agent.health.clock_sync import clock_synced
from agent.health.disk import disk_room
from agent.health.linux_machine import LinuxMachine
from agent.health.process_memory import process_memory_mib
from agent.health.station_health import health_note
from agent.model_wiring import Models
from agent.plc_wiring import Plc
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.machine import Machine, MachineFigures
from agent.ports.policy import ImagesLeave
from agent.ports.source import FrameSource
from agent.ports.tracing import BeginSpan
from agent.settings import Settings
from agent.settings_keys import SourceSettings
from agent.source_wiring import open_source
from agent.store.outbox_count import OutboxCount
from agent.store_wiring import Store
from agent.windows import LEAST_OF_NO_ONE, WindowRules

_ASK_LEAST_S = 0.02
# Of the deadline: beyond it the line needs every core for itself.
_PRESSED_SHARE = 0.5
# Rails answer over a slow bus, and a disk does not wear by the second.
_FIGURES_EVERY_S = 30.0


class Line:
    """The station's cameras, and what their frames go through."""

    def __init__(self, settings: Settings, clock: Clock, log: Log, stack: ExitStack) -> None:
        """Open every camera; `stack` closes them.

        Raises:
            InvalidConfig: one cannot be opened.
        """
        self._settings = settings
        self._clock = clock
        self._log = log
        self._rng = random.Random()
        self._trace_rng = random.Random()
        self.meter = LineMeter(clock, self._left_out)
        self._machine: Machine = LinuxMachine(low_battery=settings.degrade.battery)
        self._figures_s = clock.monotonic()
        self.machine_figures: MachineFigures = self._machine.figures()
        """What the machine's slower sensors said of late."""
        self.degrading = self._make_degrading()
        self.plc = Plc(settings, clock, log)
        stack.callback(self.plc.close)
        sources = {"": settings.source, **{camera.name: camera for camera in settings.cameras}}
        self.captures = Captures([self._capture(*each, stack) for each in sources.items()])
        self.simulated = any(capture.simulated for capture in self.captures)

    def cameras(self, store: Store) -> list[CameraLine]:
        """Return what is known of each camera, with its memory in `store`."""
        return [self._camera_line(capture, store) for capture in self.captures]

    def frame_loop(
        self, cameras: list[CameraLine], store: Store, models: Models, cloud: CloudSide, stack: ExitStack
    ) -> FrameLoop:
        """Return the loop that judges the frames of `cameras`; `stack` ends its traces."""
        settings, policy = self._settings, self._settings.policy
        deadline_ms = settings.line.deadline_ms
        asking = Asking(
            cloud.fallback(models.in_charge, self.captures.wake),
            Budget.full(policy.fallback_burst, policy.fallback_per_s, self._clock.monotonic()),
            self._clock,
            deadline_ms=deadline_ms,
            least_s=_ASK_LEAST_S,
            allowed=lambda: self.degrading.second_opinions,
        )
        for capture, camera in zip(self.captures, cameras, strict=True):
            capture.look_ahead = camera.look_ahead
        waiting, refused = OutboxCount(store.connect()), RefusedOfLate()
        windows = WindowRules(
            station=settings.station,
            frames=settings.windows.frames,
            seconds=settings.windows.seconds,
            sketch=settings.windows.sketch,
            least_sketched=LEAST_OF_NO_ONE if settings.policy.images_leave is ImagesLeave.NEVER else 0,
            clock_synced=lambda: clock_synced(self._clock.now()),
            shadow=models.serving.take_shadow,
            health=lambda: health_note(
                self.degrading.figures,
                process_memory_mib(),
                disk_room(settings.home_folder),
                waiting(),
                self.machine_figures,
                refused.share(),
            ),
            refused=refused,
            notes=self.degrading.note_of_window if len(cameras) == 1 else lambda: self.degrading.note,
        )
        return FrameLoop(
            self.captures,
            cameras,
            models.serving,
            asking,
            # The meter first: whether the camera works is then known as the controller is told.
            self.plc.recorder(self.meter.recorder(store.recorder), store.recorder),
            self._clock,
            self._log,
            LineRules(lambda: store.boot, deadline_ms, windows),
            beside=models.beside,
            begin_span=self._spans(stack),
            on_model=self.plc.look_again,
            last_call=self.plc.last_call,
        )

    def degrade(self, judged: int, beside: BesideModels) -> None:
        """Look at heat, power, memory and backlog, now that `judged` frames have had their verdict; give up or take up `beside`."""
        now_s = self._clock.monotonic()
        if not 0.0 <= now_s - self._figures_s < _FIGURES_EVERY_S:
            self._figures_s, self.machine_figures = now_s, self._machine.figures()
        if not self._settings.degrade.enabled:
            return
        counts = [capture.dropped() for capture in self.captures]
        dropped = sum(c.get(Drop.BACKLOG.value, 0) + c.get(Drop.SUPERSEDED.value, 0) for c in counts)
        self.degrading.tick(now_s, judged + dropped, dropped, has_beside=beside.any_wanted)
        beside.give_up(not self.degrading.models_beside)

    def is_pressed(self) -> bool:
        """Return whether the line needs the machine for itself, so that nobody is asked for opinions afterwards."""
        pressed = self.meter.recent_latency_ms > self._settings.line.deadline_ms * _PRESSED_SHARE
        return pressed or not self.degrading.second_opinions

    def _left_out(self, camera: str) -> int:
        dropped = self.captures.dropped(camera)
        return dropped.get(Drop.BACKLOG.value, 0) + dropped.get(Drop.SKIPPED.value, 0)

    def _capture(self, name: str, source: SourceSettings, stack: ExitStack) -> Capture:
        def opened() -> FrameSource:
            opened = open_source(self._settings, self._clock, source)
            triggered = self.plc.source(opened, name, source, lambda: self.meter.saw(name))
            return self.meter.source(triggered, name)

        capture = Capture(
            name,
            opened(),
            opened,
            self._clock,
            room=self.plc.room(name, self._settings.line.queue),
            # A part that the controller asks about is never skipped: it would be ejected.
            judge_one_in=lambda: 1 if self.plc.triggers(name) else self.degrading.judge_one_in,
            missed=lambda: self.plc.missed(name),
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
        machine = self._machine
        return Degrading(
            rules, self._log, heat=machine.heat, power_trouble=machine.power_trouble, memory=machine.memory
        )

    def _camera_line(self, capture: Capture, store: Store) -> CameraLine:
        settings, name = self._settings, capture.name
        policy, line = settings.policy, settings.line
        return CameraLine(
            name,
            Enrolled(
                store.memory(),
                self._log,
                frames_needed=settings.enrol.frames,
                camera=name,
                unfamiliar_rate=line.unfamiliar,
            ),
            Sampler(self._rng, audit_rate=policy.audit_rate, doubtful_per_window=policy.doubtful_per_window),
            FrameFaults(blank_sd=line.blank_sd, frozen_after=line.frozen_after),
            Guarantee(store.memory(), self._log, ask=policy.images_leave is ImagesLeave.REQUESTED, camera=name),
            next_window=store.next_window[name],
            simulated=capture.simulated,
        )

    def _spans(self, stack: ExitStack) -> BeginSpan:
        settings = self._settings
        if not settings.trace.endpoint:
            return lambda _frame, _camera: None
        from agent.telemetry import Telemetry  # OpenTelemetry is an extra

        made = Telemetry(
            settings.station,
            AGENT_VERSION,
            endpoint=settings.trace.endpoint,
            share=settings.trace.share,
            roll=self._trace_rng.random,
        )
        stack.callback(made.close)
        return made.begin
