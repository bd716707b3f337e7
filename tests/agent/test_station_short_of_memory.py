"""A whole station on a machine that runs out of memory, with a model beside the one in charge: its sensors and wiring are the
real ones."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import agent.degrading
import agent.line_wiring
from agent.clock import SystemClock
from agent.health.linux_machine import LinuxMachine
from agent.settings import load_settings
from agent.wiring import Station
from tests.agent.health.recorded_trees import unpack, write
from tests.agent.test_degraded_station import summaries, wait_for
from tests.fakes.agent_line import ListLog
from tests.tiny_bundle import write_bundle


@pytest.mark.slow
def test_a_station_out_of_memory_gives_up_the_model_beside_passes_nothing_and_takes_it_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = unpack("orin_nano_jp6", tmp_path / "root")
    monkeypatch.setattr(agent.degrading, "_EVERY_S", 0.1)  # ten times as fast as a station looks
    monkeypatch.setattr(agent.line_wiring, "LinuxMachine", lambda low_battery: LinuxMachine(files))
    write_bundle(tmp_path / "tiny.plb", pass_at=0.5)
    write_bundle(tmp_path / "beside.plb", pass_at=0.5)
    (tmp_path / "agent.toml").write_text(
        'station = "s1"\nhome = "state"\n[source]\nfps = 50.0\nheight = 32\nwidth = 32\n[bundle]\npath = "tiny.plb"\n'
        '[windows]\nframes = 10\n[broker]\nhost = ""\n[api]\nport = 0\n[[models]]\nname = "foreign"\nbundle = "beside.plb"\n'
        "[degrade]\nclimb_s = 0.1\nrelief_s = 0.1\n"
    )
    log = ListLog()
    station = Station(load_settings(tmp_path / "agent.toml"), SystemClock(), log)
    stop = threading.Event()
    runner = threading.Thread(target=station.run, args=(stop,), daemon=True)
    runner.start()

    def said(words: str) -> int:
        return sum(words in line for line in log.lines)

    def meminfo(available_kib: int) -> None:
        # Whole at once: the station may read at any moment.
        write(tmp_path, "root/proc/new", f"MemTotal: 7802624 kB\\nMemAvailable: {available_kib} kB")
        (tmp_path / "root/proc/new").replace(files.proc / "meminfo")

    try:
        wait_for(lambda: said("'foreign' looks on") == 1)
        meminfo(60_000)
        wait_for(lambda: said("the models beside the one in charge are given up") == 1)
        assert said("smaller artefact: memory: 59 of 7620 MiB are left") == 1
        judged = station.frame_loop.frames
        wait_for(lambda: station.frame_loop.frames > judged + 40)
        meminfo(4_000_000)
        wait_for(lambda: said("'foreign' looks on") == 2)
        wait_for(lambda: said("no longer degraded") == 1)
    finally:
        stop.set()
        runner.join(60)
        station.close()
    told = summaries(tmp_path / "state")
    assert all(summary.accounting.closes() for summary in told)
    passed = [summary.accounting.passed for summary in told if summary.accounting.review.get("no_model", 0) > 5]
    assert 0 in passed and sum(summary.accounting.passed for summary in told) > 0
    assert any("memory: 59 of 7620 MiB" in summary.note for summary in told)
    notes = [summary.health for summary in told if summary.health is not None]
    assert any(note.free_memory_mib == 59.0 for note in notes) and all(note.power_w == 7.6 for note in notes)


def test_a_station_without_models_beside_is_told_nothing_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = unpack("orin_nano_jp6", tmp_path / "root")
    monkeypatch.setattr(agent.degrading, "_EVERY_S", 0.05)
    monkeypatch.setattr(agent.line_wiring, "LinuxMachine", lambda low_battery: LinuxMachine(files))
    write(tmp_path, "root/proc/meminfo", "MemTotal: 7802624 kB\\nMemAvailable: 60000 kB")
    write_bundle(tmp_path / "tiny.plb", pass_at=0.5)
    (tmp_path / "agent.toml").write_text(
        'station = "s1"\nhome = "state"\n[source]\nfps = 50.0\nheight = 32\nwidth = 32\n[bundle]\npath = "tiny.plb"\n'
        '[broker]\nhost = ""\n[api]\nport = 0\n[degrade]\nclimb_s = 0.1\nrelief_s = 0.1\n'
    )
    log, stop = ListLog(), threading.Event()
    station = Station(load_settings(tmp_path / "agent.toml"), SystemClock(), log)
    runner = threading.Thread(target=station.run, args=(stop,), daemon=True)
    runner.start()
    try:
        wait_for(lambda: any("smaller artefact: memory" in line for line in log.lines))
        judged = station.frame_loop.frames
        wait_for(lambda: station.frame_loop.frames > judged + 60)
    finally:
        stop.set()
        runner.join(30)
        station.close()
    assert not any("beside" in line for line in log.lines)
