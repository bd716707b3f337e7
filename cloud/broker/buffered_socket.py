"""A socket that reads and writes in large pieces. paho asks for one byte, one byte and the rest, and sends packet by packet.

A system call costs as much as decoding a summary; 11 KB messages come two dozen to a read and acknowledgements leave by the
hundred in one write. It has what paho asks of a socket (`paho.mqtt.client.SocketLike`, and `pending`, as TLS sockets do).
"""

from __future__ import annotations

import contextlib
import socket
import ssl

_READ_BYTES = 1 << 18
# A broker that does not read must not fill this process's memory.
_MOST_UNSENT = 1 << 20
_GOODBYE_S = 1.0


class BufferedSocket:
    """For one thread: whoever reads must call `flush` after it let paho write."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self._read, self._at = b"", 0
        self._unsent = bytearray()

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end of the stream.

        Raises:
            BlockingIOError, ssl.SSLWantReadError: nothing is there now.
        """
        if self._at >= len(self._read):
            self._read, self._at = self._more(), 0
        taken = self._read[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def _more(self) -> bytes:
        return self._inner.recv(_READ_BYTES)

    def send(self, data: bytes) -> int:
        """Take `data` whole, to be sent by `flush`.

        Raises:
            BlockingIOError: too much waits already.
        """
        if self.is_full():
            raise BlockingIOError("the broker does not read")
        self._unsent += data
        return len(data)

    def is_full(self) -> bool:
        """Return whether `send` takes nothing until the broker reads."""
        return len(self._unsent) > _MOST_UNSENT

    def flush(self) -> None:
        """Send what the network takes now.

        Raises:
            OSError: the connection is gone.
        """
        while self._unsent:
            try:
                sent = self._inner.send(self._unsent)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            del self._unsent[:sent]

    def unsent(self) -> int:
        """Return how many bytes `flush` could not send yet."""
        return len(self._unsent)

    def pending(self) -> int:
        """Return how many bytes can be read without asking the network."""
        inner = self._inner.pending() if isinstance(self._inner, ssl.SSLSocket) else 0
        return len(self._read) - self._at + inner

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._inner.fileno()

    def setblocking(self, flag: bool) -> None:
        """Pass on whether calls wait."""
        self._inner.setblocking(flag)

    def abandon(self) -> None:
        """Close, and send nothing more."""
        self._unsent.clear()
        self._inner.close()

    def close(self) -> None:
        """Send what is left, within a second, and close: the last of it is the goodbye that keeps a Will from being told."""
        with contextlib.suppress(OSError):
            if self._unsent:
                self._inner.settimeout(_GOODBYE_S)
                self._inner.sendall(self._unsent)
        self._inner.close()
