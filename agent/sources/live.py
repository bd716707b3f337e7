"""What every camera that can be lost has in common: opening, waiting, losing, and coming back.

`read()` never runs a driver's open or close itself: both may hang for as long as a driver, a name server or a dead camera likes, so
they run on one helper thread at a time, and `read()` and `close()` wait for it a bounded while. Grabbing is done by the caller.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from agent.ports.clock import Clock
from agent.ports.source import Frame
from agent.sources.pace import MAX_WAIT_S
from agent.update.backoff import full_jitter_s
from contract.errors import BadImage, CameraFault, PlumblineError

RETRY_BASE_S = 0.5
RETRY_CAP_S = 10.0  # a line that stands still for want of a camera is not kept waiting as a lost broker may be
HANG_S = 10.0
CLOSE_WITHIN_S = 1.0


class Camera(Protocol):
    """An open camera. Used by one thread at a time."""

    def grab(self, within_s: float) -> Frame | None:
        """Return the newest complete frame, waiting for one at most `within_s`; None when there is none yet.

        Raises:
            CameraFault: the camera is lost.
            BadImage: a frame came that is no usable image.
        """

    def close(self) -> None:
        """Let go of the device."""


class LiveSource:
    """Frames from one camera, opened again whenever it was lost.

    Each loss and each failed attempt to come back is one CameraFault; between attempts `read()` returns None.
    """

    simulated = False
    waits = False

    def __init__(
        self,
        name: str,
        open_camera: Callable[[], Camera],
        clock: Clock,
        roll: Callable[[], float],
        *,
        stall_s: float,
        camera: Camera | None = None,
    ) -> None:
        """Open nothing yet: the first `read()` does, unless `camera` is open already.

        Args:
            name: what to call the camera in an error, without passwords.
            open_camera: returns the open camera or raises a PlumblineError; called on a helper thread.
            roll: draws uniformly from 0..1, for the waits between attempts.
            stall_s: an open camera that gives nothing for this long is lost; 0: silence is no fault (a hardware trigger).
        """
        self._name, self._open_camera, self._clock, self._roll, self._stall_s = name, open_camera, clock, roll, stall_s
        self._camera = camera
        self._work: _Work | None = None
        self._heard_at = clock.monotonic()
        self._attempt = 0
        self._try_at = clock.monotonic()
        self._complain_at = 0.0
        self._closed = False

    def read(self) -> Frame | None:
        """Return the newest frame, waiting at most about a second; None when there is none yet.

        Raises:
            CameraFault: the camera was lost, or could not be opened.
            BadImage: a frame arrived that is no usable image.
        """
        if self._closed:
            return None
        if self._camera is None:
            self._camera = self._reopened()
            if self._camera is None:
                return None
            self._heard_at = self._clock.monotonic()
        try:
            frame = self._camera.grab(MAX_WAIT_S)
        except BadImage:
            self._hear()
            raise
        except Exception:  # whatever a driver throws: it is passed on, and the camera is opened afresh
            self._lose()
            raise
        if frame is not None:
            self._hear()
        elif 0 < self._stall_s <= self._clock.monotonic() - self._heard_at:
            self._lose()
            raise CameraFault(
                f"{self._name} gave no frame for {self._stall_s:g} s", hint="check the camera and its cable"
            )
        return frame

    def exhausted(self) -> bool:
        """Return whether it was closed: a camera never ends by itself."""
        return self._closed

    def close(self) -> None:
        """Let go of the camera. Returns within about a second even when its driver hangs; then a daemon thread is left behind."""
        self._closed = True
        camera, self._camera = self._camera, None
        if camera is not None:
            self._work = _Work(camera.close)
        if self._work is not None:
            self._work.abandon()
            self._work.done(CLOSE_WITHIN_S)
            self._work = None

    def _hear(self) -> None:
        self._heard_at = self._clock.monotonic()
        # Only a frame ends an outage: a server that lets everybody in and then dies is waited for longer and longer too.
        self._attempt = 0

    def _lose(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            self._work = _Work(camera.close)
            self._complain_at = self._clock.monotonic() + HANG_S
        self._wait_longer()

    def _wait_longer(self) -> None:
        self._attempt += 1
        wait_s = full_jitter_s(self._attempt, self._roll(), base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S)
        self._try_at = self._clock.monotonic() + wait_s

    def _reopened(self) -> Camera | None:
        if self._work is None or self._work.closes:
            if self._work is not None and not self._finished(self._work, "does not close"):
                return None
            self._work = None
            wait_s = self._try_at - self._clock.monotonic()
            if wait_s > 0:
                self._clock.sleep(min(wait_s, MAX_WAIT_S))
                if wait_s > MAX_WAIT_S:
                    return None
            self._work = _Work(None, self._open_camera)
            self._complain_at = self._clock.monotonic() + HANG_S
        work = self._work
        if not self._finished(work, "does not answer"):
            return None
        self._work = None
        if work.error is not None:
            self._wait_longer()
            raise _as_fault(self._name, work.error) from work.error
        return work.camera

    def _finished(self, work: _Work, trouble: str) -> bool:
        if work.done(MAX_WAIT_S):
            return True
        now = self._clock.monotonic()
        if now >= self._complain_at:
            self._complain_at = now + HANG_S
            raise CameraFault(
                f"{self._name} {trouble}", hint="check the camera; if it stays so, its driver hangs: restart the agent"
            )
        return False


class _Work:
    """One call into a driver that may hang: `close`, or else `open_camera`."""

    def __init__(self, close: Callable[[], None] | None, open_camera: Callable[[], Camera] | None = None) -> None:
        self._close, self._open = close, open_camera
        self._lock = threading.Lock()
        self._abandoned = False
        self.closes = close is not None
        self.camera: Camera | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def done(self, within_s: float) -> bool:
        """Wait at most `within_s`; return whether the call came back."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """See to it that a camera which still opens is closed at once."""
        with self._lock:
            self._abandoned = True
            camera, self.camera = self.camera, None
        if camera is not None:
            camera.close()

    def _run(self) -> None:
        try:
            if self._close is not None:
                self._close()
            if self._open is not None:
                camera = self._open()
                with self._lock:
                    if not self._abandoned:
                        self.camera = camera
                        return
                camera.close()
        except Exception as error:  # noqa: BLE001 - a driver's; it is raised where the camera is read
            self.error = error


def _as_fault(name: str, error: Exception) -> CameraFault:
    if isinstance(error, CameraFault):
        return error
    # What refuses a start (a wrong password, a missing device) must not end a running station: it may be mended meanwhile.
    if isinstance(error, PlumblineError):
        return CameraFault(error.message, hint=error.hint)
    return CameraFault(f"{name} cannot be opened: {type(error).__name__}: {error}")
