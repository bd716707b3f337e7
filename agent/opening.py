"""Opening a camera beside whoever waits for it, and closing one that may hang."""

from __future__ import annotations

import threading
from collections.abc import Callable

from agent.ports.source import FrameSource


class Opening:
    """A source being opened on a thread of its own: a share that does not answer hangs as well as a driver."""

    def __init__(self, open_source: Callable[[], FrameSource]) -> None:
        self._open_source = open_source
        self._lock = threading.Lock()
        self._source: FrameSource | None = None
        self._fault: Exception | None = None
        self._given_up = False
        self.thread = threading.Thread(target=self._work, name="camera open", daemon=True)
        self.thread.start()

    def take(self, within_s: float) -> FrameSource | None:
        """Return the source; None when it is not open within `within_s`, and it is closed again should it ever be.

        Raises: what opening it raised.
        """
        self.thread.join(within_s)
        with self._lock:
            self._given_up = self._source is None
            if self._fault is not None:
                raise self._fault
            return self._source

    def _work(self) -> None:
        try:
            source = self._open_source()
        except Exception as fault:  # noqa: BLE001 - it is raised where the camera is restarted
            with self._lock:
                self._fault = fault
            return
        with self._lock:
            self._source = source
            late = self._given_up
        if late:
            close_quietly(source)


def close_quietly(source: FrameSource) -> None:
    """Close `source`, whatever that raises."""
    try:
        source.close()
    except Exception:  # noqa: BLE001 - it is being left behind because it is broken
        return
