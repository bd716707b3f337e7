"""Bundle archives over HTTP: resumed, checked piece by piece, capped in bytes, rate, time and retries (OTA-6)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from agent.ports.clock import Clock
from agent.slots.disk import Disk, disk_faults
from agent.slots.download_note import DownloadNote, read_note
from agent.slots.http_body import Head, HttpBody, is_certificate_fault
from agent.slots.part_file import PartFile, WrongPiece
from agent.update.retry_after import retry_after_s
from agent.update.sealed import seal
from contract.errors import BadBundle, LinkDown, NotFound
from contract.ids import bundle_target

MAX_TIMES_WRONG = 3
"""How often in a row a piece may come wrong before the bundle is refused."""
SPEND_FACTOR, SPEND_EXTRA = 3, 16 << 20
"""For a bundle of n bytes at most 3 n + 16 MiB are taken from the network before it is refused."""

_MAX_REDIRECTS = 3
_LOOK_UP_S = 0.2
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class HttpDownloader:
    """Downloads into `folder`, from `base_url` + "targets/bundles/DIGEST.plb". Used by one thread.

    A redirect is followed within the same origin (scheme, host, port) only, three times at most: the station's token goes
    nowhere else, and a captive portal's page is nobody's bundle.

    Args:
        client: brings TLS and timeouts.
        max_bytes_per_s: 0 means as fast as it goes.
        stall_s: with less than `stall_bytes` in so many seconds the transfer is given up, to be tried again later.
    """

    def __init__(
        self,
        client: httpx.Client,
        base_url: str,
        folder: Path,
        clock: Clock,
        *,
        max_bytes_per_s: float = 0.0,
        stall_s: float = 60.0,
        stall_bytes: int = 1024,
        disk: Disk | None = None,
    ) -> None:
        self._client, self._base_url = client, base_url.rstrip("/")
        self._folder, self._clock, self._rate, self._disk = folder, clock, max_bytes_per_s, disk or Disk()
        self._stall_s, self._stall_bytes = stall_s, stall_bytes
        self._not_before = 0.0
        self._disk.make_folder(folder)

    def make_ready(self, digest: str) -> int:
        """Delete what was fetched of anything else; return how many bytes of `digest` are here.

        Raises:
            TransientError: the disk failed.
        """
        path, note = self._part(digest), self._note(digest)
        with disk_faults(self._folder):
            found = {each: each.stat().st_size for each in self._folder.iterdir()}
        for each in found.keys() - {path, note}:
            self._disk.remove(each)  # one download at a time: anything else was superseded
        return found.get(path, 0)

    def fetch(
        self,
        digest: str,
        size_bytes: int,
        should_stop: Callable[[], bool],
        manifest_sha256: str = "",
        *,
        target: str = "",
    ) -> Path | None:
        """Return the path of the complete archive with SHA-256 `digest`; None when `should_stop` said so.

        What came before a break is kept and resumed from. Never more than `size_bytes` are stored.

        Args:
            manifest_sha256: of the manifest that the archive begins with; "" for a bundle that was released without it, and
                then a wrong byte costs the whole.
            target: another file below targets/ than the bundle of that digest.
        Raises:
            LinkDown: the transfer broke; call again to resume.
            NotFound: the server has no such archive.
            BadBundle: what came is not what the digest names; of it only good pieces were kept.
            StorageFull: no room.
        """
        wait_s = self._not_before - self._clock.monotonic()
        if wait_s > 0:
            raise LinkDown(f"the server asked to be left alone for another {wait_s:.0f} s")
        self.make_ready(digest)
        path, note_path = self._part(digest), self._note(digest)
        part = PartFile(path, digest, size_bytes, self._disk, manifest_sha256)
        if not part.resume(should_stop):
            return None
        url = f"{self._base_url}/targets/{target or bundle_target(digest)}"
        times_wrong: Counter[int] = Counter()
        while part.size < size_bytes:
            try:
                if not _Exchange(self, part, url, self._note(digest), should_stop).run():
                    return None
            except WrongPiece as wrong:
                times_wrong[wrong.start] += 1
                if not part.by_piece or times_wrong[wrong.start] >= MAX_TIMES_WRONG:
                    self._disk.remove(note_path)
                    raise BadBundle(
                        f"bundle {digest[:12]} comes wrong at byte {wrong.start}: {wrong.why}",
                        hint="check the registry's targets folder, and what lies between it and this station",
                    ) from wrong
            except BadBundle:
                self._disk.remove(note_path)
                if not part.by_piece:
                    part.restart()  # what came so far cannot be the beginning of the right thing either
                raise
        done = part.finish()
        self._disk.remove(note_path)
        return done

    def discard(self, digest: str) -> None:
        """Delete whatever was fetched for `digest`."""
        self._disk.remove(self._part(digest))
        self._disk.remove(self._note(digest))

    def _part(self, digest: str) -> Path:
        return self._folder / f"{digest}.part"

    def _note(self, digest: str) -> Path:
        return self._folder / f"{digest}.note"


class _Exchange:
    """One request for the rest of a file."""

    def __init__(
        self, owner: HttpDownloader, part: PartFile, url: str, note: Path, should_stop: Callable[[], bool]
    ) -> None:
        self._owner, self._part, self._url, self._note_path = owner, part, url, note
        self._should_stop = should_stop
        self._note = read_note(note) or DownloadNote(part.size_bytes)
        self._spent, self._etag = self._note.spent, self._note.etag
        self._skip = 0
        self._waited_s, self._gained = 0.0, 0

    def run(self) -> bool:
        """Take what comes; return False when told to stop.

        Raises:
            WrongPiece: a piece came wrong, and was cut off.
            LinkDown, NotFound, BadBundle: as `fetch`.
        """
        part, name = self._part, self._url.rsplit("/", 1)[-1][:12]
        try:
            stopped = not self._follow(self._url)
        except httpx.HTTPError as error:
            hint = ""
            if is_certificate_fault(error):
                hint = "the server's certificate is not one that this station trusts; is the clock right?"
            raise LinkDown(f"the download of {name} broke: {error or type(error).__name__}", hint=hint) from error
        finally:
            part.flush()
            if part.size < part.size_bytes:
                kept = DownloadNote(part.size_bytes, self._etag, self._spent)
                self._owner._disk.replace(self._note_path, seal(kept))
        if stopped:
            return part.size == part.size_bytes
        if part.size < part.size_bytes:
            raise LinkDown(f"bundle {name} ended {part.size_bytes - part.size} bytes early")
        return True

    def _follow(self, url: str, hops: int = 0) -> bool:
        """GET `url`; return False when told to stop."""
        have, headers = self._part.size, {"Accept-Encoding": "identity"}  # or Range would count compressed bytes
        if have:
            headers["Range"] = f"bytes={have}-"
            # By piece, a changed file shows itself, and another mirror's name for the same bytes need not start anew.
            if self._etag.startswith('"') and not self._part.by_piece:
                headers["If-Range"] = self._etag
        body = HttpBody(self._owner._client, url, headers)
        try:
            head = self._next(body)
            if head is None:
                return False
            assert isinstance(head, Head)  # an answer begins with it
            if head.status in (301, 302, 303, 307, 308):
                elsewhere = self._redirected(url, head, hops)
            else:
                self._begin(head, url, have)
                return self._take(body)
        finally:
            body.close()
        return self._follow(elsewhere, hops + 1)

    def _redirected(self, url: str, head: Head, hops: int) -> str:
        here = httpx.URL(url)
        try:
            there = here.join(head.headers.get("Location", ""))
        except httpx.InvalidURL:
            there = httpx.URL()
        origins = [(each.scheme, each.host, each.port) for each in (here, there)]
        if origins[0] != origins[1] or there == here or hops >= _MAX_REDIRECTS:
            raise LinkDown(
                f"'{url}' answered {head.status} to '{str(there)[:200]}'",
                hint="only redirects within the same server are followed; is there a captive portal?",
            )
        return str(there)

    def _begin(self, head: Head, url: str, have: int) -> None:
        """Check how the answer begins, and make ready to take its body."""
        status, headers = head.status, head.headers
        if status in (200, 206) and headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise LinkDown(f"'{url}' came encoded though nobody asked for it", hint="what lies between changes files?")
        if status == 200:
            self._begin_whole(headers, have)
        elif status == 206:
            match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
            if match is None or not have or int(match[1]) != have:
                raise LinkDown(f"'{url}' answered another range than was asked for")
            if match[2] != "*" and int(match[2]) != self._part.size_bytes:
                raise BadBundle(f"'{url}' is {int(match[2])} bytes, not {self._part.size_bytes}")
        elif status in (401, 403, 404, 410):
            raise NotFound(f"'{url}' answered {status}", hint="is the bundle released, and may this station read it?")
        elif status == 416:
            raise BadBundle(f"'{url}' is shorter than announced", hint="check the registry's targets folder")
        else:
            clock = self._owner._clock
            if status in (429, 503):
                wait_s = retry_after_s(headers.get("Retry-After", ""), clock.now())
                self._owner._not_before = clock.monotonic() + wait_s
            raise LinkDown(f"'{url}' answered {status}")

    def _begin_whole(self, headers: httpx.Headers, have: int) -> None:
        """The server ignores Range, or the file has changed: from the start."""
        etag = headers.get("ETag", "")[:200]
        if self._part.by_piece:
            self._skip = have  # checked already, or about to be: the same bytes again are let by
        elif have:
            self._part.restart()
        self._etag = etag

    def _take(self, body: HttpBody) -> bool:
        clock, part, rate = self._owner._clock, self._part, self._owner._rate
        limit = SPEND_FACTOR * part.size_bytes + SPEND_EXTRA
        came, began = 0, clock.monotonic()
        while chunk := self._next(body):
            assert isinstance(chunk, bytes)  # after its head an answer is bytes
            came += len(chunk)
            self._spent += len(chunk)
            if self._spent > limit:
                self._spent = 0
                raise BadBundle(
                    f"{limit} bytes were spent on a bundle of {part.size_bytes}, and it is not here",
                    hint="what lies between this station and the server cuts or changes downloads",
                )
            let_by = min(self._skip, len(chunk))
            self._skip -= let_by
            fresh = chunk[let_by:]
            if part.size + len(fresh) > part.size_bytes:
                raise BadBundle(f"the server sends more than the {part.size_bytes} bytes that were announced")
            if fresh:
                part.add(fresh)
            while rate and (ahead_s := came / rate - (clock.monotonic() - began)) > 0:
                if self._should_stop():
                    return False
                clock.sleep(min(ahead_s, _LOOK_UP_S))
        return chunk is not None

    def _next(self, body: HttpBody) -> Head | bytes | None:
        """Return what comes next, b"" at the end, None when told to stop; LinkDown when (almost) nothing comes."""
        clock = self._owner._clock
        waiting_since = clock.monotonic()
        while not self._should_stop():
            item = body.next(_LOOK_UP_S)
            if item is not None:
                self._note_progress(item, clock.monotonic() - waiting_since)
                return item
            if self._waited_s + clock.monotonic() - waiting_since > self._owner._stall_s:
                raise LinkDown(f"'{self._url}' sends nothing any more")
        return None

    def _note_progress(self, item: Head | bytes, waited_s: float) -> None:
        # Dripping a byte now and then is no progress: what counts is enough of them within the time.
        self._waited_s += waited_s
        self._gained += len(item) if isinstance(item, bytes) else 0
        if self._gained >= self._owner._stall_bytes:
            self._waited_s, self._gained = 0.0, 0
        elif self._waited_s > self._owner._stall_s:
            raise LinkDown(f"'{self._url}' hardly sends anything any more")
