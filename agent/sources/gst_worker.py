"""A GStreamer pipeline in a process of its own: run by path, with the system's Python, which has `gi` (see gstreamer.py).

usage: gst_worker.py --check|--run PIPELINE. It imports nothing of Plumbline and needs no package but gi. Asked by a byte on stdin
it answers on stdout with one header and a payload; at the end of stdin it goes away, whatever the pipeline does.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from typing import Any

# kind (b"F" frame, b"N" none yet, b"E" broken), height, width, channels, monotonic us, images so far, payload bytes.
HEADER = struct.Struct("<cIIIQQI")
_ANSWER_WITHIN_S = 0.4
_FORMATS = {"RGB": 3, "GRAY8": 1}
MISSING, BAD_PIPELINE = 3, 4


class Newest:
    """The newest image, left by the pulling thread and taken by the answering one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._image: tuple[bytes, bytes] | None = None
        self._count = 0
        self._error = ""

    def put(self, height: int, width: int, channels: int, at_us: int, pixels: bytes) -> None:
        with self._changed:
            self._count += 1
            self._image = (HEADER.pack(b"F", height, width, channels, at_us, self._count, len(pixels)), pixels)
            self._changed.notify()

    def fail(self, error: str) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify()

    def answer(self) -> tuple[bytes, bytes]:
        with self._changed:
            self._changed.wait_for(lambda: self._image or self._error, _ANSWER_WITHIN_S)
            image, self._image = self._image, None
            if image is not None:
                return image
            said = self._error.encode(errors="replace")[:2000]
            return HEADER.pack(b"E" if said else b"N", 0, 0, 0, 0, self._count, len(said)), said


def load() -> tuple[Any, Any, Any]:
    import gi

    for name in ("Gst", "GstApp", "GstVideo"):
        gi.require_version(name, "1.0")
    from gi.repository import GLib, Gst, GstApp, GstVideo

    Gst.init(None)
    return Gst, GLib, (GstApp, GstVideo)


def build(gst: Any, description: str) -> tuple[Any, Any]:
    """Return the pipeline and its sink. One that does not end in an appsink is given ours, which wants RGB or grey."""
    last = description.rsplit("!", 1)[-1].split()[:1]
    if last != ["appsink"]:
        formats = "{ " + ", ".join(_FORMATS) + " }"
        description += f" ! videoconvert ! video/x-raw,format=(string){formats} ! appsink"
    pipeline = gst.parse_launch(description)
    # Not `for ... in`: that needs Debian's python3-gst-1.0 on top of gi.
    iterator, sinks = pipeline.iterate_sinks(), []
    while (found := iterator.next())[0] == gst.IteratorResult.OK:
        sinks.append(found[1])
    sinks = [each for each in sinks if each.get_factory().get_name() == "appsink"]
    if len(sinks) != 1:
        raise ValueError(f"it has {len(sinks)} appsinks, not one")
    sink = sinks[0]
    # One image waits, the newest: a slow reader never sees an old one, and memory stays bounded.
    for key, value in (("max-buffers", 1), ("drop", True), ("sync", False), ("emit-signals", False)):
        sink.set_property(key, value)
    return pipeline, sink


def pull(newest: Newest, description: str) -> None:
    """Play the pipeline until it breaks."""
    try:
        gst, glib, (_, video) = load()
        pipeline, sink = build(gst, description)
        bus = pipeline.get_bus()
        pipeline.set_state(gst.State.PLAYING)
        while True:
            sample = sink.try_pull_sample(100 * gst.MSECOND)
            at_us = glib.get_monotonic_time()
            if sample is not None:
                put(newest, gst, video, sample, at_us)
                continue
            message = bus.timed_pop_filtered(0, gst.MessageType.ERROR | gst.MessageType.EOS)
            if message is not None:
                ended = message.type == gst.MessageType.EOS
                newest.fail("the pipeline ended" if ended else str(message.parse_error()[0].message))
                return
    except Exception as error:  # noqa: BLE001 - it crosses to the other process as text
        newest.fail(f"{type(error).__name__}: {error}")


def put(newest: Newest, gst: Any, video: Any, sample: Any, at_us: int) -> None:
    info = video.VideoInfo.new_from_caps(sample.get_caps())
    kind = info.finfo.name
    if kind not in _FORMATS:
        raise ValueError(f"its images are {kind}; put 'videoconvert ! video/x-raw,format=RGB' before the appsink")
    buffer = sample.get_buffer()
    pixels = buffer.extract_dup(0, buffer.get_size())
    row, stride = info.width * _FORMATS[kind], info.stride[0]
    if stride != row:
        pixels = b"".join(pixels[at * stride : at * stride + row] for at in range(info.height))
    newest.put(info.height, info.width, _FORMATS[kind], at_us, pixels)


def check(description: str) -> int:
    """Return 0, or say on stdout what is missing or wrong."""
    try:
        gst, _, _ = load()
    except (ImportError, ValueError) as error:
        print(error)
        return MISSING
    try:
        build(gst, description)
    except Exception as error:  # noqa: BLE001 - GLib.Error and whatever else a description can provoke; it is said
        print(getattr(error, "message", error))
        return BAD_PIPELINE
    return 0


def run(description: str) -> None:
    newest = Newest()
    # The main thread never calls GStreamer: a pipeline that hangs cannot keep this process from going away.
    threading.Thread(target=pull, args=(newest, description), daemon=True).start()
    out = sys.stdout.buffer
    while sys.stdin.buffer.read(1):
        for part in newest.answer():
            out.write(part)
        out.flush()


if __name__ == "__main__":
    code = 0
    try:
        if sys.argv[1] == "--check":
            code = check(sys.argv[2])
            sys.stdout.flush()
        else:
            run(sys.argv[2])
    except BrokenPipeError:
        pass
    os._exit(code)  # not sys.exit: at a normal end Python would wait for GStreamer
