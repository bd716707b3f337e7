"""From [plc] to the line's controller: its desk, its adapter, its thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from agent.line_io.desk import Desk, DeskRules
from agent.line_io.line_books import MARK, BooksBefore, Counted, LineBooks, settle_books
from agent.line_io.line_teller import LineTeller
from agent.line_io.plc_loop import PlcLoop
from agent.line_io.triggered import ShownRecorder, TriggeredSource
from agent.ports.clock import Clock
from agent.ports.line import LineAdapter, LineDesk
from agent.ports.log import Log
from agent.ports.memory import Memory
from agent.ports.recorder import Recorder
from agent.ports.source import FrameSource
from agent.settings import Settings
from agent.settings_keys import PlcSettings, SourceSettings
from agent.store.recorder import GroupRecorder
from agent.store.running_mark import kernel_boot, mark_name, read_mark
from contract.errors import InvalidConfig

_SLACK = 1.25
_LIBRARIES = {"modbus": "pymodbus", "opcua": "asyncua"}


class Plc:
    """The controller's side of a station; without [plc] kind it changes nothing."""

    def __init__(self, settings: Settings, clock: Clock, log: Log) -> None:
        """Settle what the process before left, and open nothing else yet.

        Raises:
            InvalidConfig: the library that [plc] kind needs is not installed.
        """
        self._keys = keys = settings.plc
        library = _LIBRARIES.get(keys.kind)
        if library and find_spec(library) is None:
            raise InvalidConfig(f"[plc] kind '{keys.kind}' needs '{library}'", hint="pip install 'plumbline-edge[plc]'")
        self._settings = settings
        self._clock, self._log = clock, log
        self.why_not_ready: Callable[[], str] = lambda: "the station starts"
        """Returns what keeps the station from taking triggers, "" if nothing."""
        timeout_s = (keys.timeout_ms or settings.line.deadline_ms * _SLACK + keys.delay_ms) / 1e3
        wired = {each.name: each for each in settings.cameras}.get(keys.camera, settings.source).hardware_trigger
        rules = DeskRules(
            keys.camera,
            keys.triggers,
            keys.waiting,
            timeout_s,
            keys.delay_ms / 1e3,
            keys.review_as,
            one_before_camera=wired and not keys.overlap,
        )
        mark, kernel = settings.home_folder / MARK, kernel_boot()
        # Before the marks of this process take the place of those that the one before left, also where no controller is served now:
        # one that is served again later would settle them against marks that know nothing of them.
        before = settle_books(mark, kernel, self._counted)
        self._before = before if keys.kind else BooksBefore()
        missed = self._before.missed
        self.desk = Desk(rules, clock, lambda: self.why_not_ready(), missed=missed) if keys.kind else None
        self._books = LineBooks(self.desk, mark, kernel) if self.desk else None
        self.loop = (
            PlcLoop(
                self.desk,
                lambda desk: open_adapter(settings, desk, clock, log),
                clock,
                log,
                heartbeat_s=keys.heartbeat_s,
            )
            if self.desk
            else None
        )
        self.tell_last: Callable[[], None] = lambda: None
        """Keeps how it ended."""

    def begin(self, stop: threading.Event, why_not_ready: Callable[[], str]) -> None:
        """Take triggers from now on, unless `why_not_ready` says what is missing. That `stop` is set is seen at once."""
        self.why_not_ready = why_not_ready
        if self.desk is None or self._books is None:
            return
        if self._before.missed:
            self._log.say(
                f"of the parts that the controller asked the process before about, {self._before.missed} were never seen"
                " and stand in no window yet: they are counted now"
            )
        self._books.begin()
        self.desk.look_again()
        # It only waits, and holds nothing that anybody else waits for: a signal handler may set `stop` at any point.
        threading.Thread(target=self._look_at_stop, args=(stop,), name="plc-stop", daemon=True).start()

    def look_again(self) -> None:
        """Have the controller see at once whether the station is ready still, or again; any thread."""
        if self.desk is not None:
            self.desk.look_again()

    def last_call(self) -> None:
        """Answer what no frame was taken for: none will be. To be called before the line's last windows are closed."""
        if self.desk is not None:
            self.desk.last_call()

    def close(self) -> None:
        """Close the books."""
        if self._books is not None:
            self._books.close()

    def triggers(self, camera: str) -> bool:
        """Return whether the controller says when a part is before `camera`."""
        return self.desk is not None and self._keys.triggers and camera == self._keys.camera

    def room(self, camera: str, room: int) -> int:
        """Return how many frames of `camera` may wait for the model, where `room` may of one that nobody triggers.

        Every open trigger has room: a frame that gives way would leave its trigger to its timeout.
        """
        return max(room, self._keys.waiting) if self.triggers(camera) else room

    def missed(self, camera: str) -> int:
        """Return how many parts that the controller asked about were never before `camera`'s lens."""
        return self.desk.missed if self.desk is not None and self.triggers(camera) else 0

    def source(self, source: FrameSource, camera: str, keys: SourceSettings, seen: Callable[[], None]) -> FrameSource:
        """Return `source`, read when the controller asks; `seen` is told of each frame that it gives."""
        if self.desk is None or not self.triggers(camera):
            return source
        return TriggeredSource(source, self.desk, self._clock, own_triggers=keys.hardware_trigger, seen=seen)

    def recorder(self, recorder: Recorder, disk: GroupRecorder) -> Recorder:
        """Return `recorder`, shown to the controller; with [plc] stored_first what `disk` has stored is."""
        if self.desk is None:
            return recorder
        shown = ShownRecorder(recorder, self.desk, stored_first=self._keys.stored_first)
        if self._keys.stored_first:
            disk.tell_stored(shown)
        return shown

    def teller(self, memory: Memory) -> Callable[[], None]:
        """Return what keeps how the controller stands where `plumbline-agent status` finds it; to be called again and again."""
        teller = LineTeller(self.loop, memory, self._clock, self._before.counts)
        self.tell_last = lambda: teller.tell(last=True)
        return teller.tell

    def _counted(self, camera: str) -> Counted | None:
        left = read_mark(self._settings.home_folder / mark_name(camera))
        return Counted(left.asked, left.missed) if left.boot else None

    def _look_at_stop(self, stop: threading.Event) -> None:
        stop.wait()
        self.look_again()


def open_adapter(settings: Settings, desk: LineDesk, clock: Clock, log: Log) -> LineAdapter:
    """Return the adapter that [plc] names, not yet started."""
    keys: PlcSettings = settings.plc
    if keys.kind == "modbus":
        from agent.line_io.modbus import ModbusLine

        return ModbusLine(
            desk,
            log,
            clock,
            host=keys.host,
            port=keys.port or 502,
            unit=keys.unit,
            heartbeat_s=keys.heartbeat_s,
            only_asked=keys.triggers,
        )
    if keys.kind == "opcua":
        from agent.line_io.opcua import OpcUaLine

        return OpcUaLine(
            desk,
            log,
            now=clock.now,
            station=settings.station,
            host=keys.host,
            port=keys.port or 4840,
            trusted=_path(settings, keys.ca_file),
            cert_file=_path(settings, keys.cert_file),
            key_file=_path(settings, keys.key_file),
        )
    from agent.line_io.mqtt import MqttLine

    return MqttLine(
        desk,
        log,
        topic=keys.topic or f"line/{settings.station}",
        client_id=f"{settings.station}-line",
        host=keys.host,
        port=keys.port or (8883 if keys.ca_file else 1883),
        ca_file=_path(settings, keys.ca_file),
        cert_file=_path(settings, keys.cert_file),
        key_file=_path(settings, keys.key_file),
        heartbeat_s=keys.heartbeat_s,
    )


def _path(settings: Settings, text: str) -> Path | None:
    return settings.path(text) if text else None
