"""Frames from a GStreamer pipeline, e.g. a Jetson's CSI camera through Argus.

The pipeline runs in a process of its own (gst_worker.py): GStreamer's Python package comes with the system's Python and not from
PyPI, and a pipeline that failed can hang for good in code that no thread can be freed from. A process can be killed.

For a CSI camera: pipeline = "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 !
nvvidconv ! video/x-raw,format=BGRx"
"""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Callable

import numpy as np

from agent.ports.clock import Clock
from agent.ports.source import Frame
from agent.sources import gst_worker
from agent.sources.image_file import MAX_PIXELS
from agent.sources.live import LiveSource
from contract.errors import CameraFault, InvalidConfig

SYSTEM_PYTHON = "/usr/bin/python3"
_PACKAGES = (
    "sudo apt-get install python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0"
    " gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
)
_CHECK_WITHIN_S = 60.0  # the first time GStreamer starts it looks through all of its plugins
_ANSWER_WITHIN_S = 3.0  # the worker answers within half a second, whatever its pipeline does


def open_gstreamer(
    pipeline: str,
    clock: Clock,
    roll: Callable[[], float],
    *,
    python: str,
    hardware_trigger: bool,
    stall_s: float,
) -> LiveSource:
    """Return the camera behind `pipeline`, written as for gst-launch-1.0; without an appsink at its end it is given one.

    Args:
        python: the interpreter that has `gi`.
        hardware_trigger: each image is one trigger: `Frame.trigger` counts them, and silence is no fault.
    Raises:
        InvalidConfig: GStreamer or its Python package is missing, or the pipeline cannot be built.
    """
    if not pipeline.strip() or not pipeline.isprintable():
        raise InvalidConfig("source.pipeline holds no pipeline", hint='for example "v4l2src device=/dev/video0"')
    try:
        done = subprocess.run(
            _command(python, "--check", pipeline),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_CHECK_WITHIN_S,
        )
    except OSError as error:
        raise InvalidConfig(f"'{python}' cannot be run: {error.strerror}", hint="set source.gst_python") from error
    except subprocess.TimeoutExpired as error:
        raise InvalidConfig(
            "GStreamer does not start", hint="try: gst-launch-1.0 videotestsrc num-buffers=1 ! fakesink"
        ) from error
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode == gst_worker.MISSING:
        raise InvalidConfig(f"'{python}' has no GStreamer: {said}", hint=_PACKAGES)
    if done.returncode == gst_worker.BAD_PIPELINE:
        raise InvalidConfig(f"source.pipeline cannot be built: {said}", hint="try it with gst-launch-1.0")
    if done.returncode != 0:
        error_text = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
        raise InvalidConfig(f"'{python}' cannot run GStreamer: {error_text[-1]}", hint=_PACKAGES)

    def open_camera() -> GstCamera:
        return GstCamera(pipeline, clock, python=python, hardware_trigger=hardware_trigger)

    stall_s = 0.0 if hardware_trigger else stall_s
    return LiveSource("the GStreamer pipeline", open_camera, clock, roll, stall_s=stall_s)


class GstCamera:
    """A running worker process."""

    def __init__(self, pipeline: str, clock: Clock, *, python: str, hardware_trigger: bool) -> None:
        """Start it.

        Raises:
            CameraFault: it cannot be started.
        """
        self._clock, self._hardware_trigger = clock, hardware_trigger
        try:
            self._process = subprocess.Popen(
                _command(python, "--run", pipeline),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        except OSError as error:
            raise CameraFault(f"the GStreamer process cannot be started: {error.strerror}") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._ask, self._answer = self._process.stdin, self._process.stdout
        self._asked_at: float | None = None
        self._received = bytearray()
        self._count = 0

    def grab(self, within_s: float) -> Frame | None:
        """Return the newest frame; see `Camera`. Images between two asked for are counted as skipped."""
        if self._asked_at is None:
            self._request()
        until = self._clock.monotonic() + within_s
        if not self._fill(gst_worker.HEADER.size, until):
            return None
        kind, height, width, channels, at_us, count, size = gst_worker.HEADER.unpack_from(self._received)
        if kind == b"F" and not (0 < height * width <= MAX_PIXELS and size == height * width * channels):
            raise CameraFault(f"the GStreamer pipeline gives images of {width} x {height}", hint="make them smaller")
        if not self._fill(gst_worker.HEADER.size + size, until):
            return None
        payload, self._received = self._received[gst_worker.HEADER.size :], bytearray()
        self._asked_at = None
        if kind == b"E":
            raise CameraFault(
                f"the GStreamer pipeline broke: {payload.decode(errors='replace')}",
                hint="check the camera and its cable",
            )
        if kind != b"F":
            return None
        skipped, self._count = count - self._count - 1, count
        pixels = np.frombuffer(payload, np.uint8).reshape(
            (height, width, channels) if channels == 3 else (height, width)
        )
        # CLOCK_MONOTONIC is one clock for all processes of a machine.
        complete_at = min(at_us / 1e6, self._clock.monotonic())
        captured_at = self._clock.now() - (self._clock.monotonic() - complete_at)
        return Frame(
            pixels, captured_at, complete_at, trigger=count if self._hardware_trigger else None, skipped=max(0, skipped)
        )

    def close(self) -> None:
        """Kill the process: unlike a pipeline, it cannot refuse."""
        self._process.kill()
        self._ask.close()
        self._answer.close()
        self._process.wait()

    def _request(self) -> None:
        try:
            self._ask.write(b"n")
        except OSError as error:
            raise self._gone() from error
        self._asked_at = self._clock.monotonic()

    def _fill(self, size: int, until: float) -> bool:
        """Receive until `size` bytes are there; return False when they are not by monotonic second `until`."""
        while len(self._received) < size:
            now = self._clock.monotonic()
            ready, _, _ = select.select([self._answer], [], [], max(0.0, until - now))
            if not ready:
                if self._asked_at is not None and now - self._asked_at > _ANSWER_WITHIN_S:
                    raise CameraFault("the GStreamer process hangs", hint="it is killed and started again")
                return False
            part = os.read(self._answer.fileno(), min(1 << 20, size - len(self._received)))
            if not part:
                raise self._gone()
            self._received += part
        return True

    def _gone(self) -> CameraFault:
        return CameraFault(
            "the GStreamer process died", hint="it is started again; if it dies again, try gst-launch-1.0"
        )


def _command(python: str, mode: str, pipeline: str) -> list[str]:
    # -I: neither this folder nor PYTHONPATH may put our modules before the system's.
    return [python, "-I", gst_worker.__file__, mode, pipeline]
