"""Frames from a camera under /dev (V4L2), through linuxpy."""

from __future__ import annotations

import importlib.util
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.ports.clock import Clock
from agent.ports.source import Frame
from agent.sources.live import LiveSource
from agent.sources.pixel_formats import PIXEL_FORMATS, to_pixels
from contract.errors import BadImage, CameraFault, InvalidConfig

_BUFFERS = 4
# V4L2_BUF_FLAG_ERROR, _TIMESTAMP_MASK and _TIMESTAMP_MONOTONIC of linux/videodev2.h.
_TORN, _STAMP_MASK, _STAMP_MONOTONIC = 0x40, 0xE000, 0x2000


def open_v4l2(
    path: Path,
    clock: Clock,
    roll: Callable[[], float],
    *,
    width: int,
    height: int,
    pixel_format: str,
    hardware_trigger: bool,
    stall_s: float,
    folder: Path = Path("/dev"),
) -> LiveSource:
    """Return the camera at `path`, best a link below /dev/v4l/by-id, which survives being plugged into another socket.

    Args:
        pixel_format: a key of PIXEL_FORMATS, or "" for the first of them that the camera has.
        hardware_trigger: each frame is one trigger: `Frame.trigger` counts them, and silence is no fault.
        folder: where devices are listed from when `path` is no use.
    Raises:
        InvalidConfig: linuxpy or the device is missing, this user may not open it, or it has no such size or format.
    """
    if importlib.util.find_spec("linuxpy") is None:
        raise InvalidConfig(
            "V4L2 needs the package 'linuxpy', which is not installed", hint="pip install 'plumbline-edge[v4l2]'"
        )
    if pixel_format and pixel_format not in PIXEL_FORMATS:
        raise InvalidConfig(
            f"source.pixel_format '{pixel_format}' is not supported", hint=f"one of {', '.join(PIXEL_FORMATS)}"
        )
    if not path.exists():
        raise InvalidConfig(f"there is no camera at {path}", hint=_choices(folder))
    if not path.is_char_device():
        raise InvalidConfig(f"{path} is no camera device", hint=_choices(folder))
    if not os.access(path, os.R_OK | os.W_OK):
        raise InvalidConfig(
            f"{path} may not be opened by this user", hint="sudo usermod -aG video $USER, then log in again"
        )

    def open_camera() -> V4l2Camera:
        return V4l2Camera(open_capture(path, width, height, pixel_format), clock, hardware_trigger=hardware_trigger)

    try:
        first: V4l2Camera | None = (
            open_camera()
        )  # now, so that a size or a format that it lacks is said before the line starts
    except CameraFault:
        first = None
    stall_s = 0.0 if hardware_trigger else stall_s
    return LiveSource(f"the camera {path}", open_camera, clock, roll, stall_s=stall_s, camera=first)


def list_cameras(folder: Path = Path("/dev")) -> list[str]:
    """Return the paths of the video devices below `folder`, the stable ones first."""
    return [
        str(path) for pattern in ("v4l/by-id/*", "v4l/by-path/*", "video*") for path in sorted(folder.glob(pattern))
    ]


def _choices(folder: Path) -> str:
    cameras = list_cameras(folder)
    return f"set source.device to one of {', '.join(cameras)}" if cameras else "no camera is connected to this machine"


def open_capture(path: Path, width: int, height: int, pixel_format: str) -> Any:
    """Return a linuxpy VideoCapture that streams.

    Raises:
        CameraFault: the device is not there or refuses.
        InvalidConfig: it has no such pixel format or size.
    """
    from linuxpy.video.device import Device, V4L2Error, VideoCapture

    device = Device(path)
    try:
        device.open()
        capture = VideoCapture(device, size=_BUFFERS)
        offered = [each.pixel_format.human_str() for each in capture.formats()]
        wanted = [pixel_format] if pixel_format else [each for each in PIXEL_FORMATS if each in offered]
        if not wanted or wanted[0] not in offered:
            raise InvalidConfig(
                f"{path} has no pixel format '{pixel_format or ' or '.join(PIXEL_FORMATS)}'",
                hint=f"it has {', '.join(offered) or 'none'}",
            )
        capture.set_format(width, height, wanted[0])
        got = capture.get_format()
        if (got.width, got.height) != (width, height):
            raise InvalidConfig(
                f"{path} has no {wanted[0]} of {width} x {height}", hint=f"the nearest is {got.width} x {got.height}"
            )
        capture.open()
    except (OSError, V4L2Error) as error:
        device.close()
        raise CameraFault(
            f"{path} cannot be opened: {error}", hint="is it plugged in, and used by no other program?"
        ) from error
    except InvalidConfig:
        device.close()
        raise
    return capture


class V4l2Camera:
    """An open V4L2 camera: a linuxpy VideoCapture that streams."""

    def __init__(self, capture: Any, clock: Clock, *, hardware_trigger: bool) -> None:
        self._capture, self._clock, self._hardware_trigger = capture, clock, hardware_trigger
        self._name = f"the camera {capture.device.filename}"
        self._last_sequence: int | None = None
        self._skipped = 0

    def grab(self, within_s: float) -> Frame | None:
        """Return the newest frame; see `Camera`. Older ones that wait in the driver are counted as skipped."""
        try:
            newest = self._newest(within_s)
        except OSError as error:
            raise CameraFault(f"{self._name} is lost: {error.strerror or error}", hint="check its cable") from error
        if newest is None:
            return None
        got_at = self._clock.monotonic()
        flags, sequence = int(newest.buff.flags), int(newest.frame_nb)
        if self._last_sequence is not None:
            # The driver counts what it had to drop as well; a count that stands still or begins anew says nothing.
            self._skipped += max(0, sequence - self._last_sequence - 1)
        self._last_sequence = sequence
        if flags & _TORN:
            raise BadImage(f"{self._name} marked a frame as damaged", hint="check its cable and the USB hub")
        form = newest.format
        pixels = to_pixels(
            bytes(newest.data), form.width, form.height, int(form.bytes_per_line), form.pixel_format.human_str()
        )
        # The driver's stamp is of the frame's end or, with some, of its start: then its age is overstated, never understated.
        stamped = flags & _STAMP_MASK == _STAMP_MONOTONIC and 0 <= got_at - newest.timestamp < 60
        complete_at = newest.timestamp if stamped else got_at
        skipped, self._skipped = self._skipped, 0
        captured_at = self._clock.now() - (self._clock.monotonic() - complete_at)
        trigger = sequence if self._hardware_trigger else None
        return Frame(pixels, captured_at, complete_at, trigger=trigger, skipped=skipped)

    def close(self) -> None:
        """Stop the stream and close the device; a device that was pulled out is merely closed."""
        try:
            self._capture.close()
        except OSError:
            pass  # STREAMOFF of a device that is gone
        finally:
            self._capture.device.close()

    def _newest(self, within_s: float) -> Any:
        """Return the last of the buffers that are filled, waiting `within_s` for the first; None when none is."""
        newest = None
        for _ in range(_BUFFERS + 1):  # a driver that is faster than this loop must not hold it
            ready, _, _ = select.select([self._capture.device.fileno()], [], [], 0.0 if newest else within_s)
            if not ready:
                break
            try:
                newest = self._capture.buffer.raw_read()
            except BlockingIOError:
                break
            if self._hardware_trigger:
                break  # every trigger is a part: none is dropped for being old
        return newest
