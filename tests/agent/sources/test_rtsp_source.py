"""RTSP against a real server on loopback, decoded by the real FFmpeg."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import SystemClock
from agent.ports.source import Frame, FrameSource
from agent.settings import load_settings
from agent.source_wiring import open_source
from agent.sources.rtsp import StreamTiming, open_rtsp, without_password
from contract.errors import BadImage, CameraFault, InvalidConfig, PlumblineError
from tests.fakes.rtsp_server import FPS, GROUP, HEIGHT, WIDTH, RtspServer, number_in

SERVER = Path(__file__).parents[2] / "fakes/rtsp_server.py"


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server


def source_of(url: str, stall_s: float = 30.0) -> FrameSource:
    return open_rtsp(url, SystemClock(), lambda: 0.2, stall_s=stall_s)


def watch(
    source: FrameSource, until_s: float, enough: int = 1, faulty: int = 10_000
) -> tuple[list[Frame], list[PlumblineError]]:
    """Read until there are `enough` frames or `faulty` faults; each read comes back within the second that the port promises."""
    frames: list[Frame] = []
    faults: list[PlumblineError] = []
    end = time.monotonic() + until_s
    while len(frames) < enough and len(faults) < faulty and time.monotonic() < end:
        began = time.monotonic()
        try:
            frame = source.read()
        except (CameraFault, BadImage) as fault:
            faults.append(fault)
        else:
            frames += [frame] if frame is not None else []
        assert time.monotonic() - began < 20.0  # a second, and room for a busy machine; a stall would be 30
    return frames, faults


@pytest.mark.slow
def test_every_picture_of_the_stream_arrives_in_order_as_rgb(server: RtspServer) -> None:
    source = source_of(server.url)
    frames, faults = watch(source, 60, enough=30)
    source.close()
    assert faults == []
    numbers = [number_in(frame.pixels) for frame in frames]
    assert len(numbers) == 30
    # Consecutive, but for what the source says it skipped (a busy machine may fall behind).
    assert [after - before for before, after in pairwise(numbers)] == [1 + frame.skipped for frame in frames[1:]]
    for frame in frames:
        assert frame.pixels.shape == (HEIGHT, WIDTH, 3)
        red, green, blue = frame.pixels[8, 80].astype(int)
        assert red > 190 and green < 70 and blue < 70
        assert (frame.part, frame.trigger) == ("", None)


@pytest.mark.slow
def test_a_slow_reader_gets_the_newest_picture_and_the_dropped_ones_are_counted(server: RtspServer) -> None:
    source = source_of(server.url)
    (before, *_), _ = watch(source, 60)
    watch(source, 60, enough=3)
    time.sleep(3.0)
    slept_until = time.monotonic()
    (after, *_), _ = watch(source, 60)
    source.close()
    assert after.skipped >= FPS
    assert after.captured_monotonic > slept_until - 1.5, "it is none of those that went by meanwhile"
    gone_by = (after.captured_monotonic - before.captured_monotonic) * FPS
    assert number_in(after.pixels) - number_in(before.pixels) == pytest.approx(gone_by, abs=FPS)


def test_a_frame_is_as_old_as_its_bytes_and_not_as_the_call_that_waited_for_it(server: RtspServer) -> None:
    source = source_of(server.url)
    watch(source, 60, enough=5)
    waited_for, same_age = 0, 0
    end = time.monotonic() + 60
    # A busy machine may hold up any single read, and then says nothing about it; it does not hold up all of them.
    while (waited_for < 8 or same_age < 8) and time.monotonic() < end:
        asked_at = time.monotonic()
        frame = source.read()
        now = time.monotonic()
        if frame is None:
            continue
        assert frame.captured_monotonic <= now
        waited_for += now - asked_at > 0.03 and frame.captured_monotonic > asked_at + 0.02
        same_age += abs((time.time() - frame.captured_at) - (time.monotonic() - frame.captured_monotonic)) < 0.05
    source.close()
    assert waited_for >= 8 and same_age >= 8


@pytest.mark.slow
def test_a_camera_that_loses_power_is_a_fault_and_comes_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            (sys.executable, str(SERVER), str(port)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    def kill(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.communicate()

    source = source_of(f"rtsp://127.0.0.1:{port}/line")
    process = start()
    try:
        frames, _ = watch(source, 60, enough=5)
        assert len(frames) == 5
        kill(process)
        frames, faults = watch(source, 60, enough=10_000, faulty=2)
        assert len(faults) == 2, "the loss, and at least one attempt to come back"
        assert all(isinstance(fault, CameraFault) and fault.hint for fault in faults)
        assert "127.0.0.1" in faults[0].message
        process = start()
        frames, _ = watch(source, 60, enough=5)
        assert len(frames) == 5
    finally:
        kill(process)
        source.close()


@pytest.mark.slow
def test_a_camera_that_falls_silent_is_a_fault_after_stall_s_and_not_before(server: RtspServer) -> None:
    source = source_of(server.url, stall_s=5.0)
    watch(source, 60, enough=3)
    server.silent.set()
    frames, faults = watch(source, 2.0, enough=10_000)
    assert faults == []
    server.silent.clear()
    frames, faults = watch(source, 60, enough=5)
    assert (len(frames), faults) == (5, []), "the same connection goes on"
    assert server.clients == 1
    server.silent.set()
    _, faults = watch(source, 60, enough=10_000, faulty=1)
    assert [fault.message for fault in faults[:1]] == [f"the camera at {server.url} gave no frame for 5 s"]
    source.close()


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [4 * GROUP, 4 * GROUP + 3])
def test_a_damaged_picture_is_a_bad_image_and_so_is_all_that_builds_on_it(damaged: int) -> None:
    with RtspServer(damage=damaged) as server:
        source = source_of(server.url)
        frames, faults = watch(source, 60, enough=4 * GROUP - 5)
        source.close()
    numbers = [number_in(frame.pixels) for frame in frames]
    assert len(faults) == 5 * GROUP - damaged, "from the damaged one to the next key frame"
    assert all(isinstance(fault, BadImage) for fault in faults)
    assert not set(range(damaged, 5 * GROUP)) & set(numbers)
    # Every other one is there, but for what the source says it skipped (a busy machine may fall behind).
    for (before, after), frame in zip(pairwise(numbers), frames[1:], strict=True):
        damaged_between = 5 * GROUP - damaged if before < damaged < after else 0
        assert after - before == 1 + frame.skipped + damaged_between
    assert numbers[0] < damaged < numbers[-1]


def test_a_wrong_password_is_said_without_showing_it() -> None:
    with RtspServer(password="right") as server:
        good = source_of(server.url.replace("//", "//u:right@"))
        assert len(watch(good, 60)[0]) == 1
        good.close()
        bad = source_of(server.url.replace("//", "//u:s3cret@"))
        _, faults = watch(bad, 60, faulty=1)
        bad.close()
    assert "refuses the user or password" in faults[0].message
    assert all("s3cret" not in fault.one_line() for fault in faults)


def test_nobody_at_the_address_is_a_fault_that_a_station_survives() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    source = source_of(f"rtsp://u:s3cret@127.0.0.1:{port}/line")
    _, faults = watch(source, 60, faulty=1)
    source.close()
    assert "Connection refused" in faults[0].message
    assert "s3cret" not in faults[0].one_line()


def test_a_server_that_accepts_and_says_nothing_does_not_block_a_read_or_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        source = source_of(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/line")
        assert watch(source, 1.5) == ([], [])
        began = time.monotonic()
        source.close()
        assert time.monotonic() - began < 20  # a stall would be 30


def test_agent_toml_opens_it(tmp_path: Path, server: RtspServer) -> None:
    (tmp_path / "agent.toml").write_text(
        f'station = "s1"\nhome = "state"\n[source]\nkind = "rtsp"\nurl = "{server.url}"\nstall_s = 3\n'
    )
    source = open_source(load_settings(tmp_path / "agent.toml"), SystemClock())
    frames, _ = watch(source, 60)
    source.close()
    assert len(frames) == 1
    assert not source.simulated


@pytest.mark.parametrize(
    "url",
    ["", "http://cam/x", "rtsp://", "rtsp://cam:99999/x", "file:///etc/passwd", "rtsp://a b/", "rtsp://u:s3cret@/"],
)
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidConfig, match="no RTSP address") as caught:
        source_of(url)
    assert "s3cret" not in caught.value.one_line()
    assert "rtsp://user" in caught.value.hint


@given(st.text(), st.text(st.characters(blacklist_characters="@"), min_size=1))
def test_no_password_is_ever_shown(password: str, host: str) -> None:
    assert without_password(f"rtsp://u:{password}@{host}".replace("\n", "")).startswith("rtsp://***@")


PTS = st.lists(st.floats(0.003, 1.0), min_size=1, max_size=50)


@given(PTS, st.floats(-1e5, 1e5))
def test_pictures_that_were_waited_for_are_as_old_as_their_arrival(gaps: list[float], offset: float) -> None:
    timing, pts = StreamTiming(), 0.0
    for gap in gaps:
        pts += gap
        at = offset + pts * 1.004  # this camera's timestamps drift from real time, as cheap ones do
        timing.arrived(at, pts, waited_s=gap)
        assert timing.complete_at(at, pts) == pytest.approx(at)


@given(st.integers(1, 100), st.floats(0.5, 10))
def test_pictures_that_lay_waiting_are_as_old_as_the_stream_says(count: int, delay_s: float) -> None:
    timing = StreamTiming()
    timing.arrived(50.0, 7.0, waited_s=0.05)
    read_at = 50.0 + count * 0.05 + delay_s
    for number in range(1, count + 1):
        timing.arrived(read_at, 7.0 + number * 0.05, waited_s=0.0)
        assert timing.complete_at(read_at, 7.0 + number * 0.05) == pytest.approx(50.0 + number * 0.05)


@given(st.integers(5, 40), st.floats(0.0021, 0.02))
def test_a_slow_call_makes_no_old_picture_new(backlog: int, call_s: float) -> None:
    """Reading a backlog while another thread has the interpreter: each call takes milliseconds, and none of it is waiting."""
    timing = StreamTiming()
    timing.arrived(50.0, 7.0, waited_s=0.05)
    read_at = 50.0 + backlog * 0.05
    for number in range(1, backlog):
        read_at += call_s
        timing.arrived(read_at, 7.0 + number * 0.05, waited_s=call_s)
        assert timing.complete_at(read_at, 7.0 + number * 0.05) == pytest.approx(50.0 + number * 0.05)


def test_a_stream_that_has_become_slower_is_believed_after_three_pictures() -> None:
    timing = StreamTiming()
    timing.arrived(50.0, 7.0, waited_s=0.05)
    for number in range(1, 4):  # the reader was away for 2 s, and from then on the camera is .5 s late for good
        at = 52.0 + number * 0.05
        timing.arrived(at, 8.5 + number * 0.05, waited_s=0.04)
        assert timing.complete_at(at, 8.5 + number * 0.05) == pytest.approx(at if number == 3 else at - 0.5)


def test_a_burst_of_old_pictures_at_the_start_and_a_clock_set_back_are_no_age() -> None:
    timing = StreamTiming()
    for number in range(50):
        timing.arrived(100.0, number * 0.04, waited_s=0.04 if number == 0 else 0.0)
    assert timing.complete_at(100.0, 49 * 0.04) == pytest.approx(100.0)
    timing.arrived(100.01, 0.5, waited_s=0.0)
    assert timing.complete_at(100.01, 0.5) == pytest.approx(100.01)
    timing.arrived(100.02, None, waited_s=0.0)
    assert timing.complete_at(100.02, None) == 100.02


@pytest.mark.parametrize("burst", [0, 40, 150])
def test_pictures_of_before_the_connection_are_never_taken_for_new_ones(burst: int) -> None:
    with RtspServer(burst=burst) as server:
        source = source_of(server.url)
        frames, faults = watch(source, 60, enough=20)
        source.close()
        assert (len(frames), faults) == (20, [])
        for frame in frames:
            taken_s = server.taken_s[number_in(frame.pixels)]
            assert frame.captured_monotonic - taken_s < 1.0, "a picture is older than it says"
        numbers = [number_in(frame.pixels) for frame in frames]
        assert [after - before for before, after in pairwise(numbers)] == [1 + frame.skipped for frame in frames[1:]]


def test_a_reader_that_is_as_fast_as_the_stream_gets_its_frames_though_it_never_waits() -> None:
    timing = StreamTiming()
    for number in range(40):
        timing.arrived(100.0 + number * 0.05, number * 0.05, waited_s=0.0)
    assert timing.live
    timing = StreamTiming()
    for number in range(20):
        timing.arrived(100.0 + number * 0.01, number * 0.05, waited_s=0.0)
    assert not timing.live
