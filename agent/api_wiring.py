"""Puts the local API together around a running station."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.api.decisions import Decisions
from agent.api.judge_process import JudgeProcess
from agent.api.meter import LineMeter
from agent.api.provenance import Manifests
from agent.api.routes import Routes
from agent.api.server import HttpRules, HttpServer
from agent.api.station_metrics import StationFigures, station_metrics
from agent.degrading import DegradeFigures
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.machine import MachineFigures
from agent.ports.slots import InstalledBundle
from agent.settings import Settings
from agent.slots.ab_slots import Slots
from agent.station_status import station_status
from agent.store.database import FILE_NAME, open_read_only
from contract.errors import AddressInUse, InvalidConfig

DEFAULT_PORT = 8081
STALLED_AFTER_S = 10.0
_LEAST_FREE_BYTES = 16 << 20
_LEAST_TOKEN_CHARS = 16
_TIDY_EVERY_S = 5.0
# Of the deadline: beyond it the line needs every core for itself.
_PRESSED_SHARE = 0.5


class StationFacts:
    """`agent.ports.local_view.StationView` of the station in this process."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        meter: LineMeter,
        slots: Slots,
        *,
        in_charge: Callable[[], InstalledBundle | None],
        stored: Callable[[], bool],
        figures: Callable[[], StationFigures],
        degrade: Callable[[], DegradeFigures],
        machine: Callable[[], MachineFigures],
        void: Callable[[], str],
    ) -> None:
        self.station = settings.station
        self.simulated = settings.source.kind == "simulated"
        self.in_charge, self.why_void = in_charge, void
        self._settings, self._clock, self._meter, self._slots = settings, clock, meter, slots
        self._stored, self._figures, self._degrade, self._machine = stored, figures, degrade, machine
        self._boot: InstalledBundle | None = None

    def status(self) -> Mapping[str, Any]:
        """Return what `plumbline-agent status` shows."""
        settings = self._settings
        return station_status(
            settings.home_folder,
            settings.station,
            settings.source.kind,
            self._slots,
            self._boot_bundle,
            refuses=settings.line.unfamiliar > 0,
        )

    def why_unhealthy(self) -> str:
        """Return "" while frames get through and are stored; otherwise what is wrong."""
        reason = self._meter.why_stalled(STALLED_AFTER_S)
        if reason:
            return reason
        if not self._stored():
            return "results cannot be stored: check the disk"
        try:
            free = shutil.disk_usage(self._settings.home_folder).free
        except OSError as error:
            return f"the disk cannot be looked at: {error.strerror or error}"
        return "" if free >= _LEAST_FREE_BYTES else f"the disk has {free >> 20} MiB left"

    def uplink_trouble(self) -> str:
        """Return what shuts the station out of the broker, "" for nothing."""
        return self._figures().uplink or ""

    def controller_trouble(self) -> str:
        """Return why no verdict reaches the line's controller, "" for nothing."""
        return self._figures().line_trouble

    def metrics(self) -> str:
        """Return the station's counters in Prometheus' text format."""
        home = self._settings.home_folder
        return station_metrics(
            self._meter,
            self._figures(),
            self.in_charge(),
            home=home,
            database=home / FILE_NAME,
            connect=lambda: open_read_only(home / FILE_NAME),
            station=self.station,
            simulated=self.simulated,
            degrade=self._degrade(),
            machine=self._machine(),
        )

    def _boot_bundle(self) -> InstalledBundle | None:
        # Hashing a bundle's every byte is for a start, not for each question.
        mark, known = self._slots.committed(), self._boot
        if mark is None or known is None or known.digest != mark.digest:
            self._boot = self._slots.boot_bundle()
        return self._boot


class LocalApi:
    """The API's threads; bound from the moment it is made."""

    def __init__(
        self, settings: Settings, clock: Clock, log: Log, view: StationFacts, meter: LineMeter, manifests: Manifests
    ) -> None:
        """Bind.

        Raises:
            AddressInUse: another program holds the port that [api] names.
            InvalidConfig: the host, the port or the token cannot be used.
        """
        api, home = settings.api, settings.home_folder
        limit_ms = settings.line.deadline_ms * _PRESSED_SHARE
        self._judge = JudgeProcess(clock, blank_sd=settings.line.blank_sd)
        routes = Routes(
            view,
            Decisions(lambda: open_read_only(home / FILE_NAME), clock),
            manifests,
            self._judge,
            lambda: meter.recent_latency_ms > limit_ms,
        )
        rules = HttpRules(token=_token(settings), max_body_bytes=api.max_body_mib << 20)
        port = DEFAULT_PORT if isinstance(api.port, str) else api.port
        self._server = HttpServer(api.host, port, routes.answer, rules, clock, log)
        self.port = self._server.port
        self._stopping = threading.Event()
        self._tidier = threading.Thread(target=self._tidy, name="api-tidy", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._server.start()
        self._tidier.start()

    def stop(self, within_s: float) -> None:
        """Stop answering."""
        self._stopping.set()
        self._server.stop(within_s)
        self._judge.close()

    def _tidy(self) -> None:
        while not self._stopping.wait(_TIDY_EVERY_S):
            self._judge.tidy()


def open_api(
    settings: Settings, clock: Clock, log: Log, view: StationFacts, meter: LineMeter, manifests: Manifests
) -> LocalApi | None:
    """Return the local API, bound; None where [api] wants none, or where "auto" found its port taken.

    Raises:
        AddressInUse: another program holds the port that [api] names.
        InvalidConfig: the host, the port or the token cannot be used.
    """
    if settings.api.port == 0:
        return None
    try:
        api = LocalApi(settings, clock, log, view, meter, manifests)
    except AddressInUse:
        # Nobody asked for this port by number, and a second station on one computer is no mistake.
        if settings.api.port != "auto":
            raise
        log.say(f"no local API: port {DEFAULT_PORT} is taken; set [api] port to have one")
        return None
    log.say(f"local API on http://{settings.api.host}:{api.port}")
    return api


def _token(settings: Settings) -> str:
    name = settings.api.token_file
    if not name:
        return ""
    path: Path = settings.path(name)
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"api.token_file: '{path}' cannot be read: {error}", hint="provision it") from error
    if len(token) < _LEAST_TOKEN_CHARS or not token.isprintable() or " " in token:
        raise InvalidConfig(
            f"api.token_file: '{path}' holds no token of {_LEAST_TOKEN_CHARS} characters or more",
            hint=f"python3 -c 'import secrets; print(secrets.token_urlsafe())' > {path}",
        )
    return token
