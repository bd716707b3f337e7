"""How TUF metadata is fetched: capped in bytes and time whatever the server does, over HTTP or from a kit's folder (OTA-6)."""

from __future__ import annotations

import os
import socket
import stat
import threading
from abc import abstractmethod
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

# python-tuf exports this without __all__, which mypy --strict does not follow.
from tuf.ngclient import FetcherInterface  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

_CHUNK = 1 << 16
_MAX_REUSED = 32  # more idle connections than a client of ours keeps


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one file may cost: at most `max_bytes`, and `periods` times `period_s` seconds from the first packet to the last byte.

    Each period but the first (connecting, and the server's thinking) must bring `min_bytes`: less is no link, or an attack.
    """

    max_bytes: int = 8 << 20
    period_s: float = 15.0
    min_bytes: int = 4096
    periods: int = 8


class CappedFetcher(FetcherInterface):
    """A fetcher that keeps what it receives in memory, and never more of it than its limits and the caller's length allow."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits

    @abstractmethod
    def _fetch(self, url: str) -> Generator[bytes, None, None]:
        """Yield the file at `url` in pieces; raise DownloadError."""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return the file at `url`; python-tuf's own would spool it through the system's temporary folder.

        Raises:
            DownloadError: it did not come, or there is more of it than is allowed.
        """
        most, data = min(max_length, self._limits.max_bytes), bytearray()
        with closing(self._fetch(url)) as chunks:
            for chunk in chunks:
                data += chunk
                if len(data) > most:
                    raise DownloadLengthMismatchError(f"'{url}' is longer than {most} bytes")
        return bytes(data)


class HttpFetcher(CappedFetcher):
    """Metadata over the station's own httpx client, so one place configures TLS, proxies and timeouts.

    No redirect is followed, not even to the same host: the repository's address is pinned configuration, the request carries the
    station's token, and what answers with redirects in a factory is a captive portal. Every request has a connection of its
    own, or its watchdog could not end what a server drips into the headers.
    """

    def __init__(self, client: httpx.Client, limits: FetchLimits) -> None:
        super().__init__(limits)
        self._client = client

    def _fetch(self, url: str) -> Generator[bytes, None, None]:
        import httpx  # here, since a station that only knows kits needs none

        # A generator's errors escape FetcherInterface.fetch, so they are made DownloadErrors here.
        with _Watchdog(self._limits) as watchdog:
            for _ in range(_MAX_REUSED):
                try:
                    yield from self._stream(url, watchdog)
                except _ReusedConnectionError:
                    continue
                except httpx.HTTPError as error:
                    said = (
                        f"'{url}' was cut off: {watchdog.cut}" if watchdog.cut else str(error) or type(error).__name__
                    )
                    raise DownloadError(said) from error
                if watchdog.cut:  # a body without a length ends like any other when its socket is shut
                    raise DownloadError(f"'{url}' was cut off: {watchdog.cut}")
                return
        raise DownloadError(f"'{url}' got no connection of its own")

    def _stream(self, url: str, watchdog: _Watchdog) -> Generator[bytes, None, None]:
        # Identity, or a few bytes could grow to many before they are counted.
        headers = {"Accept-Encoding": "identity", "Connection": "close"}
        request = self._client.stream(
            "GET", url, headers=headers, follow_redirects=False, extensions={"trace": watchdog.trace}
        )
        with request as response:
            if response.status_code != 200:
                where = f" to '{response.headers['Location'][:200]}'" if "Location" in response.headers else ""
                raise DownloadHTTPError(f"'{url}' answered {response.status_code}{where}", response.status_code)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise DownloadError(f"'{url}' came encoded, which was not asked for")
            for chunk in response.iter_raw():
                watchdog.received += len(chunk)
                yield chunk


class KitFetcher(CappedFetcher):
    """Metadata from a folder that has the repository's layout, such as a USB stick's: `metadata/` and `targets/`.

    The stick is untrusted: only regular files directly in `metadata/` are opened, no link is followed, no device touched.
    """

    def __init__(self, folder: Path, limits: FetchLimits) -> None:
        super().__init__(limits)
        self._folder = folder

    def _fetch(self, url: str) -> Generator[bytes, None, None]:
        name = unquote(url.rpartition("/")[2])
        try:
            with open_in_kit(self._folder, "metadata", name) as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"the kit has no 'metadata/{name}'", 404) from error
        except (OSError, ValueError) as error:
            raise DownloadError(f"'metadata/{name}' of the kit: {error}") from error


def open_in_kit(folder: Path, *parts: str) -> Any:
    """Return the regular file at `parts` under `folder`, open for reading in binary.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is a link, lies behind one, is no regular file, or cannot be read.
        ValueError: a part is no name of one file.
    """
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\0" in part:
            raise ValueError(f"'{part}' is no file's name")
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
            os.close(place)
            place = inner
        # Looked at before it is opened: opening alone does things to some devices.
        if not stat.S_ISREG(os.stat(parts[-1], dir_fd=place, follow_symlinks=False).st_mode):
            raise OSError(f"'{parts[-1]}' is no regular file")
        found = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)
    return os.fdopen(found, "rb")


class _ReusedConnectionError(Exception):
    """The request went to a connection that was open before, whose socket the watchdog does not know."""


class _Watchdog:
    """Cuts one exchange off when it is over its limits. A socket's timeout bounds each silence and never their sum."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._done, self._lock = threading.Event(), threading.Lock()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._watch, name="metadata-watchdog", daemon=True)
        self.received = 0
        self.cut = ""
        """Why it was cut off; "" while it is not."""

    def __enter__(self) -> _Watchdog:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        if self._socket is not None:
            self._socket.close()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Learn of the socket; httpcore calls this as the exchange goes on."""
        if event.endswith(".connect_tcp.complete"):  # of a connection, or of one by way of a proxy
            with self._lock:
                # A duplicate, since TLS detaches the original.
                self._socket = info["return_value"].get_extra_info("socket").dup()
                if self.cut:
                    self._shut()
        elif event == "http11.send_request_headers.started" and self._socket is None:
            raise _ReusedConnectionError

    def _watch(self) -> None:
        before = 0
        for period in range(self._limits.periods):
            if self._done.wait(self._limits.period_s):
                return
            if period and self.received - before < self._limits.min_bytes:
                self._cut(f"{self.received - before} bytes in {self._limits.period_s:g} s")
                return
            before = self.received
        self._cut(f"not done after {self._limits.periods * self._limits.period_s:g} s")

    def _cut(self, reason: str) -> None:
        with self._lock:
            self.cut = reason
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
