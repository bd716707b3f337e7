"""A camera that goes away in the middle of a frame, as the running station sees it: REVIEW, counted, and on with the next part."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.fakes.agent_line import image
from tests.station_process import Station, wait_for


def station_on(folder: Path, source: str) -> Station:
    station = Station(folder, 1)
    text = station.config.read_text()
    station.config.write_text(text.replace("[source]\nfps = 200.0\nheight = 32\nwidth = 32\n", f"[source]\n{source}"))
    return station


def causes(station: Station) -> list[str]:
    """The cause of each row in order, "" for a PASS or a REJECT."""
    path = station.folder / "state/agent.sqlite"
    if not path.exists():
        return []
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT cause FROM results ORDER BY id")]
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def judged(station: Station) -> int:
    return sum(cause in ("", "unsure", "frozen_frame") for cause in causes(station))


def ends_well(station: Station) -> None:
    assert station.end(signal.SIGTERM) == 0
    status = station.status()
    assert status["captured"] == len(causes(station)) == status["passed"] + status["rejected"] + status["review"]
    assert "Traceback" not in station.said()


class CuttingProxy:
    """Passes bytes between one client and an RTSP server, and cuts the connection in the middle of a packet when told to."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut = threading.Event()
        self.cuts: list[int] = []
        """Bytes of the last picture's packet that still went through, one a cut."""
        self._closing = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closing = True
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closing:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
                threading.Thread(target=self._to_client, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := client.recv(65536):
                server.sendall(part)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError), client, server, server.makefile("rb") as stream:
            while first := stream.read(1):
                if first != b"$":  # an answer: a line of text
                    client.sendall(first + stream.readline())
                    continue
                head = stream.read(3)
                packet = stream.read(struct.unpack(">H", head[1:])[0])
                if self.cut.is_set() and len(packet) > 100:
                    self.cut.clear()
                    client.sendall(first + head + packet[: len(packet) // 2])
                    self.cuts.append(len(packet) // 2)
                    # A reset, as a cable that is pulled and a camera that reboots give in the end.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                client.sendall(first + head + packet)


@pytest.fixture
def proxy() -> Iterator[CuttingProxy]:
    pytest.importorskip("av")
    from tests.fakes.rtsp_server import RtspServer

    with RtspServer() as server:
        proxy = CuttingProxy(server.port)
        yield proxy
        proxy.close()


@pytest.mark.long
def test_an_rtsp_stream_cut_in_the_middle_of_a_packet(tmp_path: Path, proxy: CuttingProxy) -> None:
    station = station_on(tmp_path, f'kind = "rtsp"\nurl = "rtsp://127.0.0.1:{proxy.port}/line"\n')
    try:
        station.start()
        for cut in (1, 2):
            before = judged(station)
            wait_for(lambda before=before: judged(station) >= before + 10)
            faults = causes(station).count("camera_fault")
            proxy.cut.set()
            wait_for(lambda cut=cut: len(proxy.cuts) == cut)
            wait_for(lambda faults=faults: causes(station).count("camera_fault") > faults)
        before = judged(station)
        wait_for(lambda: judged(station) >= before + 10)
        ends_well(station)
        # Half a picture is a fault or a bad image; nothing was judged that was not whole.
        assert set(causes(station)) <= {"", "unsure", "camera_fault", "bad_image"}
    finally:
        station.close()


@pytest.mark.slow
def test_a_file_that_vanishes_between_being_listed_and_being_read(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    for n in range(40):
        Image.fromarray(image(230, n)).save(parts / f"{n:02}.png")
    station = station_on(tmp_path, f'kind = "folder"\nfolder = "{parts}"\nfps = 14.0\nloop = false\n')
    try:
        station.start()
        # The folder was listed before its first part was judged; the last five are read after two and a half seconds.
        wait_for(lambda: judged(station) > 0)
        for n in range(35, 40):
            (parts / f"{n:02}.png").unlink()
        assert station.process is not None
        assert station.process.wait(60) == 0
        station.process = None
        assert causes(station) == [""] * 35 + ["bad_image"] * 5
        assert "went away before it was read" in station.said()
    finally:
        station.close()


_HALF_A_FRAME = """\
#!{python}
# Plays the Python that has gi: three whole images, then half of one, then death. Again at each start.
import os, signal, struct, sys, time
if sys.argv[3] == "--check":
    sys.exit(0)
head, size = struct.Struct("<cIIIQQI"), 64 * 64
for count in range(1, 5):
    if not os.read(0, 1):
        sys.exit(0)
    time.sleep(0.02)
    pixels = bytes((200 + (at * count) % 50 for at in range(size)))
    whole = head.pack(b"F", 64, 64, 1, int(time.monotonic() * 1e6), count, size) + pixels
    os.write(1, whole if count < 4 else whole[: head.size + size // 2])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_gstreamer_worker_killed_while_it_hands_a_frame_over(tmp_path: Path) -> None:
    worker = tmp_path / "gst-python"
    worker.write_text(_HALF_A_FRAME.format(python=sys.executable))
    worker.chmod(0o755)
    station = station_on(tmp_path, f'kind = "gstreamer"\npipeline = "camera"\ngst_python = "{worker}"\n')
    try:
        station.start()
        wait_for(lambda: causes(station).count("camera_fault") >= 2 and judged(station) >= 9, 90)
        ends_well(station)
        assert set(causes(station)) == {"", "camera_fault"}
        assert "the GStreamer process died" in station.said()
    finally:
        station.close()


@pytest.mark.slow
def test_a_simulated_camera_unplugged_for_a_while_misses_those_parts_and_no_other(tmp_path: Path) -> None:
    from agent.sources.camera_model import CLEAN, CameraSettings
    from agent.sources.controls import write_controls

    controls = tmp_path / "controls.json"
    station = station_on(tmp_path, f'controls = "{controls}"\nfps = 100.0\nheight = 32\nwidth = 32\n')
    try:
        station.start()
        for _ in range(3):
            before, faults = judged(station), causes(station).count("camera_fault")
            wait_for(lambda before=before: judged(station) > before + 20)
            write_controls(controls, CameraSettings(unplugged=True))
            wait_for(lambda faults=faults: causes(station).count("camera_fault") > faults)
            write_controls(controls, CLEAN)
        time.sleep(0.2)
        before = judged(station)
        wait_for(lambda: judged(station) > before + 20)
        ends_well(station)
    finally:
        station.close()
