"""A station process learns what is familiar, keeps it through a restart, and says of a stranger that it is one."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from contract.codec import decode_summary
from tests.fixtures_broker import free_port
from tests.station_process import Station, wait_for
from tests.tiny_bundle import write_bundle


def put(folder: Path, name: str, level: int, *, striped: bool = False) -> None:
    rng = np.random.default_rng(sum(name.encode()))
    pixels = rng.normal(level + rng.normal(0.0, 2.0), 10.0, (32, 32))
    if striped:
        pixels[::2] -= 90
    body = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    body.save(folder / f".{name}", "PNG")
    (folder / f".{name}").rename(folder / name)


def verdict_of(station: Station, part: str) -> tuple[str, str]:
    wait_for(lambda: bool(station.query(f"SELECT 1 FROM results WHERE part = '{part}'")))
    ((verdict, cause),) = station.query(f"SELECT verdict, cause FROM results WHERE part = '{part}'")
    return str(verdict), str(cause)


@pytest.mark.slow
def test_a_station_refuses_a_stranger_after_a_restart_and_its_status_and_metrics_say_so(tmp_path: Path) -> None:
    parts, port = tmp_path / "parts", free_port()
    parts.mkdir()
    for number in range(40):
        put(parts, f"good{number:02d}.png", 200)
    station = Station(tmp_path, 1, extra=f"[api]\nport = {port}\n")
    text = station.config.read_text().replace("unfamiliar = 0.0", "unfamiliar = 0.1")
    source = f'kind = "folder"\nfolder = "{parts}"\nwatch = true\nloop = false\nfps = 200.0\n'
    station.config.write_text(text.replace("fps = 200.0\nheight = 32\nwidth = 32\n", source))
    try:
        station.start()
        wait_for(lambda: station.rows() == 40)
        wait_for(lambda: "refused as unfamiliar" in station.said())
        wait_for(lambda: bool(station.query("SELECT 1 FROM memory WHERE name = 'refusal_limit' AND value <> ''")))
        assert station.end(signal.SIGTERM) == 0
        # A folder that is watched is read anew by a station that starts.
        for file in parts.iterdir():
            file.unlink()
        station.start()
        put(parts, "stranger.png", 230, striped=True)
        assert verdict_of(station, "stranger.png") == ("REVIEW", "unfamiliar")
        put(parts, "again.png", 200)
        assert verdict_of(station, "again.png")[1] in ("", "unfamiliar")
        wait_for(lambda: station.status()["review_causes"].get("unfamiliar", 0) >= 1)
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        assert 'verdict="REVIEW",cause="unfamiliar"' in metrics
        assert "learning what is unfamiliar" not in station.said(), "it was learnt, and kept"
    finally:
        station.close()


def test_a_station_tells_the_cloud_which_share_it_refused(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    for number in range(60):
        put(parts, f"part{number:02d}.png", 200, striped=number >= 54)
    write_bundle(tmp_path / "tiny.plb")
    config = tmp_path / "agent.toml"
    config.write_text(
        'station = "s1"\nhome = "state"\n[broker]\nhost = ""\n[source]\nkind = "folder"\nfolder = "parts"\nloop = false\nfps = 0\n'
        '[bundle]\npath = "tiny.plb"\n[line]\ndeadline_ms = 60000.0\nunfamiliar = 0.1\n[enrol]\nframes = 10\n[api]\nport = 0\n'
    )
    command = (sys.executable, "-m", "agent", "run", "--config", str(config))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    with closing(sqlite3.connect(tmp_path / "state/agent.sqlite")) as connection:
        told = [decode_summary(payload) for (payload,) in connection.execute("SELECT payload FROM outbox ORDER BY seq")]
    refused = sum(each.accounting.review.get("unfamiliar", 0) for each in told)
    assert refused >= 6 and told[-1].health is not None
    assert told[-1].health.unfamiliar == pytest.approx(refused / 60, abs=1e-4)
