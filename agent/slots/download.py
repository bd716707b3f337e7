"""Bundle archives over HTTP: resumed, capped, hashed (OTA-6)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from agent.ports.clock import Clock
from agent.slots.disk import Disk, disk_faults
from contract.errors import BadBundle, LinkDown, NotFound
from contract.ids import bundle_target

_SYNC_EVERY = 4 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class HttpDownloader:
    """Downloads into `folder`, from `base_url` + "targets/bundles/DIGEST.plb".

    `client` brings TLS and timeouts. `max_bytes_per_s` 0 means as fast as it goes. Used by one thread.
    """

    def __init__(
        self,
        client: httpx.Client,
        base_url: str,
        folder: Path,
        clock: Clock,
        *,
        max_bytes_per_s: float = 0.0,
        disk: Disk | None = None,
    ) -> None:
        self._client, self._base_url = client, base_url.rstrip("/")
        self._folder, self._clock, self._rate, self._disk = folder, clock, max_bytes_per_s, disk or Disk()
        self._disk.make_folder(folder)

    def fetch(self, digest: str, size_bytes: int, should_stop: Callable[[], bool]) -> Path | None:
        """Return the path of the complete archive with SHA-256 `digest`; None when `should_stop` said so.

        What came before a break is kept and resumed from. Never more than `size_bytes` are taken from the server.

        Raises:
            LinkDown: the transfer broke; call again to resume.
            NotFound: the server has no such archive.
            BadBundle: what came is not what the digest names; it was deleted.
            StorageFull: no room.
        """
        part = self._part(digest)
        with disk_faults(self._folder):
            others = [path for path in self._folder.iterdir() if path != part]
        for other in others:
            self._disk.remove(other)  # one download at a time: anything else was superseded
        have = _size(part)
        if have > size_bytes:
            self._disk.remove(part)
            have = 0
        try:
            if have < size_bytes and not self._receive(part, digest, have, size_bytes, should_stop):
                return None
        except BadBundle:
            self._disk.remove(part)  # what came so far cannot be the beginning of the right thing either
            raise
        self._disk.fsync(part)
        found = _sha256(part)
        if found != digest:
            self._disk.remove(part)
            raise BadBundle(
                f"the server sent bytes with SHA-256 {found[:12]}... for bundle {digest[:12]}...",
                hint="check the registry's targets folder",
            )
        return part

    def discard(self, digest: str) -> None:
        """Delete whatever was fetched for `digest`."""
        self._disk.remove(self._part(digest))

    def _part(self, digest: str) -> Path:
        return self._folder / f"{digest}.part"

    def _receive(self, part: Path, digest: str, have: int, size_bytes: int, should_stop: Callable[[], bool]) -> bool:
        url = f"{self._base_url}/targets/{bundle_target(digest)}"
        # Identity, or Range would count compressed bytes.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                start = self._start_of(response, url, have)
                if start != have:
                    self._disk.remove(part)
                pieces = self._pieces(response, start, size_bytes, should_stop)
                for piece in pieces:
                    self._disk.write(part, piece, append=True)
                    self._disk.fsync(part)
        except httpx.HTTPError as error:
            raise LinkDown(f"the download of bundle {digest[:12]} broke: {error or type(error).__name__}") from error
        size = _size(part)
        if size < size_bytes and not should_stop():
            raise LinkDown(f"bundle {digest[:12]} ended {size_bytes - size} bytes early")
        return size == size_bytes

    def _pieces(
        self, response: httpx.Response, start: int, size_bytes: int, should_stop: Callable[[], bool]
    ) -> Iterator[list[bytes]]:
        """Yield what arrives in pieces worth an fsync, so that a kill loses at most one of them, and a break none."""
        piece: list[bytes] = []
        broken: httpx.TransportError | None = None
        got, synced, began = start, start, self._clock.monotonic()
        try:
            for chunk in response.iter_raw():
                got += len(chunk)
                if got > size_bytes:
                    raise BadBundle(f"the server sends more than the {size_bytes} bytes that were announced")
                piece.append(chunk)
                if got - synced >= _SYNC_EVERY:
                    yield piece
                    piece, synced = [], got
                if should_stop():
                    break
                if self._rate:
                    ahead_s = (got - start) / self._rate - (self._clock.monotonic() - began)
                    if ahead_s > 0:
                        self._clock.sleep(ahead_s)
        except httpx.TransportError as error:
            broken = error
        if piece:
            yield piece
        if broken is not None:
            raise broken

    def _start_of(self, response: httpx.Response, url: str, have: int) -> int:
        """Return the offset the response's body starts at, having checked its status."""
        status = response.status_code
        if status == 200:
            return 0  # the server ignores Range: from the start
        if status == 206:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if match is not None and int(match[1]) == have:
                return have
            raise LinkDown(f"'{url}' answered another range than was asked for")
        if status in (401, 403, 404, 410):
            raise NotFound(f"'{url}' answered {status}", hint="is the bundle released, and may this station read it?")
        if status == 416:
            raise BadBundle(f"'{url}' is shorter than announced", hint="check the registry's targets folder")
        raise LinkDown(f"'{url}' answered {status}")


def _size(path: Path) -> int:
    with disk_faults(path):
        return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with disk_faults(path), path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
