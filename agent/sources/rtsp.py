"""Frames from an RTSP camera, over TCP, decoded by FFmpeg (PyAV) on the reading thread.

Nothing is queued here: what the reader has not fetched waits in the kernel's socket buffer, which is bounded. A frame that waited
there too long is decoded (later ones refer to it), dropped and counted.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from agent.ports.clock import Clock
from agent.ports.source import Frame
from agent.sources.image_file import MAX_PIXELS
from agent.sources.live import LiveSource
from agent.sources.pace import MAX_WAIT_S
from contract.errors import BadImage, CameraFault, InvalidConfig

OPEN_WITHIN_S = 8.0
STALE_S = 0.1
_AT_ONCE_S = 0.002  # a packet that was there this quickly had been waiting in the socket
_SLACK_S = 0.02  # a call can take this long for other reasons: another thread has the interpreter, a core is busy
_CONFIRM = (
    3  # so many images in a row must come late by the same time until the stream is believed to have become slower
)
# A server that keeps its last key frame begins with pictures of before, as fast as they are taken.
_LIVE_SHARE, _RATE_S, _AHEAD = 0.5, 1.0, 1.1
_CATCH_UP_S = 3.0


def open_rtsp(url: str, clock: Clock, roll: Callable[[], float], *, stall_s: float) -> LiveSource:
    """Return the camera at `url`; nothing is connected yet, so that a station may start before its camera does.

    Raises:
        InvalidConfig: no rtsp:// or rtsps:// URL, or PyAV is not installed.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("rtsp", "rtsps") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise InvalidConfig(
            f"source.url '{without_password(url)}' is no RTSP address",
            hint='for example "rtsp://user:password@10.0.0.20:554/stream1"',
        )
    if importlib.util.find_spec("av") is None:
        raise InvalidConfig(
            "RTSP needs the package 'av', which is not installed", hint="pip install 'plumbline-edge[camera]'"
        )
    name = f"the camera at {without_password(url)}"
    return LiveSource(name, lambda: RtspCamera(url, clock), clock, roll, stall_s=stall_s)


def without_password(url: str) -> str:
    """Return `url` without its user and password (which may hold a stray "/"): they must not reach a log."""
    return re.sub(r"(?<=//).*@", "***@", url)


class RtspCamera:
    """One connection to an RTSP camera."""

    def __init__(self, url: str, clock: Clock) -> None:
        """Connect; takes at most OPEN_WITHIN_S twice over, and as long as the name server likes.

        Raises:
            CameraFault: nobody answers there, or there is no video.
            InvalidConfig: the camera refuses the password or the path.
        """
        import av

        self._av: Any = av
        self._clock = clock
        self._name = f"the camera at {without_password(url)}"
        self._timing = StreamTiming()
        self._begun = False
        self._awaits_key = True
        self._skipped = 0
        options = {
            "rtsp_transport": "tcp",  # over UDP a lost packet tears an image
            "allowed_media_types": "video",
            "fflags": "nobuffer",
            "analyzeduration": "1000000",
        }
        try:
            self._container: Any = av.open(
                url, mode="r", format="rtsp", options=options, timeout=(OPEN_WITHIN_S, MAX_WAIT_S)
            )
        except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError) as error:
            raise InvalidConfig(
                f"{self._name} refuses the user or password", hint="put them into source.url: rtsp://user:password@..."
            ) from error
        except av.error.HTTPNotFoundError as error:
            raise InvalidConfig(
                f"{self._name} has no such stream", hint="see the camera's manual for its path"
            ) from error
        except (av.error.FFmpegError, OSError) as error:
            raise CameraFault(
                f"{self._name} cannot be opened: {_why(error)}", hint="check its address, power and network"
            ) from error
        try:
            self._stream = self._video_stream()
        except CameraFault:
            self.close()
            raise

    def grab(self, within_s: float) -> Frame | None:
        """Return the newest frame; see `Camera`. Waits for each packet at most MAX_WAIT_S, whatever `within_s` is."""
        until = self._clock.monotonic() + within_s
        while True:
            asked_at = self._clock.monotonic()
            packet = self._next_packet()
            if packet is None:
                return None
            arrived_at = self._clock.monotonic()
            pts_s = None if packet.pts is None else float(packet.pts * packet.time_base)
            self._timing.arrived(arrived_at, pts_s, waited_s=arrived_at - asked_at)
            decoded = self._decode(packet)
            if decoded is not None:
                pts_s = None if decoded.pts is None else float(decoded.pts * decoded.time_base)
                complete_at = self._timing.complete_at(arrived_at, pts_s)
                if self._timing.live and arrived_at - complete_at <= STALE_S:
                    return self._framed(decoded, complete_at)
                self._skipped += 1
            if self._clock.monotonic() >= until:
                return None

    def close(self) -> None:
        """Say goodbye to the camera."""
        self._container.close()

    def _video_stream(self) -> Any:
        streams = self._container.streams.video
        if not streams or streams[0].codec_context is None:
            raise CameraFault(
                f"{self._name} sends no video that can be decoded", hint="set it to H.264, H.265 or MJPEG"
            )
        context = streams[0].codec_context
        # One thread and no reordering: more threads would hold back as many frames. `explode`: FFmpeg would otherwise paint
        # over what is damaged, and a made-up patch of grey must never be judged.
        context.thread_count = 1
        context.flags |= self._av.codec.context.Flags.low_delay
        context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
        return streams[0]

    def _next_packet(self) -> Any:
        """Return a packet of the stream, or None when none came in time."""
        try:
            packet = next(self._container.demux(self._stream), None)
        except self._av.error.ExitError:
            return None  # PyAV's name for its read timeout
        except (self._av.error.FFmpegError, OSError) as error:
            raise CameraFault(
                f"{self._name} broke off: {_why(error)}", hint="check the camera, its power and network"
            ) from error
        if packet is None or packet.size == 0:
            raise CameraFault(f"{self._name} ended its stream", hint="check the camera, its power and network")
        return packet

    def _decode(self, packet: Any) -> Any:
        """Return the newest image that came out, or None."""
        try:
            images = self._stream.codec_context.decode(packet)
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            if not self._begun and not packet.is_keyframe:
                return self._before_the_beginning()
            self._awaits_key = True
            raise BadImage(f"{self._name} sent a damaged frame: {_why(error)}", hint="check the network") from error
        if not images:
            return None
        image = images[-1]
        self._skipped += len(images) - 1
        self._begun = self._begun or image.key_frame
        if not self._begun:
            return self._before_the_beginning()
        self._awaits_key = packet.is_corrupt or image.is_corrupt or (self._awaits_key and not image.key_frame)
        if self._awaits_key:
            raise BadImage(
                f"{self._name} sent a frame that builds on a damaged or missing one", hint="check the network"
            )
        return image

    def _before_the_beginning(self) -> None:
        # We tuned in amid a group of pictures: nothing is torn, but what these build on was never sent to us.
        self._skipped += 1

    def _framed(self, image: Any, complete_at: float) -> Frame:
        kind = "gray" if image.format.name.startswith("gray") else "rgb24"
        pixels = image.to_ndarray(format=kind)
        skipped, self._skipped = self._skipped, 0
        age_s = self._clock.monotonic() - complete_at
        return Frame(pixels, self._clock.now() - age_s, complete_at, skipped=skipped)


class StreamTiming:
    """When an image that is read now had arrived on this machine, from the stream's own timestamps.

    A packet that had to be waited for arrived when the wait ended: it ties the stream's clock to ours. One that was there at once
    had been waiting for as long as the stream's clock has moved less than ours since. Cameras whose timestamps drift from real
    time do no harm: the tie is renewed whenever the reader has caught up. A delay on the way here cannot be seen.

    A reader that comes back late and then waits a moment proves nothing: the call itself may have been slow. Such a packet renews
    the tie only if it was asked for by the time it was due; else once `_CONFIRM` in a row were late by the same time, which a
    backlog being read faster than it came never is.

    Until the reader has caught up with the stream for the first time there is no tie to believe, and how old an image is cannot be
    said: `live` is False. It has caught up when a packet had to be waited for, or when packets come no faster than the stream's
    clock runs; after three seconds it is taken to have.
    """

    def __init__(self) -> None:
        self.live = False
        self._first_at = self._rated_at = self._rated_pts_s = float("-inf")
        self._tie: float | None = None  # our monotonic seconds minus the stream's
        self._last_pts_s = 0.0
        self._late_tie = 0.0
        self._late_count = 0

    def arrived(self, at: float, pts_s: float | None, *, waited_s: float) -> None:
        """Note that the packet with timestamp `pts_s` was read at monotonic `at`, by a call that took `waited_s`."""
        if pts_s is None:
            self.live = True  # nothing will ever be known of it
            return
        if pts_s < self._last_pts_s:
            self._tie = None  # the stream's clock was set back
            self.live = False
        self._catch_up(at, pts_s, waited_s)
        gap_s, self._last_pts_s = pts_s - self._last_pts_s, pts_s
        tie = at - pts_s
        # A server may begin with a burst of old pictures: the least difference seen is the live one.
        if self._tie is None or tie <= self._tie or self._renews(tie, gap_s, waited_s):
            self._tie, self._late_count = tie, 0

    def _catch_up(self, at: float, pts_s: float, waited_s: float) -> None:
        if self.live:
            return
        if self._tie is None:
            self._first_at, self._rated_at, self._rated_pts_s = at, at, pts_s
            return
        gap_s = pts_s - self._last_pts_s
        took_s = at - self._rated_at
        self.live = (gap_s > 0 and waited_s >= gap_s * _LIVE_SHARE) or at - self._first_at >= _CATCH_UP_S
        if took_s >= _RATE_S:
            self.live = self.live or pts_s - self._rated_pts_s <= took_s * _AHEAD
            self._rated_at, self._rated_pts_s = at, pts_s

    def _renews(self, tie: float, gap_s: float, waited_s: float) -> bool:
        assert self._tie is not None
        if waited_s < _AT_ONCE_S:
            self._late_count = 0
            return False
        if tie - self._tie <= waited_s + _SLACK_S:
            return True
        as_late = self._late_count > 0 and tie > self._late_tie - gap_s / 2
        self._late_count = self._late_count + 1 if as_late else 1
        self._late_tie = tie
        return self._late_count >= _CONFIRM

    def complete_at(self, at: float, pts_s: float | None) -> float:
        """Return the monotonic second, at most `at`, when the image with timestamp `pts_s` was here as a whole."""
        return at if self._tie is None or pts_s is None else min(at, self._tie + pts_s)


def _why(error: Exception) -> str:
    # PyAV's text names the URL, password and all; strerror does not.
    return getattr(error, "strerror", None) or type(error).__name__
