"""A TCP proxy of loopback that keeps every byte that passes, in both directions."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field


@dataclass
class Exchange:
    """One connection: what the client sent, and what it was sent."""

    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)


class RecordingProxy:
    """Listens on a free port and passes everything on to `upstream`, a port of loopback."""

    def __init__(self, upstream: int) -> None:
        self.exchanges: list[Exchange] = []
        self._upstream = upstream
        self._closed = False
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def sent(self) -> list[bytes]:
        """Return what clients sent, a connection each."""
        return [bytes(exchange.sent) for exchange in list(self.exchanges)]

    def everything(self) -> list[bytes]:
        """Return both directions of every connection."""
        return [*self.sent(), *(bytes(exchange.received) for exchange in list(self.exchanges))]

    def close(self) -> None:
        """End every connection."""
        self._closed = True
        self._server.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._server.accept()
                upstream = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                if self._closed:
                    return
                client.close()
                continue
            exchange = Exchange()
            self.exchanges.append(exchange)
            self._sockets += [client, upstream]
            for source, target, kept in ((client, upstream, exchange.sent), (upstream, client, exchange.received)):
                threading.Thread(target=self._pump, args=(source, target, kept), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(65536):
                kept += block
                target.sendall(block)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
