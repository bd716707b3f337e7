"""From [source] and [[cameras]] to what frames come from."""

from __future__ import annotations

import random

from agent.ports.clock import Clock
from agent.ports.source import FrameSource
from agent.settings import Settings
from agent.settings_keys import SourceSettings


def open_source(settings: Settings, clock: Clock, source: SourceSettings | None = None) -> FrameSource:
    """Return what `source` names; [source] when it is None.

    Raises:
        InvalidConfig: it cannot be opened.
    """
    source = source or settings.source
    if source.kind == "folder":
        from agent.sources.folder import FolderSource

        return FolderSource(
            settings.path(source.folder),
            clock,
            loop=source.loop,
            watch=source.watch,
            fps=source.fps or None,
            seed=source.seed if source.shuffle else None,
        )
    roll = random.Random().random

    if source.kind == "v4l2":
        from agent.sources.v4l2 import open_v4l2

        return open_v4l2(
            settings.path(source.device),
            clock,
            roll,
            width=source.width,
            height=source.height,
            pixel_format=source.pixel_format,
            hardware_trigger=source.hardware_trigger,
            stall_s=source.stall_s,
        )
    if source.kind == "rtsp":
        from agent.sources.rtsp import open_rtsp

        return open_rtsp(source.url, clock, roll, stall_s=source.stall_s)
    if source.kind == "gstreamer":
        from agent.sources.gstreamer import open_gstreamer

        return open_gstreamer(
            source.pipeline,
            clock,
            roll,
            python=source.gst_python,
            hardware_trigger=source.hardware_trigger,
            stall_s=source.stall_s,
        )
    from agent.sources.simulated import SimulatedSource

    return SimulatedSource(
        clock,
        seed=source.seed,
        fps=source.fps or None,
        controls=settings.path(source.controls) if source.controls else None,
        scene=settings.path(source.scene) if source.scene else None,
        height=source.height,
        width=source.width,
    )
