"""A file that is on its way, checked piece by piece as it grows and again when it is taken up after a break (OTA-6)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from agent.slots.disk import Disk
from agent.update.archive_pieces import Piece, head_size, pieces_of
from contract.archive import BLOCK
from contract.errors import BadBundle

_SYNC_EVERY = 4 << 20
_CHUNK = 1 << 20


class WrongPiece(Exception):
    """What came is not what must lie at `start`; the file was cut back to there."""

    def __init__(self, start: int, why: str) -> None:
        super().__init__(why)
        self.start, self.why = start, why


class PartFile:
    """The file at `path`, which is to be `size_bytes` long with SHA-256 `digest`.

    With the SHA-256 of the manifest that the archive begins with, every piece is checked by its own hash; without, the whole
    is one piece. What was cut off before its piece was complete stays, to be checked when the rest is there.

    Raises:
        StorageFull, TransientError: the disk, from any method.
    """

    def __init__(self, path: Path, digest: str, size_bytes: int, disk: Disk, manifest_sha256: str = "") -> None:
        self._path, self._disk, self._manifest_sha256 = path, disk, manifest_sha256
        self._digest, self.size_bytes = digest, size_bytes
        self.by_piece = bool(manifest_sha256)
        self._unwritten: list[bytes] = []
        self._forget()

    @property
    def size(self) -> int:
        """How many bytes are here, on the disk or about to be."""
        return self._at

    def resume(self, should_stop: Callable[[], bool]) -> bool:
        """Check what an earlier call left, cutting it back to the last good piece; False when `should_stop` said so."""
        self._forget()
        if not self._path.exists():
            return True
        if self._path.stat().st_size > self.size_bytes:
            self.restart()
            return True
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    if should_stop():
                        return False
                    self._check(chunk)
        except WrongPiece as wrong:
            self._cut(wrong.start)
        except OSError:
            self._back_to_piece()  # a sector that cannot be read any more: as good as wrong
            self._cut(self._at)
        return True

    def add(self, data: bytes) -> None:
        """Take what follows.

        Raises:
            WrongPiece: it completes a piece that is wrong; the file ends where that piece began.
            BadBundle: the manifest is the right one and cannot be used.
        """
        self._unwritten.append(data)
        self._waiting += len(data)
        try:
            self._check(data)
        except WrongPiece as wrong:
            self.flush()
            self._cut(wrong.start)
            raise
        if self._waiting >= _SYNC_EVERY:
            self.flush()

    def flush(self) -> None:
        """Make everything taken so far durable, so that a kill loses at most what came since."""
        if self._unwritten:
            chunks = self._unwritten
            self._unwritten, self._waiting = [], 0
            self._disk.write(self._path, chunks, append=True)
            self._disk.fsync(self._path)

    def finish(self) -> Path:
        """Return the path of the complete, durable file.

        Raises:
            BadBundle: its pieces are right and its hash is not; it was deleted.
        """
        self.flush()
        self._disk.fsync(self._path)
        found = self._whole.hexdigest()
        if found != self._digest:
            self.restart()
            raise BadBundle(
                f"bytes with SHA-256 {found[:12]}... came for bundle {self._digest[:12]}...",
                hint="check the registry's targets folder",
            )
        return self._path

    def restart(self) -> None:
        """Forget everything that is here."""
        self._disk.remove(self._path)
        self._forget()

    def _forget(self) -> None:
        self._at = self._start = 0
        self._whole, self._whole_at_start = hashlib.sha256(), hashlib.sha256()
        self._current = hashlib.sha256()
        self._head: bytearray | None = bytearray() if self.by_piece else None
        self._pieces: tuple[Piece, ...] = () if self.by_piece else (Piece(0, self.size_bytes, self._digest),)
        self._index, self._end = 0, BLOCK if self.by_piece else self.size_bytes
        self._unwritten, self._waiting = [], 0

    def _check(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._at == self._end:  # all pieces are here
                raise BadBundle(f"more than the {self.size_bytes} bytes that were announced")
            part, view = view[: self._end - self._at], view[self._end - self._at :]
            self._current.update(part)
            self._whole.update(part)
            self._at += len(part)
            if self._head is not None:
                self._head += part
            if self._at == self._end:
                self._end_piece()

    def _end_piece(self) -> None:
        if self._head is not None:
            self._end_head(self._head)
            return
        piece = self._pieces[self._index]
        found = self._current.hexdigest()
        if found != piece.sha256:
            self._back_to_piece()
            raise WrongPiece(piece.start, f"bytes with SHA-256 {found[:12]}... came for {piece.sha256[:12]}...")
        self._next_piece()

    def _end_head(self, head: bytearray) -> None:
        try:
            if self._at == BLOCK:
                self._end = head_size(bytes(head))
                if self._end > BLOCK:
                    return
            pieces = pieces_of(bytes(head), self._manifest_sha256)
        except BadBundle as error:
            self._back_to_piece()
            raise WrongPiece(0, error.message) from error
        if pieces[-1].end != self.size_bytes:
            raise BadBundle(
                f"the manifest amounts to {pieces[-1].end} bytes, {self.size_bytes} are announced",
                hint="release the bundle again",
            )
        self._pieces, self._head = pieces, None
        self._next_piece()

    def _next_piece(self) -> None:
        self._start, self._whole_at_start, self._current = self._at, self._whole.copy(), hashlib.sha256()
        self._index += 1
        if self._index < len(self._pieces):
            self._end = self._pieces[self._index].end

    def _back_to_piece(self) -> None:
        self._at, self._whole, self._current = self._start, self._whole_at_start.copy(), hashlib.sha256()
        if self._head is not None:
            self._head, self._end = bytearray(), BLOCK

    def _cut(self, start: int) -> None:
        if start == 0:
            self._disk.remove(self._path)
        else:
            self._disk.truncate(self._path, start)
            self._disk.fsync(self._path)
