"""Telling the service manager how the station is, by systemd's sd_notify protocol (sd_notify(3)): a datagram to a socket."""

from __future__ import annotations

import socket
from collections.abc import Callable

from agent.ports.clock import Clock

_STATUS_EVERY_S = 5.0


class ServiceManager:
    """Talks to the socket that systemd named; without one every call does nothing. One thread's.

    The watchdog is fed from the line's own progress and from nothing else: a timer would feed it through any hang.
    """

    def __init__(self, address: str, watchdog_s: float, clock: Clock) -> None:
        """`address`: NOTIFY_SOCKET, "" for none; "@..." is an abstract one. `watchdog_s`: WATCHDOG_USEC in seconds, 0 for none."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._clock = clock
        self._fed_s = float("-inf")
        self._status = ""
        self._said_s = float("-inf")
        self.goes_on: Callable[[], bool] = lambda: False
        """Returns whether the process goes on after this stop: a service manager told of one would end what starts anew."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)

    def ready(self) -> None:
        """Say that the station is up."""
        self._send("READY=1")

    def progressed(self) -> None:
        """Feed the watchdog, at most four times in its period."""
        now_s = self._clock.monotonic()
        if self._watchdog_s > 0 and now_s - self._fed_s >= self._watchdog_s / 4:
            self._fed_s = now_s
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`; a change is said at most every few seconds, for the socket's queue is short."""
        now_s = self._clock.monotonic()
        if text != self._status and now_s - self._said_s >= _STATUS_EVERY_S:
            self._status, self._said_s = text, now_s
            self._send("STATUS=" + " ".join(text.split()))

    def stopping(self) -> None:
        """Say that the station is going down on purpose, unless it comes up again in this process."""
        if not self.goes_on():
            self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            # Nobody listens, or the queue is full: the station judges parts all the same, and systemd draws its conclusion.
            return
