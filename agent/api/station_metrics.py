"""The station's figures as Prometheus reads them: what was counted or can be read now. What cannot is left out, not 0."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from agent.api.exposition import Exposition
from agent.api.machine_metrics import add_machine
from agent.api.meter import LATENCY_BOUNDS_MS, LineMeter
from agent.degrading import DegradeFigures
from agent.ports.line import LineCounts
from agent.ports.machine import MachineFigures
from agent.ports.slots import InstalledBundle
from contract.errors import PlumblineError
from contract.update_states import UpdateState


@dataclass(frozen=True, slots=True)
class StationFigures:
    """What the loops count themselves. `update_state` "": this station follows no orders, or has not said yet.

    `models`: how those beside the one in charge stand, "loaded" or why not. `uplink`: what shuts the station out of the broker, ""
    for nothing; None where it has no broker. `line`: what came of the controller's triggers; None where it has no controller.
    `line_trouble`: why no verdict reaches that, "" for nothing.
    """

    version: str
    stored: bool
    update_state: str
    faults: Mapping[str, int]
    restarts: int = 0
    models: Mapping[str, str] = field(default_factory=dict)
    uplink: str | None = None
    line: LineCounts | None = None
    line_trouble: str = ""


def station_metrics(
    meter: LineMeter,
    figures: StationFigures,
    bundle: InstalledBundle | None,
    *,
    home: Path,
    database: Path,
    connect: Callable[[], sqlite3.Connection],
    station: str,
    simulated: bool,
    degrade: DegradeFigures | None = None,
    machine: MachineFigures | None = None,
) -> str:
    """Return every figure as text. `degrade` None: this station has no degrade ladder. `machine` None: nothing was read yet."""
    out = Exposition()
    about = {"station": station, "version": figures.version, "bundle": bundle.digest if bundle else ""}
    about["model"] = f"{bundle.manifest.name} {bundle.manifest.version}" if bundle else ""
    out.add("plumbline_info", "gauge", "Which station this is and what decides on it.", 1, **about)
    out.add("plumbline_simulated", "gauge", "1: its images are generated, no camera took them.", simulated)
    _add_line(out, meter)
    out.add("plumbline_results_stored", "gauge", "1: the last commit of results reached the disk.", figures.stored)
    faults = [({"loop": loop}, n) for loop, n in figures.faults.items()]
    out.add_all(
        "plumbline_faults_total", "counter", "Errors nothing foresaw, by the loop that went on after them.", faults
    )
    out.add("plumbline_restarts_total", "counter", "Cameras and models that hung and were restarted.", figures.restarts)
    models = [({"model": name}, float(state == "loaded")) for name, state in sorted(figures.models.items())]
    if models:
        out.add_all("plumbline_model_loaded", "gauge", "1: this model looks on beside the one in charge.", models)
    if figures.uplink is not None:
        # The reason is for people: /healthz and /v1/status say it.
        what = "1: the broker does not let this station in, or another device uses its name."
        out.add("plumbline_uplink_shut_out", "gauge", what, bool(figures.uplink))
    if figures.line is not None:
        _add_controller(out, figures.line, figures.line_trouble)
    if figures.update_state:
        states = [({"state": state.value}, float(state.value == figures.update_state)) for state in UpdateState]
        out.add_all("plumbline_update_state", "gauge", "1 for the state of the last or current update.", states)
    if degrade is not None:
        _add_degrade(out, degrade)
    if machine is not None:
        add_machine(out, machine)
    readable = _add_store(out, connect)
    out.add("plumbline_database_readable", "gauge", "0: what the database says is missing from this answer.", readable)
    _add_disk(out, home, database)
    return out.text()


def _add_line(out: Exposition, meter: LineMeter) -> None:
    several = len(meter.idle_s()) > 1
    frames = [
        ({**_camera(camera, several=several), "verdict": verdict, "cause": cause}, n)
        for (camera, verdict, cause), n in sorted(meter.decided_of.copy().items())
    ]
    what = "Frames decided since the start, by verdict and REVIEW's cause, and by camera where there are several."
    out.add_all("plumbline_frames_total", "counter", what, frames)
    dropped = [
        ({**_camera(camera, several=several), "cause": cause}, n)
        for (camera, cause), n in sorted(meter.dropped_of.copy().items())
    ]
    what = "Frames dropped before a verdict, counted as their window closes."
    out.add_all("plumbline_frames_dropped_total", "counter", what, dropped)
    idle = [(_camera(camera, several=several), seconds) for camera, seconds in meter.idle_s().items()]
    what = "Seconds since a camera last gave something, or something of it came out."
    out.add_all("plumbline_camera_idle_seconds", "gauge", what, idle)
    out.add(
        "plumbline_frames_undecided_total", "counter", "Frames whose verdict could not be recorded.", meter.undecided
    )
    out.add("plumbline_camera_faults_total", "counter", "Frames that were due and not captured.", meter.camera_faults)
    out.add("plumbline_windows_total", "counter", "Windows closed since the start.", meter.windows)
    out.add("plumbline_cloud_asked_total", "counter", "Frames the cloud was asked about.", meter.asked_cloud)
    out.add("plumbline_cloud_answers_total", "counter", "Answers of the cloud that came in time.", meter.cloud_answers)
    bounds = [bound / 1e3 for bound in LATENCY_BOUNDS_MS]
    what = "Capture to verdict in seconds, of every frame that was captured."
    out.add_histogram("plumbline_latency_seconds", what, bounds, list(meter.latency_bins), meter.latency_sum_ms / 1e3)


def _add_controller(out: Exposition, line: LineCounts, trouble: str) -> None:
    what = "1: the line's controller is served, as far as the station knows."
    out.add("plumbline_controller_served", "gauge", what, not trouble)
    out.add("plumbline_triggers_total", "counter", "Triggers of the line's controller since the start.", line.triggers)
    out.add("plumbline_triggers_answered_total", "counter", "Triggers that got their verdict in time.", line.answered)
    for name, by_cause, what in (
        ("lost", line.lost, "Triggers that were taken and answered as failed, by cause."),
        ("refused", line.refused, "Triggers that were not taken, by cause."),
    ):
        out.add_all(
            f"plumbline_triggers_{name}_total", "counter", what, [({"cause": c}, n) for c, n in by_cause.items()]
        )
    out.add("plumbline_triggers_waiting", "gauge", "Triggers that have no answer yet.", line.waiting)
    what = "Verdicts that came after their trigger was answered as failed."
    out.add("plumbline_verdicts_late_total", "counter", what, line.late)
    out.add(
        "plumbline_verdicts_unasked_total", "counter", "Verdicts of frames that no trigger asked for.", line.unasked
    )
    out.add("plumbline_verdicts_unshown_total", "counter", "Answers that no controller took.", line.unshown)


def _camera(name: str, *, several: bool) -> Mapping[str, str]:
    """Return the label of a camera. A station of one camera has none, so that its series stay what they are."""
    return {"camera": name or "first"} if several else {}


def _add_degrade(out: Exposition, degrade: DegradeFigures) -> None:
    what = "What is given up: 0 nothing, 1 second opinions, 2 shadow too, 3 smaller artefact, 4 to 6 one frame in 2, 4, 8 judged."
    out.add("plumbline_degrade_step", "gauge", what, degrade.rung)
    out.add("plumbline_degrade_changes_total", "counter", "Steps up and down that ladder.", degrade.changes)
    out.add("plumbline_throttled", "gauge", "1: the machine slows itself down because of heat.", degrade.throttled)
    out.add("plumbline_low_power", "gauge", "1: the supply gives less than is needed.", degrade.low_power)
    out.add("plumbline_low_memory", "gauge", "1: what is left of memory presses that ladder.", degrade.low_memory)
    zone = degrade.zone
    if zone is None:
        return
    about = {"zone": zone.name}
    what = "Temperature of the thermal zone nearest to its limit."
    out.add("plumbline_hottest_celsius", "gauge", what, zone.temp_c, **about)
    trips = [({"zone": zone.name, "trip": name}, c) for name, c in zone.trips if c is not None]
    if trips:
        out.add_all("plumbline_hottest_trip_celsius", "gauge", "Where that zone throttles or switches off.", trips)


def _add_store(out: Exposition, connect: Callable[[], sqlite3.Connection]) -> bool:
    try:
        with closing(connect()) as connection:
            outbox, outbox_bytes = connection.execute("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM outbox").fetchone()
            samples, samples_bytes = connection.execute(
                "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM samples"
            ).fetchone()
            acked = connection.execute("SELECT value FROM memory WHERE name = 'acked_at'").fetchone()
    except (sqlite3.Error, PlumblineError):
        return False
    out.add("plumbline_outbox_summaries", "gauge", "Summaries the cloud has not acknowledged.", outbox)
    out.add("plumbline_outbox_bytes", "gauge", "Bytes of those summaries.", outbox_bytes)
    out.add("plumbline_samples", "gauge", "Images kept for review.", samples)
    out.add("plumbline_samples_bytes", "gauge", "Bytes of those images.", samples_bytes)
    if acked is not None:
        what = "When the cloud last acknowledged a summary, Unix seconds."
        out.add("plumbline_acknowledged_timestamp_seconds", "gauge", what, float(acked[0]))
    return True


def _add_disk(out: Exposition, home: Path, database: Path) -> None:
    try:
        usage = shutil.disk_usage(home)
    except OSError:
        pass
    else:
        out.add("plumbline_disk_free_bytes", "gauge", "Free bytes on the disk of the station's home.", usage.free)
        out.add("plumbline_disk_size_bytes", "gauge", "Size of that disk.", usage.total)
    size = 0
    for path in (database, database.with_name(f"{database.name}-wal")):
        try:
            size += path.stat().st_size
        except OSError:
            continue
    if size:
        out.add("plumbline_database_bytes", "gauge", "Bytes of the database and its log.", size)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return
    out.add("process_resident_memory_bytes", "gauge", "Memory of the agent.", pages * os.sysconf("SC_PAGE_SIZE"))
