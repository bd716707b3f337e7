"""From a bundle that is installed and a delta to the archive of the next bundle, on the disk (OTA-7).

The base is read in ranges from the slot's files, which together with the headers between them are the archive it came from
(`contract.archive`). What is written here is installed as if it had been downloaded: hashed, unpacked, read back.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from agent.ports.slots import InstalledBundle
from agent.slots.disk import Disk
from agent.slots.unpacked import unreadable
from contract.archive import TRAILER, entry_header, padding
from contract.errors import BadBundle, NotFound, PlumblineError
from contract.manifest import MANIFEST_NAME
from contract.rebuild import rebuild


def build_archive(base: InstalledBundle, delta: Path, out: Path, disk: Disk, *, goal: str, size_bytes: int) -> Path:
    """Write the archive of bundle `goal` to `out`, durable, and return `out`. After any error there is nothing at `out`.

    Args:
        base: a bundle in its slot; its files are read, never whole.
        goal, size_bytes: the SHA-256 and size of the new archive, from the image repository.
    Raises:
        BadBundle: the delta is damaged, is of other bundles, or was made to do harm; the full bundle is the way then.
        NotFound: there is no such delta.
        StorageFull: no room.
        TransientError: the disk failed.
    """
    temporary = out.with_name(out.name + ".tmp")
    try:
        with ExitStack() as files:
            source = _opened(files, delta)
            archive = _SlotArchive(files, base)
            chunks = rebuild(source, archive, origin=base.digest, goal=goal, size=size_bytes)
            disk.write(temporary, chunks)
        disk.fsync(temporary)
        disk.rename(temporary, out)
        disk.fsync_folder(out.parent)
    except PlumblineError:
        disk.remove(temporary)
        raise
    return out


class _FileRanges:
    """An open file."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self.size = file.seek(0, 2)

    def read_at(self, offset: int, size: int) -> bytes:
        try:
            self._file.seek(offset)
            return self._file.read(max(0, min(size, self.size - offset)))
        except OSError as error:
            raise unreadable(f"'{self._path}'", error) from error


class _SlotArchive:
    """The archive that an unpacked bundle came from: its files with what an archive has between them."""

    def __init__(self, files: ExitStack, bundle: InstalledBundle) -> None:
        manifest = _opened(files, Path(bundle.folder) / MANIFEST_NAME)
        self._parts: list[bytes | _FileRanges] = []
        self._starts: list[int] = []
        self.size = 0
        self._add_file(MANIFEST_NAME, manifest)
        for entry in bundle.manifest.files:
            self._add_file(entry.name, _opened(files, Path(bundle.folder) / entry.name))
        self._add(TRAILER)

    def read_at(self, offset: int, size: int) -> bytes:
        out = bytearray()
        end = min(offset + size, self.size)
        while offset < end:
            number = bisect_right(self._starts, offset) - 1
            part, within = self._parts[number], offset - self._starts[number]
            length = len(part) if isinstance(part, bytes) else part.size
            take = min(end - offset, length - within)
            got = part[within : within + take] if isinstance(part, bytes) else part.read_at(within, take)
            if len(got) != take:
                raise BadBundle("a file of the delta's base became shorter", hint="fetch the full bundle")
            out += got
            offset += take
        return bytes(out)

    def _add_file(self, name: str, content: _FileRanges) -> None:
        self._add(entry_header(name, content.size))
        self._add(content)
        self._add(padding(content.size))

    def _add(self, part: bytes | _FileRanges) -> None:
        size = len(part) if isinstance(part, bytes) else part.size
        if size:  # an empty part would share its start with the next one
            self._parts.append(part)
            self._starts.append(self.size)
            self.size += size


def _opened(files: ExitStack, path: Path) -> _FileRanges:
    try:
        return _FileRanges(files.enter_context(path.open("rb")), path)
    except FileNotFoundError as error:
        raise NotFound(f"no '{path}'") from error
    except OSError as error:
        raise unreadable(f"'{path}'", error) from error
