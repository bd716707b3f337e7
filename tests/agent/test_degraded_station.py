"""A whole station on a board that gets hot: its sensors, ladder, camera and cloud, wired as they are in a plant."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import agent.line_wiring
from agent.clock import SystemClock
from agent.health.kernel_files import KernelFiles
from agent.health.linux_machine import LinuxMachine
from agent.settings import load_settings
from agent.wiring import Station
from contract.codec import decode_summary
from contract.messages import Summary
from tests.fakes.agent_line import ListLog
from tests.fakes.opinion_cloud import opinion_cloud
from tests.tiny_bundle import write_bundle


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.02)


def summaries(home: Path) -> list[Summary]:
    with closing(sqlite3.connect(home / "agent.sqlite", timeout=10)) as connection:
        return [decode_summary(payload) for (payload,) in connection.execute("SELECT payload FROM outbox ORDER BY id")]


@pytest.mark.slow
def test_a_hot_station_gives_up_opinions_then_frames_says_so_and_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu-thermal\n")
    (zone / "temp").write_text("40000\n")
    monkeypatch.setattr(agent.line_wiring, "LinuxMachine", lambda low_battery: LinuxMachine(KernelFiles(tmp_path)))
    write_bundle(tmp_path / "tiny.plb", pass_at=1.0)  # whatever looks good is unsure
    log = ListLog()
    with opinion_cloud() as cloud:
        (tmp_path / "agent.toml").write_text(
            'station = "s1"\nhome = "state"\n[source]\nfps = 100.0\nheight = 32\nwidth = 32\n[bundle]\npath = "tiny.plb"\n'
            '[line]\ndeadline_ms = 5000.0\n[windows]\nframes = 20\n[broker]\nhost = ""\n[api]\nport = 0\n'
            f'[cloud]\nurl = "{cloud.url}"\n[policy]\nfallback = true\nfallback_per_s = 1000.0\ndeferred = false\n'
            "[degrade]\nclimb_s = 0.1\nrelief_s = 0.1\n"
        )
        station = Station(load_settings(tmp_path / "agent.toml"), SystemClock(), log)
        stop = threading.Event()
        runner = threading.Thread(target=station.run, args=(stop,), daemon=True)
        runner.start()
        try:
            # A window of frames is over that knew of no heat.
            wait_for(lambda: len(cloud.requests) > 5 and len(summaries(tmp_path / "state")) > 0)
            (zone / "temp").write_text("99000\n")
            wait_for(lambda: any("no second opinion" in said for said in log.lines))
            wait_for(lambda: any("one frame in 2" in said for said in log.lines))
            # A question that was under way when it was said may still arrive among the first of these frames.
            for _ in range(2):
                asked = len(cloud.requests)
                judged = station.frame_loop.frames
                wait_for(lambda judged=judged: station.frame_loop.frames > judged + 20)  # type: ignore[misc]
            assert len(cloud.requests) == asked
            (zone / "temp").write_text("40000\n")
            wait_for(lambda: any("no longer degraded" in said for said in log.lines))
            wait_for(lambda: len(cloud.requests) > asked)
        finally:
            stop.set()
            runner.join(60)
            station.close()
    told = summaries(tmp_path / "state")
    assert all(summary.accounting.closes() for summary in told)
    assert sum(summary.accounting.dropped.get("skipped", 0) for summary in told) > 0
    assert any("heat" in summary.note for summary in told)
    assert "degraded" not in told[0].note
