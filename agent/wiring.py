"""Puts a station together: the only place where adapters and loops meet (DESIGN 2)."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.api.meter import LineMeter
from agent.api.provenance import Manifests
from agent.chores import Chores
from agent.decide.budget import Budget
from agent.decide.frame_faults import FrameFaults
from agent.decide.sampling import Sampler
from agent.delivery import Delivery
from agent.enrolled import Enrolled
from agent.frame_loop import FrameLoop, LineRules
from agent.guarantee import Guarantee
from agent.health.clock_sync import clock_synced
from agent.health.disk import disk_room
from agent.health.home_lock import HomeLock
from agent.mailboxes import Inbox, ReportBox, Switch
from agent.ports.clock import Clock
from agent.ports.fallback import Fallback
from agent.ports.log import Log
from agent.ports.policy import ImagesLeave
from agent.ports.runtime import Runtime
from agent.ports.slots import InstalledBundle
from agent.ports.source import FrameSource
from agent.runtime.load import ModelLoader
from agent.serving import Serving
from agent.settings import Settings
from agent.slots.ab_slots import Slots
from agent.slots.unpacked import open_archive, open_folder
from agent.store.database import FILE_NAME, claim_boot, open_database
from agent.store.memory import SqliteMemory
from agent.store.outbox import Outbox
from agent.store.quarantine import kept, start_sound
from agent.store.recorder import GroupRecorder
from agent.store.recovery import last_closed_window, recover, tell_of_quarantine
from agent.store.retention import DiskShares, Retention
from agent.store.running_mark import FILE_NAME as MARK_NAME
from agent.store.running_mark import RunningMark, read_mark
from agent.store.samples import Samples
from agent.uplink_loop import UplinkLoop, UplinkRules
from contract.errors import BadBundle, InvalidConfig
from contract.manifest import Artefact, Manifest
from contract.messages import StationState

if TYPE_CHECKING:
    import httpx

    from agent.api_wiring import LocalApi
    from agent.update_loop import UpdateLoop

AGENT_VERSION = "0.1.0"
_HTTP_TIMEOUT_S = 10.0


class Station:
    """A station, put together and not yet running."""

    def __init__(self, settings: Settings, clock: Clock, log: Log) -> None:
        """Open everything `settings` names.

        Raises:
            InvalidConfig: a path, a source or a key in it cannot be used, or another agent runs on this home.
            BadBundle: the provisioned bundle is broken.
        """
        self._settings = settings
        self._clock = clock
        self._log = log
        self._rng = np.random.default_rng()
        self._roll_rng = np.random.default_rng()
        self._closing = ExitStack()
        with ExitStack() as stack:
            home = settings.home_folder
            stack.callback(HomeLock(home).release)
            self._database = home / FILE_NAME
            self.boot = self._claim()
            self.source = open_source(settings, clock)
            stack.callback(self.source.close)
            self._meter = LineMeter(clock)
            self._manifests = Manifests(home / "manifests", clock)
            self._slots = Slots(home / "bundles")
            boot_bundles = self._boot_bundles()
            switch = Switch()
            self._recorder = self._make_recorder(stack)
            self._models = self._make_loader(stack)
            self._serving = Serving(
                self._load,
                switch,
                clock,
                log,
                deadline_ms=settings.line.deadline_ms,
                previous=boot_bundles[1] if len(boot_bundles) > 1 else None,
            )
            if boot_bundles:
                self._serving.begin(boot_bundles[0])
            else:
                log.say("no bundle is installed yet: every frame is REVIEW until one is")
            self._enrolled = Enrolled(SqliteMemory(self._open(stack)), log, frames_needed=settings.enrol.frames)
            self._guarantee = Guarantee(
                SqliteMemory(self._open(stack)), log, ask=settings.policy.images_leave is ImagesLeave.REQUESTED
            )
            self._http = self._make_http(stack)
            self.frame_loop = self._make_frame_loop()
            inbox, report = Inbox(), ReportBox()
            self.uplink_loop = self._make_uplink(stack, inbox, report)
            self.update_loop = self._make_update(inbox, report, switch)
            self._api = self._open_api(stack, report)
            self._closing = stack.pop_all()

    def run(self, stop: threading.Event) -> bool:
        """Run until `stop` is set or the source is exhausted; return whether everything judged was stored."""
        self._recorder.start()
        line_done, uplink_stop = threading.Event(), threading.Event()

        def line() -> None:
            try:
                self.frame_loop.run(stop)
            finally:
                line_done.set()

        threads = [threading.Thread(target=line, name="frames", daemon=True)]
        if self.uplink_loop is not None:
            threads.append(
                threading.Thread(target=self.uplink_loop.run, args=(uplink_stop,), name="uplink", daemon=True)
            )
        if self.update_loop is not None:
            threads.append(
                threading.Thread(target=self.update_loop.run, args=(uplink_stop,), name="update", daemon=True)
            )
        for thread in threads:
            thread.start()
        if self._api is not None:
            self._api.start()
        while not line_done.wait(0.5):
            if self._recorder.corrupt and not stop.is_set():
                self._log.say("the database is damaged: stopping, so that the next start can put it aside")
                stop.set()
        # The line first, then the disk, then the network: what was judged is stored, and what is stored may still be sent.
        stored = self._recorder.stop(10.0)
        if stored:
            self._mark.goodbye()
        uplink_stop.set()
        for thread in threads:
            thread.join(8.0)
        self._log.say(f"stopped after {self.frame_loop.frames} frames")
        return stored

    def close(self) -> None:
        """Close files and let go of the home."""
        self._closing.close()

    def _claim(self) -> str:
        self._left = read_mark(self._database.with_name(MARK_NAME))
        self._quarantined = start_sound(
            self._database,
            unclean=self._left.unclean,
            now=self._clock.now(),
            monotonic=self._clock.monotonic,
            keep_bytes=(self._settings.limits.disk_mib << 20) // 4,
        )
        connection = open_database(self._database)
        try:
            return claim_boot(connection, self._database)
        except (OSError, sqlite3.Error) as error:
            raise InvalidConfig(f"'{self._database}' cannot be used: {error}", hint="check the disk") from error
        finally:
            connection.close()

    def _open(self, stack: ExitStack) -> sqlite3.Connection:
        connection = open_database(self._database)
        stack.callback(connection.close)
        return connection

    def _boot_bundles(self) -> list[InstalledBundle]:
        provisioned = self._settings.bundle.path
        if provisioned:
            self._slots.install_local(self._settings.path(provisioned))
        return list(islice(self._slots.boot_bundles(), 2))

    def _shares(self) -> DiskShares:
        limits = self._settings.limits
        return DiskShares.of(
            limits.disk_mib << 20, outbox_bytes=limits.outbox_mib << 20, samples_bytes=limits.samples_mib << 20
        )

    def _samples(self, connection: sqlite3.Connection) -> Samples:
        return Samples(
            connection,
            self._settings.home_folder / "samples",
            max_count=self._settings.limits.samples,
            max_bytes=self._shares().samples_bytes,
        )

    def _outbox(self, connection: sqlite3.Connection) -> Outbox:
        return Outbox(connection, boot=self.boot, max_bytes=self._shares().outbox_bytes)

    def _make_recorder(self, stack: ExitStack) -> GroupRecorder:
        connection = self._open(stack)
        outbox, samples = self._outbox(connection), self._samples(connection)
        limits, home = self._settings.limits, self._settings.home_folder
        if self._quarantined is not None:
            note = tell_of_quarantine(
                connection,
                outbox,
                self._quarantined,
                station=self._settings.station,
                now=self._clock.now(),
                monotonic_s=self._clock.monotonic(),
                simulated=self.source.simulated,
                left=self._left,
            )
            self._log.say(note)
        recovered = recover(
            connection,
            outbox,
            samples,
            station=self._settings.station,
            monotonic_s=self._clock.monotonic(),
            simulated=self.source.simulated,
            left=self._left,
        )
        if recovered:
            self._log.say(f"recovered {recovered} window(s) that a crash left open, from their results")
        self._next_window = last_closed_window(connection) + 1
        # Only now: what the last process left behind is told, so it may be written over.
        self._mark = RunningMark(home / MARK_NAME, self.boot)
        stack.callback(self._mark.close)

        def free_bytes() -> int:
            room = disk_room(home)
            return room.free_bytes if room else 0

        retention = Retention(
            connection,
            outbox,
            samples,
            keep_rows=limits.results_rows,
            shares=self._shares(),
            free_bytes=free_bytes,
            evidence=lambda: list(kept(self._database)),
        )
        return GroupRecorder(
            connection,
            outbox,
            samples,
            self._log,
            batch=256,
            linger_s=limits.commit_s,
            retention=retention,
            mark=self._mark,
        )

    def _make_http(self, stack: ExitStack) -> httpx.Client | None:
        cloud = self._settings.cloud
        if not cloud.url:
            return None
        import httpx

        headers = {}
        if cloud.token_file:
            token = _read(self._settings.path(cloud.token_file), "cloud.token_file").decode(errors="replace").strip()
            headers["Authorization"] = f"Bearer {token}"
        client = httpx.Client(headers=headers, timeout=_HTTP_TIMEOUT_S)
        stack.callback(client.close)
        return client

    def _make_frame_loop(self) -> FrameLoop:
        settings = self._settings
        policy, line = settings.policy, settings.line
        return FrameLoop(
            self._meter.source(self.source),
            self._serving,
            self._enrolled,
            Sampler(self._rng, audit_rate=policy.audit_rate, doubtful_per_window=policy.doubtful_per_window),
            FrameFaults(blank_sd=line.blank_sd, frozen_after=line.frozen_after),
            self._make_fallback(),
            Budget.full(policy.fallback_burst, policy.fallback_per_s, self._clock.monotonic()),
            self._meter.recorder(self._recorder),
            self._clock,
            self._log,
            LineRules(
                station=settings.station,
                boot=self.boot,
                deadline_ms=line.deadline_ms,
                window_frames=settings.windows.frames,
                window_s=settings.windows.seconds,
            ),
            next_window=self._next_window,
            clock_synced=lambda: clock_synced(self._clock.now()),
            guarantee=self._guarantee,
        )

    def _make_loader(self, stack: ExitStack) -> ModelLoader:
        runtime = self._settings.runtime
        loader = ModelLoader(
            self._log.say,
            self._clock,
            threads=self._settings.line.threads,
            provider=runtime.provider,
            engines=self._settings.home_folder / "engines",
            engines_max_bytes=runtime.engines_mib << 20,
            build_within_s=runtime.engine_build_s,
        )
        stack.callback(loader.close)
        return loader

    def _load(self, folder: Path, manifest: Manifest) -> tuple[Runtime, Artefact]:
        runtime, artefact = self._models.load(folder, manifest)
        try:
            self._manifests.keep(folder.name, manifest, artefact.file)
        except OSError as error:
            # P9 is then "not known", which is said; it is no reason not to judge parts.
            self._log.fault("manifests", f"what ran here cannot be noted: {error}")
        return runtime, artefact

    def _open_api(self, stack: ExitStack, report: ReportBox) -> LocalApi | None:
        if self._settings.api.port == 0:
            return None
        from agent.api.station_metrics import StationFigures
        from agent.api_wiring import StationFacts, open_api

        def in_charge() -> InstalledBundle | None:
            model = self._serving.in_charge
            return model.bundle if model else None

        def figures() -> StationFigures:
            loops = {"frames": self.frame_loop, "uplink": self.uplink_loop, "update": self.update_loop}
            reported = report.current()
            return StationFigures(
                AGENT_VERSION,
                self._recorder.healthy(),
                reported.update_state if reported else "",
                {name: loop.faults for name, loop in loops.items() if loop is not None},
            )

        view = StationFacts(
            self._settings,
            self._clock,
            self._meter,
            self._slots,
            in_charge=in_charge,
            stored=self._recorder.healthy,
            figures=figures,
        )
        api = open_api(self._settings, self._clock, self._log, view, self._meter, self._manifests)
        if api is not None:
            stack.callback(api.stop, 2.0)
        return api

    def _make_fallback(self) -> Fallback | None:
        policy = self._settings.policy
        # P8: without permission there is nothing that could send an image.
        if self._http is None or not policy.fallback or not policy.images_leave.allows_fallback():
            return None
        from agent.uplink.fallback import HttpFallback, ServedBundle

        def served() -> ServedBundle | None:
            model = self._serving.in_charge
            return ServedBundle(model.bundle.digest, model.bundle.manifest.labels) if model else None

        return HttpFallback(
            self._http, self._settings.cloud.url, self._settings.station, served, self._clock, self._log
        )

    def _make_uplink(self, stack: ExitStack, inbox: Inbox, report: ReportBox) -> UplinkLoop | None:
        settings = self._settings
        if not settings.broker.host:
            return None
        from agent.uplink.mqtt import MqttLink

        sender = None
        # P8: as above.
        if self._http is not None and settings.policy.images_leave.value != "never":
            from agent.uplink.samples_upload import HttpSampleSender

            sender = HttpSampleSender(self._http, settings.cloud.url, settings.station)
        link = MqttLink(settings.broker.host, settings.broker.port, settings.station, self._birth(), self._clock)
        chore_connection = self._open(stack)
        chores = Chores(
            settings.station,
            SqliteMemory(chore_connection),
            self._samples(chore_connection),
            sender,
            settings.policy.images_leave,
            self._enrolled,
            self._log,
            self._guarantee,
        )
        return UplinkLoop(
            link,
            Delivery(self._outbox(self._open(stack)), resend_after_s=settings.broker.resend_after_s),
            chores,
            inbox,
            report,
            self._clock,
            self._log,
            UplinkRules(settings.station, reconnect_max_s=settings.broker.reconnect_max_s),
            roll=lambda: float(self._roll_rng.random()),
        )

    def _birth(self) -> Callable[[bool], StationState]:
        def state(online: bool) -> StationState:
            return StationState(
                station=self._settings.station,
                boot=self.boot,
                online=online,
                at=self._clock.now(),
                agent_version=AGENT_VERSION,
                simulated=self.source.simulated,
            )

        return state

    def _make_update(self, inbox: Inbox, report: ReportBox, switch: Switch) -> UpdateLoop | None:
        trust = self._settings.trust
        if self._http is None or not trust.order_keys:
            return None
        from agent.slots.download import HttpDownloader
        from agent.slots.floors_file import FloorsFile
        from agent.slots.selftest import SubprocessSelfTest
        from agent.slots.tuf_client import TufClient
        from agent.update_loop import UpdateLoop
        from contract.signature import OrderKey

        keys = []
        for name in trust.order_keys:
            try:
                keys.append(msgspec.json.decode(_read(self._settings.path(name), "trust.order_keys"), type=OrderKey))
            except msgspec.DecodeError as error:
                raise InvalidConfig(
                    f"'{name}' is no order key: {error}", hint="copy it from the cloud again"
                ) from error
        home, repository_url = self._settings.home_folder, f"{self._settings.cloud.url.rstrip('/')}/v1/tuf"
        root = _read(self._settings.path(trust.root), "trust.root")
        return UpdateLoop(
            self._settings.station,
            self.boot,
            keys,
            inbox=inbox,
            report=report,
            repository=TufClient(self._http, repository_url, home / "tuf", root),
            downloader=HttpDownloader(self._http, repository_url, home / "downloads", self._clock),
            slots=self._slots,
            floors=FloorsFile(home / "floors"),
            selftest=SubprocessSelfTest(),
            switch=switch,
            clock=self._clock,
            roll=lambda: float(self._roll_rng.random()),
        )


def open_source(settings: Settings, clock: Clock) -> FrameSource:
    """Return the source that [source] names.

    Raises:
        InvalidConfig: it cannot be opened.
    """
    source = settings.source
    if source.kind == "folder":
        from agent.sources.folder import FolderSource

        return FolderSource(
            settings.path(source.folder),
            clock,
            loop=source.loop,
            watch=source.watch,
            fps=source.fps or None,
            seed=source.seed if source.shuffle else None,
        )
    rng = np.random.default_rng()

    def roll() -> float:
        return float(rng.random())

    if source.kind == "v4l2":
        from agent.sources.v4l2 import open_v4l2

        return open_v4l2(
            settings.path(source.device),
            clock,
            roll,
            width=source.width,
            height=source.height,
            pixel_format=source.pixel_format,
            hardware_trigger=source.hardware_trigger,
            stall_s=source.stall_s,
        )
    if source.kind == "rtsp":
        from agent.sources.rtsp import open_rtsp

        return open_rtsp(source.url, clock, roll, stall_s=source.stall_s)
    if source.kind == "gstreamer":
        from agent.sources.gstreamer import open_gstreamer

        return open_gstreamer(
            source.pipeline,
            clock,
            roll,
            python=source.gst_python,
            hardware_trigger=source.hardware_trigger,
            stall_s=source.stall_s,
        )
    from agent.sources.simulated import SimulatedSource

    return SimulatedSource(
        clock,
        seed=source.seed,
        fps=source.fps or None,
        controls=settings.path(source.controls) if source.controls else None,
        scene=settings.path(source.scene) if source.scene else None,
        height=source.height,
        width=source.width,
    )


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


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidConfig(
            f"{key}: '{path}' cannot be read: {error.strerror or error}", hint="provision it"
        ) from error
