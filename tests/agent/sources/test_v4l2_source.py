"""V4L2: what its bytes mean, what is said when there is no camera, and the loop around one that is pulled out.

No camera is needed: the conversions are checked against known values and Pillow's own codecs, absence through agent.toml, and the
read loop against a fake of linuxpy's VideoCapture (a pipe makes it readable). A real /dev/video is not touched by any test.
"""

from __future__ import annotations

import errno
import io
import os
import select
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from agent.clock import SystemClock
from agent.settings import load_settings
from agent.source_wiring import open_source
from agent.sources import v4l2
from agent.sources.live import LiveSource
from agent.sources.pixel_formats import PIXEL_FORMATS, to_pixels
from agent.sources.v4l2 import V4l2Camera, list_cameras, open_v4l2
from contract.errors import BadImage, CameraFault, InvalidConfig

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9).map(lambda half: 2 * half), st.just(3))
PADDING = st.integers(0, 7)


def padded(rows: np.ndarray, padding: int) -> bytes:
    """Return u8[H,bytes] as a driver lays it out: `padding` bytes behind each row."""
    return np.pad(rows, ((0, 0), (0, padding)), constant_values=99).tobytes()


@given(arrays(np.uint8, SHAPES), PADDING)
def test_rgb_bgr_and_grey_come_back_exactly_whatever_the_padding(image: Any, padding: int) -> None:
    height, width, _ = image.shape
    rgb = padded(image.reshape(height, -1), padding)
    bgr = padded(image[:, :, ::-1].reshape(height, -1), padding)
    grey = padded(image[:, :, 0], padding)
    assert np.array_equal(to_pixels(rgb, width, height, 3 * width + padding, "RGB3"), image)
    assert np.array_equal(to_pixels(bgr, width, height, 3 * width + padding, "BGR3"), image)
    assert np.array_equal(to_pixels(grey, width, height, width + padding, "GREY"), image[:, :, 0])
    assert np.array_equal(to_pixels(rgb if not padding else image.tobytes(), width, height, 0, "RGB3"), image)


@pytest.mark.parametrize(
    ("yuv", "rgb"),
    [  # ITU-R BT.601, 8 bit, studio range
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((126, 128, 128), (128, 128, 128)),
        ((81, 90, 240), (255, 0, 0)),
        ((145, 54, 34), (0, 255, 0)),
        ((41, 240, 110), (0, 0, 255)),
        ((210, 16, 146), (255, 255, 0)),
    ],
)
def test_yuyv_has_the_standards_colours(yuv: tuple[int, int, int], rgb: tuple[int, int, int]) -> None:
    luma, blue, red = yuv
    pixels = to_pixels(bytes((luma, blue, luma, red)) * 2, 4, 1, 8, "YUYV")
    assert np.abs(pixels.astype(int) - rgb).max() <= 1


@given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6).map(lambda half: 4 * half))))
def test_yuyv_is_the_formula_of_the_standard_for_any_bytes(rows: Any) -> None:
    pixels = to_pixels(rows.tobytes(), rows.shape[1] // 2, rows.shape[0], 0, "YUYV")
    y = (rows[:, 0::2].astype(float) - 16) * 255 / 219
    u = np.repeat(rows[:, 1::4].astype(float) - 128, 2, 1) * 255 / 224
    v = np.repeat(rows[:, 3::4].astype(float) - 128, 2, 1) * 255 / 224
    want = np.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], axis=2)
    assert np.abs(pixels - np.clip(want, 0, 255)).max() <= 1


def test_a_jpeg_frame_is_decoded_and_a_torn_one_is_a_bad_image() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 16), (200, 30, 30)).save(buffer, "JPEG", quality=95)
    pixels = to_pixels(buffer.getvalue(), 32, 16, 0, "MJPG")
    assert pixels.shape == (16, 32, 3)
    assert np.abs(pixels[8, 16].astype(int) - (200, 30, 30)).max() < 6
    with pytest.raises(BadImage):
        to_pixels(buffer.getvalue()[:-40], 32, 16, 0, "MJPG")


@given(
    st.binary(max_size=40),
    st.integers(-2, 9),
    st.integers(-2, 9),
    st.integers(0, 30),
    st.sampled_from([*PIXEL_FORMATS, "H264"]),
)
def test_any_buffer_is_pixels_of_the_announced_size_or_a_bad_image(
    data: bytes, width: int, height: int, stride: int, pixel_format: str
) -> None:
    try:
        pixels = to_pixels(data, width, height, stride, pixel_format)
    except BadImage:
        return
    assert pixels.shape[:2] == (height, width)
    assert pixels.flags.owndata or pixels.base is None or pixels.base.flags.owndata


def agent_toml(folder: Path, device: str, more: str = "") -> Any:
    path = folder / "agent.toml"
    path.write_text(f'station = "s1"\nhome = "state"\n[source]\nkind = "v4l2"\ndevice = "{device}"\n{more}')
    return load_settings(path)


def test_a_camera_that_is_not_there_is_said_through_agent_toml(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="there is no camera at /dev/video987") as caught:
        open_source(agent_toml(tmp_path, "/dev/video987"), SystemClock())
    cameras = list_cameras()
    assert (cameras[0] if cameras else "no camera is connected") in caught.value.hint


def test_a_file_or_a_terminal_is_no_camera(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="is no camera device"):
        open_source(agent_toml(tmp_path, str(tmp_path / "agent.toml")), SystemClock())
    # /dev/null is a character device, but answers no question about video.
    source = open_source(agent_toml(tmp_path, "/dev/null"), SystemClock())
    with pytest.raises(CameraFault, match="/dev/null cannot be opened"):
        for _ in range(5):
            source.read()
    source.close()


def test_the_devices_that_exist_are_listed_stable_names_first(tmp_path: Path) -> None:
    (tmp_path / "v4l/by-id").mkdir(parents=True)
    for name in ("video1", "video0", "v4l/by-id/usb-cam-index0"):
        (tmp_path / name).touch()
    assert list_cameras(tmp_path) == [str(tmp_path / name) for name in ("v4l/by-id/usb-cam-index0", "video0", "video1")]
    with pytest.raises(InvalidConfig) as caught:
        open_v4l2(tmp_path / "video9", SystemClock(), lambda: 1.0, folder=tmp_path, **OPTIONS)
    assert "by-id/usb-cam-index0" in caught.value.hint


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidConfig, match="linuxpy") as caught:
        open_v4l2(Path("/dev/null"), SystemClock(), lambda: 1.0, **OPTIONS)
    assert "plumbline-edge[v4l2]" in caught.value.hint


def test_a_device_of_somebody_else_is_named_with_the_group_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, who may do everything
    with pytest.raises(InvalidConfig, match="may not be opened") as caught:
        open_v4l2(Path("/dev/null"), SystemClock(), lambda: 1.0, **OPTIONS)
    assert "usermod -aG video" in caught.value.hint


def test_an_unknown_pixel_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidConfig, match="RG10") as caught:
        open_v4l2(Path("/dev/null"), SystemClock(), lambda: 1.0, **(OPTIONS | {"pixel_format": "RG10"}))
    assert "YUYV" in caught.value.hint


OPTIONS: dict[str, Any] = {"width": 4, "height": 2, "pixel_format": "", "hardware_trigger": False, "stall_s": 5.0}


class FakeCapture:
    """Stands for linuxpy's VideoCapture: buffers wait in a queue, and a pipe is readable while there are any."""

    def __init__(self) -> None:
        self.out, self._in = os.pipe()
        os.set_blocking(self.out, False)
        self.waiting: deque[tuple[int, int, float]] = deque()
        self.gone = False
        self.device = SimpleNamespace(filename="/dev/video0", fileno=lambda: self.out, close=self._close_device)
        self.buffer = self
        self.closed = False

    def fill(self, sequence: int, *, flags: int = 0x2000, at: float = 0.0) -> None:
        self.waiting.append((sequence, flags, at))
        os.write(self._in, b"x")

    def pull_out(self) -> None:
        self.gone = True
        os.write(self._in, b"x")

    def raw_read(self) -> Any:
        if self.gone:
            raise OSError(errno.ENODEV, "No such device")
        os.read(self.out, 1)
        sequence, flags, at = self.waiting.popleft()
        form = SimpleNamespace(
            width=4, height=2, bytes_per_line=4, pixel_format=SimpleNamespace(human_str=lambda: "GREY")
        )
        return SimpleNamespace(
            buff=SimpleNamespace(flags=flags), frame_nb=sequence, timestamp=at, format=form, data=bytes([sequence]) * 8
        )

    def close(self) -> None:
        if self.gone:
            raise OSError(errno.ENODEV, "No such device")

    def _close_device(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self.out)
            os.close(self._in)


@pytest.fixture
def capture() -> Iterator[FakeCapture]:
    capture = FakeCapture()
    yield capture
    capture.device.close()


def test_the_newest_buffer_wins_and_what_the_driver_dropped_is_counted(clock: Any, capture: FakeCapture) -> None:
    camera = V4l2Camera(capture, clock, hardware_trigger=False)
    capture.fill(10, at=99.0)
    first = camera.grab(0.1)
    for sequence in (11, 12, 15):
        capture.fill(sequence, at=99.5)
    newest = camera.grab(0.1)
    assert first is not None and newest is not None
    assert (first.skipped, newest.skipped) == (0, 4)
    assert newest.pixels.tolist() == [[15] * 4] * 2
    assert (newest.captured_monotonic, newest.trigger) == (99.5, None)
    assert newest.captured_at == clock.now() - 0.5
    assert camera.grab(0.01) is None


def test_behind_a_hardware_trigger_every_part_is_seen_and_numbered(clock: Any, capture: FakeCapture) -> None:
    camera = V4l2Camera(capture, clock, hardware_trigger=True)
    for sequence in (0, 1, 4):
        capture.fill(sequence)
    frames = [camera.grab(0.1) for _ in range(3)]
    assert [(frame.trigger, frame.skipped) for frame in frames if frame] == [(0, 0), (1, 0), (4, 2)]


@pytest.mark.parametrize(("flags", "at"), [(0x0000, 99.0), (0x2000, 100.5), (0x2000, 3.0)])
def test_a_stamp_that_cannot_be_true_is_not_believed(clock: Any, capture: FakeCapture, flags: int, at: float) -> None:
    capture.fill(0, flags=flags, at=at)
    frame = V4l2Camera(capture, clock, hardware_trigger=False).grab(0.1)
    assert frame is not None
    assert frame.captured_monotonic == clock.monotonic()


def test_a_frame_that_the_driver_marks_as_damaged_is_a_bad_image(clock: Any, capture: FakeCapture) -> None:
    camera = V4l2Camera(capture, clock, hardware_trigger=False)
    capture.fill(0, flags=0x2040)
    with pytest.raises(BadImage, match="damaged"):
        camera.grab(0.1)
    capture.fill(1)
    assert camera.grab(0.1) is not None


def test_a_camera_pulled_out_is_a_fault_and_used_again_when_it_is_back(clock: Any, capture: FakeCapture) -> None:
    back = FakeCapture()
    opened = iter([capture, None, back])

    def open_camera() -> V4l2Camera:
        device = next(opened)
        if device is None:
            raise CameraFault("/dev/video0 cannot be opened: No such file or directory")
        return V4l2Camera(device, clock, hardware_trigger=False)

    source = LiveSource("the camera", open_camera, clock, lambda: 1.0, stall_s=5.0)
    capture.fill(0)
    back.fill(0)
    assert source.read() is not None
    capture.pull_out()
    assert select.select([capture.out], [], [], 0)[0]
    with pytest.raises(CameraFault, match="is lost: No such device"):
        source.read()
    with pytest.raises(CameraFault, match="No such file"):
        source.read()
    assert capture.closed
    frames = [source.read() for _ in range(4)]
    assert any(frames)
    source.close()
    assert back.closed


def test_the_constants_are_those_of_linuxpy() -> None:
    raw = pytest.importorskip("linuxpy.video.raw", reason="pip install 'plumbline-edge[v4l2]'")
    assert v4l2._TORN == raw.BufferFlag.ERROR
    assert v4l2._STAMP_MASK == raw.BufferFlag.TIMESTAMP_MASK
    assert v4l2._STAMP_MONOTONIC == raw.BufferFlag.TIMESTAMP_MONOTONIC
    device = pytest.importorskip("linuxpy.video.device")
    for name in PIXEL_FORMATS:
        assert device.PixelFormat(raw.v4l2_fourcc(*name)).human_str() == name
