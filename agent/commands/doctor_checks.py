"""What `plumbline-agent doctor` looks at, one function a thing. None of them changes anything."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import Enum
from pathlib import Path

import msgspec

from agent.clock import SystemClock
from agent.settings import Settings
from contract.errors import BadImage, CameraFault, PlumblineError

_FRAME_WITHIN_S = 8.0
_INTEGRITY_WITHIN_S = 20.0
_LATE_FRAME_S = 60.0
_EARLIEST = 1_767_225_600.0  # 2026-01-01: before this release existed


class Level(str, Enum):
    """How bad it is: WARNING still judges parts, FAIL does not or soon will not."""

    OK = "ok"
    WARNING = "warning"
    FAIL = "FAIL"


class Finding(msgspec.Struct, frozen=True):
    """What one look found, and what to do about it ("" for nothing)."""

    name: str
    level: Level
    found: str
    todo: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield what is found, one after the other; a look that breaks is a FAIL with its words."""
    from agent.commands import doctor_board as boards
    from agent.commands import doctor_links as links
    from agent.commands import doctor_machine as machine
    from agent.commands import doctor_plc as plc
    from agent.commands import doctor_surroundings as surroundings
    from agent.commands import doctor_tls as tls
    from agent.decide.heat import HeatRules
    from agent.health.home_lock import is_locked
    from agent.health.power import PowerSensors

    now = SystemClock().now()
    running = is_locked(settings.home_folder)
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("board", lambda: boards.board_profile(settings)),
        ("disk", lambda: disk(settings)),
        ("database", lambda: database(settings)),
        ("clock", clock),
        ("heat", lambda: surroundings.heat(rules=HeatRules(hot_c=settings.degrade.hot_c))),
        ("power", lambda: surroundings.power(PowerSensors(low_battery=settings.degrade.battery))),
        ("memory", machine.memory),
        ("disk wear", machine.disk_wear),
        *([("load", machine.load)] if machine.has_load() else []),
        ("camera", lambda: camera(settings, running=running)),
        ("model", lambda: model(settings)),
        ("runtimes", lambda: runtimes(settings)),
        ("trust", lambda: trust(settings)),
        ("secrets", lambda: secrets(settings)),
        ("certificate", lambda: tls.certificate(settings, now)),
        ("broker", lambda: links.broker(settings, now)),
        ("cloud", lambda: links.cloud(settings, now)),
        ("plc", lambda: plc.controller(settings, running=running)),
        ("api", lambda: links.api(settings, running=running)),
    ]
    for name, check in checks:
        try:
            yield check()
        except PlumblineError as error:
            yield Finding(name, Level.FAIL, error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - whatever a driver or a library throws here is what the person must hear of
            yield Finding(name, Level.FAIL, f"{type(error).__name__}: {error}")


def disk(settings: Settings) -> Finding:
    """Look at the room and the permissions of the station's home."""
    from agent.health.disk import disk_room, disk_trouble

    home = settings.home_folder
    place = home
    while not place.exists() and place != place.parent:
        place = place.parent
    room = disk_room(home)
    if room is not None and room.read_only:
        return Finding("disk", Level.FAIL, f"'{place}' may not be written", disk_trouble(room, 0))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return Finding("disk", Level.FAIL, f"'{place}' may not be written", "give this user write access to it")
    trouble = disk_trouble(room, 64 << 20)
    if trouble:
        return Finding("disk", Level.FAIL, f"the disk of '{home}'", trouble)
    free = room.free_bytes >> 20 if room else 0
    return Finding("disk", Level.OK, f"'{home}' may be written, {free} MiB are free")


def database(settings: Settings) -> Finding:
    """Read every page of the database, for a bounded time."""
    from agent.store.database import FILE_NAME

    path = settings.home_folder / FILE_NAME
    if not path.is_file():
        return Finding("database", Level.OK, "there is none yet; the first start makes it")
    until_s, monotonic = SystemClock().monotonic() + _INTEGRITY_WITHIN_S, SystemClock().monotonic
    # Without a log there is nothing to recover, and opening it as unchanging leaves no trace beside it.
    log_there = path.with_name(f"{path.name}-wal").exists()
    address = f"{path.absolute().as_uri()}?{'mode=ro' if log_there else 'immutable=1'}"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=5.0)) as connection:
            connection.set_progress_handler(lambda: monotonic() > until_s, 20_000)
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
            (rows,) = connection.execute("SELECT COUNT(*) FROM outbox").fetchone()
    except sqlite3.Error as error:
        if "interrupted" in str(error):
            return Finding("database", Level.WARNING, f"no fault within {_INTEGRITY_WITHIN_S:.0f} s; not all was read")
        return Finding(
            "database", Level.FAIL, f"'{path}': {error}", "restart the station: it puts a damaged file aside"
        )
    if found != ["ok"]:
        return Finding(
            "database", Level.FAIL, "; ".join(found)[:200], "restart the station: it puts a damaged file aside"
        )
    return Finding("database", Level.OK, f"sound; {rows} summaries wait for the cloud")


def clock() -> Finding:
    """Look at the time, and at whether the kernel says that it is synchronised."""
    from agent.health.clock_sync import clock_synced

    now = SystemClock().now()
    todo = "start a time service, e.g. systemd-timesyncd or chrony"
    if now < _EARLIEST:
        return Finding("clock", Level.FAIL, "the clock stands before this release was made", todo)
    if not clock_synced(now):
        return Finding("clock", Level.WARNING, "the kernel says the clock is not synchronised", todo)
    return Finding("clock", Level.OK, "synchronised")


def camera(settings: Settings, *, running: bool) -> Finding:
    """Take one frame; while the station has its camera, look at its newest result instead."""
    kind = settings.source.kind
    if running and kind not in ("simulated", "folder"):
        return _newest_result(settings)
    from agent.source_wiring import open_source

    system = SystemClock()
    source = open_source(settings, system)
    until_s, faults, last = system.monotonic() + _FRAME_WITHIN_S, 0, ""
    try:
        while system.monotonic() < until_s and not source.exhausted():
            try:
                frame = source.read()
            except (CameraFault, BadImage) as error:
                faults, last = faults + 1, error.one_line()
                system.sleep(0.05)
                continue
            if frame is not None:
                height, width = frame.pixels.shape[:2]
                word = "SIMULATED, " if source.simulated else ""
                found = f"{word}{kind}: a frame of {width} x {height}" + (f" after {faults} faults" if faults else "")
                return Finding("camera", Level.WARNING if faults else Level.OK, found, last)
    finally:
        source.close()
    if faults:
        return Finding("camera", Level.FAIL, f"{kind}: no frame, {faults} faults", last)
    level = Level.WARNING if settings.source.watch else Level.FAIL
    return Finding(
        "camera", level, f"{kind}: no frame within {_FRAME_WITHIN_S:.0f} s", "check its cable and its trigger"
    )


def _newest_result(settings: Settings) -> Finding:
    from agent.store.database import FILE_NAME, open_read_only

    with closing(open_read_only(settings.home_folder / FILE_NAME)) as connection:
        row = connection.execute("SELECT captured_at, cause FROM results ORDER BY id DESC LIMIT 1").fetchone()
    if row is None:
        return Finding("camera", Level.WARNING, "the running station has it, and has judged nothing yet")
    age_s, cause = SystemClock().now() - float(row[0]), str(row[1])
    if cause == "camera_fault":
        return Finding("camera", Level.FAIL, "the running station cannot capture frames", "check its cable and power")
    level = Level.OK if age_s < _LATE_FRAME_S else Level.WARNING
    return Finding("camera", level, f"the running station has it; its last frame is {age_s:.0f} s old")


def model(settings: Settings) -> Finding:
    """Run the golden vectors of the bundle that boots, in a limited subprocess."""
    from agent.slots.ab_slots import Slots
    from agent.slots.selftest import SubprocessSelfTest
    from agent.slots.unpacked import open_archive

    folder = settings.home_folder / "bundles"
    with tempfile.TemporaryDirectory(prefix="plumbline-doctor-") as scratch:
        bundle = None
        if (folder / "slots").is_dir() and (folder / "committed").is_dir():
            bundle = Slots(folder).boot_bundle()
        if bundle is None and settings.bundle.path:
            bundle = open_archive(settings.path(settings.bundle.path), Path(scratch) / "bundle")
        if bundle is None:
            return Finding(
                "model",
                Level.WARNING,
                "no bundle is installed: every frame is REVIEW",
                "set [bundle] path, or roll one out",
            )
        name = f"{bundle.manifest.name} {bundle.manifest.version} {bundle.digest[:12]}"
        wrong = SubprocessSelfTest(timeout_s=60.0).run(bundle.folder)
        if wrong:
            return Finding("model", Level.FAIL, f"{name}: {wrong}", "install another bundle")
        if bundle.manifest.golden is None:
            return Finding(
                "model", Level.WARNING, f"{name} loads", "make its bundle with golden vectors, to know its answers"
            )
        return Finding("model", Level.OK, f"{name} loads and gives its golden answers")


def runtimes(settings: Settings) -> Finding:
    """Say what can run models here, and whether a GPU lies idle."""
    try:
        import onnxruntime
    except ImportError as error:
        return Finding("runtimes", Level.FAIL, f"no ONNX Runtime: {error}", "pip install 'plumbline-edge[agent]'")
    short = [str(name).removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    gpu = [path for path in ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0") if Path(path).exists()]
    found = f"ONNX Runtime {onnxruntime.__version__}: {', '.join(short)}; {'a GPU' if gpu else 'no GPU'}"
    if gpu and not {"CUDA", "Tensorrt"} & set(short):
        return Finding("runtimes", Level.WARNING, found, "install the ONNX Runtime built for this GPU to use it")
    return Finding("runtimes", Level.OK, found)


def trust(settings: Settings) -> Finding:
    """Read the pinned root and order keys as the update loop would."""
    pinned = settings.trust
    if not pinned.order_keys:
        level = Level.WARNING if settings.cloud.url else Level.OK
        return Finding("trust", level, "no order keys are pinned: updates are not followed")
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata

    from contract.signature import OrderKey

    for name in pinned.order_keys:
        try:
            msgspec.json.decode(settings.path(name).read_bytes(), type=OrderKey)
        except (OSError, msgspec.DecodeError) as error:
            return Finding("trust", Level.FAIL, f"order key '{name}': {error}", "copy it from the cloud again")
    try:
        root = Metadata.from_bytes(settings.path(pinned.root).read_bytes()).signed
    except (OSError, RepositoryError, ValueError) as error:
        return Finding("trust", Level.FAIL, f"root '{pinned.root}': {error}", "pin the cloud's root.json again")
    if root.type != "root":
        return Finding("trust", Level.FAIL, f"'{pinned.root}' is no TUF root", "pin the cloud's root.json again")
    # OTA-1: an old pinned root still leads to newer ones; its age is no fault.
    return Finding("trust", Level.OK, f"{len(pinned.order_keys)} order keys, root version {root.version}")


def secrets(settings: Settings) -> Finding:
    """Look at who may read the token files and the private key."""
    named = {"cloud.token_file": settings.cloud.token_file, "api.token_file": settings.api.token_file}
    named |= {"broker.key_file": settings.broker.key_file, "cloud.key_file": settings.cloud.key_file}
    for key, name in named.items():
        if not name:
            continue
        try:
            mode = settings.path(name).stat().st_mode
            empty = not settings.path(name).read_bytes().strip()
        except OSError as error:
            return Finding("secrets", Level.FAIL, f"{key}: {error.strerror or error}", "provision it")
        if empty:
            return Finding("secrets", Level.FAIL, f"{key}: '{name}' is empty", "provision it")
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            return Finding("secrets", Level.WARNING, f"{key}: others may read '{name}'", f"chmod 640 {name}")
    count = len(set(named.values()) - {""})
    return Finding(
        "secrets", Level.OK, f"{count} files, not for others to read" if count else "no secret files are used"
    )
