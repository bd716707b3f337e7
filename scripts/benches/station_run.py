"""A station as its own process, `plumbline-agent run`, measured from outside: /proc and its results table."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from contract.errors import RefusedError
from scripts.benches.process_meter import rss_mb, used

_CONFIG = """\
station = "bench"
home = "state"
[source]
kind = "folder"
folder = "{images}"
fps = 0
[line]
deadline_ms = 60000.0
threads = 1
[runtime]
provider = "cpu"
[enrol]
frames = {enrol}
[broker]
host = ""
[bundle]
path = "{bundle}"
{extra}
"""
_START_WITHIN_S = 60.0
_STORED_WITHIN_S = 20.0


def write_config(home: Path, bundle: Path, images: Path, warm: int, *, windows: str = "", fresh: bool = True) -> Path:
    """Return the agent.toml of a station that judges `images` as fast as it goes; with `fresh` its `home` is emptied first."""
    if fresh:
        shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    config = home / "agent.toml"
    extra = f"[windows]\n{windows}\n" if windows else ""
    config.write_text(_CONFIG.format(images=images, bundle=bundle, enrol=max(2, warm // 2), extra=extra))
    return config


def run_station(
    home: Path,
    bundle: Path,
    images: Path,
    seconds: float,
    warm: int,
    *,
    python: str,
    windows: str = "",
    fresh: bool = True,
) -> dict[str, float]:
    """Run a station for `seconds` after its first `warm` frames are stored; return its figures.

    Everything that is no subject of this bench is as an agent.toml without that key has it: windows of 256 frames, 2 % audit
    images, a commit a second, the local API. The deadline is a minute, so that a busy machine makes no frame REVIEW.

    Args:
        home: a folder for it; with `fresh` it is emptied first.
        python: of the environment it runs in.
        windows: more keys of [windows], as TOML.
    Raises:
        RefusedError: the station did not start, or ended by itself; the message is its last line.
    """
    config, log = write_config(home, bundle, images, warm, windows=windows, fresh=fresh), home / "agent.log"
    database = home / "state" / "agent.sqlite"
    stored_before = _rows(database)
    with log.open("wb") as told:
        started_at = time.time()
        process = subprocess.Popen((python, "-m", "agent", "run", "--config", str(config)), stdout=told, stderr=told)
        try:
            _wait(lambda: _rows(database) >= stored_before + warm, process, log)
            begun_at, begun = time.time(), used(process.pid)
            _sleep(seconds, process, log)
            ended_at, ended = time.time(), used(process.pid)
            memory_mb = rss_mb(process.pid)
            process.send_signal(signal.SIGTERM)
            if process.wait(_STORED_WITHIN_S) != 0:
                raise RefusedError(f"the station did not end well: {_last_line(log)}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    with closing(sqlite3.connect(database)) as connection:
        rows = np.array(
            connection.execute(
                "SELECT captured_at, latency_ms, verdict = 'REVIEW' AND cause != 'unsure' FROM results ORDER BY id"
            ).fetchall()[stored_before:]
        )
    decided_at = rows[:, 0] + rows[:, 1] / 1e3
    inside = (decided_at >= begun_at) & (decided_at < ended_at)
    frames = int(inside.sum())
    if frames == 0 or rows[inside, 2].any():
        raise RefusedError(f"the station judged {frames} frames, {int(rows[inside, 2].sum())} of them broken")
    latencies = rows[inside, 1]
    return {
        "fps": frames / (ended_at - begun_at),
        "p50_ms": float(np.percentile(latencies, 50)),
        "p99_ms": float(np.percentile(latencies, 99)),
        "cpu_us": (ended.cpu_s - begun.cpu_s) / frames * 1e6,
        "rss_mb": memory_mb,
        "start_s": float(decided_at.min()) - started_at,
        "kib_per_1000": (ended.written - begun.written) / 1024 / frames * 1000,
    }


def _rows(database: Path) -> int:
    if not database.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute("SELECT COUNT(*) FROM results").fetchone()
            return int(count)
    except sqlite3.OperationalError:
        return 0  # not made yet, or being made


def _wait(until: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_s = time.monotonic() + _START_WITHIN_S
    while not until():
        if process.poll() is not None or time.monotonic() > give_up_s:
            raise RefusedError(f"the station did not get going: {_last_line(log)}")
        time.sleep(0.1)


def _sleep(seconds: float, process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise RefusedError(f"the station ended by itself: {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"
