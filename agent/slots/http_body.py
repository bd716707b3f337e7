"""One HTTP answer, read in a thread of its own, so that whoever waits for it can turn away while the server is silent."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from dataclasses import dataclass

import httpx

_WAITING_CHUNKS = 16  # of at most 64 KiB: what a slow disk lets pile up in memory
_LOOK_UP_S = 0.2


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins."""

    status: int
    headers: httpx.Headers


class HttpBody:
    """GET `url`: first its Head, then chunks of its raw body, then b"". Redirects are not followed.

    `close` never waits for the server: a thread that is still connecting ends by the client's own timeout.
    """

    def __init__(self, client: httpx.Client, url: str, headers: dict[str, str]) -> None:
        self._client, self._url, self._headers = client, url, headers
        self._items: queue.Queue[Head | bytes | Exception] = queue.Queue(_WAITING_CHUNKS)
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        threading.Thread(target=self._read, name="download", daemon=True).start()

    def next(self, within_s: float) -> Head | bytes | None:
        """Return what came next; None when nothing did within `within_s`.

        Raises:
            httpx.HTTPError: the exchange broke, or could not be begun.
        """
        try:
            item = self._items.get(timeout=within_s)
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        """Give the answer up."""
        self._closed.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it may be closed already
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for bytes; closing would not

    def _read(self) -> None:
        try:
            with self._client.stream("GET", self._url, headers=self._headers, follow_redirects=False) as response:
                stream = response.extensions.get("network_stream")
                found = stream.get_extra_info("socket") if stream is not None else None
                self._socket = found if isinstance(found, socket.socket) else None
                if not self._put(Head(response.status_code, response.headers)):
                    return
                for chunk in response.iter_raw():
                    if chunk and not self._put(chunk):
                        return
                # The connection may serve others from here on.
                self._socket = None
            self._put(b"")
        except httpx.HTTPError as error:
            self._put(error)
        except (OSError, ValueError, RuntimeError, httpx.InvalidURL, httpx.StreamError) as error:
            # A client that was closed meanwhile, an address that is none.
            self._put(httpx.TransportError(str(error) or type(error).__name__))

    def _put(self, item: Head | bytes | Exception) -> bool:
        while not self._closed.is_set():
            try:
                self._items.put(item, timeout=_LOOK_UP_S)
            except queue.Full:
                continue
            return True
        return False


def is_certificate_fault(error: BaseException | None) -> bool:
    """Return whether `error` came of a server's certificate."""
    while error is not None:
        if isinstance(error, ssl.SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
