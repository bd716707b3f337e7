"""GStreamer: real pipelines on the system's Python where it has GStreamer; its absence everywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.clock import SystemClock
from agent.ports.source import Frame, FrameSource
from agent.settings import load_settings
from agent.source_wiring import open_source
from agent.sources import gst_worker
from agent.sources.gstreamer import SYSTEM_PYTHON, open_gstreamer
from contract.errors import CameraFault, InvalidConfig

OPTIONS: dict[str, Any] = {"python": SYSTEM_PYTHON, "hardware_trigger": False, "stall_s": 5.0}
LIVE = "videotestsrc is-live=true pattern=red ! video/x-raw,width=322,height=24,framerate=30/1"


def has_gstreamer() -> bool:
    check = (SYSTEM_PYTHON, "-I", gst_worker.__file__, "--check", "videotestsrc")
    try:
        return subprocess.run(check, capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


with_gstreamer = pytest.mark.skipif(
    not has_gstreamer(),
    reason="NO GSTREAMER HERE: apt-get install python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0"
    " gstreamer1.0-plugins-base",
)


def source_of(pipeline: str, **options: Any) -> FrameSource:
    return open_gstreamer(pipeline, SystemClock(), lambda: 0.1, **(OPTIONS | options))


def frames_of(source: FrameSource, count: int, within_s: float = 15) -> list[Frame]:
    end, frames = time.monotonic() + within_s, []
    while len(frames) < count:
        assert time.monotonic() < end, "no frames"
        frame = source.read()
        frames += [frame] if frame else []
    return frames


def worker_of(source: Any) -> int:
    return int(source._camera._process.pid)


def test_an_interpreter_without_gi_is_told_the_packages(tmp_path: Path) -> None:
    # This test's own Python in isolation: a virtual environment has no gi.
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(InvalidConfig, match="has no GStreamer") as caught:
        source_of("videotestsrc", python=str(bare))
    assert "python3-gi" in caught.value.hint


def test_no_interpreter_at_all_and_no_pipeline_are_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be run") as caught:
        source_of("videotestsrc", python="/nowhere/python3")
    assert "source.gst_python" in caught.value.hint
    with pytest.raises(InvalidConfig, match="cannot run GStreamer"):
        source_of("videotestsrc", python="/bin/false")
    with pytest.raises(InvalidConfig, match="no pipeline"):
        source_of("  ")
    (tmp_path / "agent.toml").write_text('station = "s1"\nhome = "h"\n[source]\nkind = "gstreamer"\n')
    with pytest.raises(InvalidConfig, match=r"source\.pipeline"):
        load_settings(tmp_path / "agent.toml")


@with_gstreamer
def test_agent_toml_opens_a_pipeline_that_gives_rgb(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        f'station = "s1"\nhome = "h"\n[source]\nkind = "gstreamer"\npipeline = "{LIVE}"\n'
    )
    source = open_source(load_settings(tmp_path / "agent.toml"), SystemClock())
    try:
        for frame in frames_of(source, 5):
            assert frame.pixels.shape == (24, 322, 3)  # rows of 966 bytes are padded to 968 on the way
            assert np.abs(frame.pixels.astype(int) - (255, 0, 0)).max() < 3
            assert (frame.part, frame.trigger) == ("", None)
    finally:
        source.close()


@with_gstreamer
def test_grey_stays_grey_and_triggers_are_counted() -> None:
    source = source_of(LIVE + ",format=GRAY8 ! appsink", hardware_trigger=True)
    frames = frames_of(source, 5)
    source.close()
    assert {frame.pixels.shape for frame in frames} == {(24, 322)}
    triggers = [frame.trigger for frame in frames if frame.trigger is not None]
    assert len(triggers) == 5
    assert triggers == sorted(set(triggers))


@with_gstreamer
def test_a_slow_reader_gets_the_newest_image_and_the_dropped_ones_are_counted() -> None:
    source = source_of(LIVE)
    frames_of(source, 3)
    asleep_at = time.monotonic()
    time.sleep(2.0)
    awake_at, awake = time.monotonic(), time.time()
    frame = frames_of(source, 1)[0]
    away_s = time.monotonic() - asleep_at
    source.close()
    assert 20 <= frame.skipped <= 30 * away_s + 10
    assert frame.captured_monotonic > awake_at - 1.0 and frame.captured_at > awake - 1.0


@with_gstreamer
def test_a_pipeline_that_cannot_be_built_is_refused_in_gstreamers_words() -> None:
    with pytest.raises(InvalidConfig, match="nosuchelement"):
        source_of("nosuchelement ! videoconvert")
    with pytest.raises(InvalidConfig, match="cannot be built"):
        source_of("videotestsrc ! ! !")
    with pytest.raises(InvalidConfig, match="2 appsinks"):
        source_of("videotestsrc ! appsink videotestsrc ! appsink")


@with_gstreamer
def test_a_pipeline_that_ends_is_a_fault_and_is_started_again() -> None:
    source = source_of("videotestsrc num-buffers=3 is-live=true")
    frames_of(source, 1)
    with pytest.raises(CameraFault, match="the pipeline ended"):
        frames_of(source, 1000)
    assert frames_of(source, 1)
    source.close()


@with_gstreamer
def test_a_pipeline_that_hangs_is_a_fault_and_can_be_closed() -> None:
    # The streaming thread sleeps for 100 s: stopping such a pipeline in our own process would wait for it.
    source = source_of("videotestsrc ! identity sleep-time=100000000", stall_s=1.5)
    with pytest.raises(CameraFault, match=r"no frame for 1\.5 s"):
        frames_of(source, 1)
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 30  # it would hang for 100


@pytest.mark.slow
@with_gstreamer
def test_a_worker_that_dies_or_freezes_is_a_fault_and_replaced() -> None:
    source = source_of(LIVE)
    frames_of(source, 2)
    os.kill(worker_of(source), signal.SIGKILL)
    with pytest.raises(CameraFault, match="died"):
        frames_of(source, 1000)
    frames_of(source, 2)
    frozen = worker_of(source)
    os.kill(frozen, signal.SIGSTOP)
    with pytest.raises(CameraFault, match="hangs"):
        frames_of(source, 1000)
    frames_of(source, 2)
    assert worker_of(source) != frozen
    source.close()


@with_gstreamer
def test_no_worker_outlives_an_agent_that_was_killed() -> None:
    worker = subprocess.Popen(
        (SYSTEM_PYTHON, "-I", gst_worker.__file__, "--run", "videotestsrc ! identity sleep-time=100000000"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(b"n")
    worker.stdin.flush()
    assert len(worker.stdout.read(gst_worker.HEADER.size)) == gst_worker.HEADER.size
    worker.stdin.close()  # what the end of the agent does to it
    assert worker.wait(60) == 0
    worker.stdout.close()
