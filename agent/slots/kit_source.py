"""Reading a kit from a USB stick: a folder, or one .plk file. Nobody vouches for what is on a stick but its signatures.

Only plain files with the names of a kit are opened; links, pipes and devices are not, and everything small has a limit.
The layout is told in `cloud.registry.kit`.
"""

from __future__ import annotations

import io
import os
import re
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from agent.slots.tuf_fetcher import open_in_kit
from contract.archive import BLOCK, TRAILER, entry_header, padding
from contract.errors import BadBundle, NotFound

MAX_ORDER_BYTES = 512 << 10
MAX_METADATA_BYTES = 8 << 20
MAX_METADATA_FILES = 512
_MAX_ENTRIES = 20_000
_NAME = re.compile(
    r"kit\.json|metadata/[0-9a-z][0-9a-z._-]{0,80}\.json|orders/[a-z0-9][a-z0-9_-]{0,62}\.json"
    r"|targets/[a-z]{1,20}/[0-9a-zA-Z][0-9a-zA-Z._-]{0,180}"
)
_PULLED = "is the stick damaged, or was it taken out?"


class KitSource(Protocol):
    """A kit, open for reading."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Return the files in `folder` ("metadata", "orders") that a kit may hold, sorted; BadBundle when unreadable."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Return a file of the kit; its reads may raise OSError.

        Raises:
            NotFound: the kit does not have it.
            BadBundle: it cannot be read, or is no plain file.
        """


def open_kit(path: Path) -> KitSource:
    """Return the kit at `path`.

    Raises:
        NotFound: there is nothing.
        BadBundle: it is no kit, is cut short, or cannot be read.
    """
    with kit_faults(path.name):
        if path.is_dir():
            kit: KitSource = _KitFolder(path)
        elif path.is_file():
            kit = _KitArchive(path)
        elif path.exists():
            raise BadBundle(f"'{path}' is no kit", hint="give a .plk file, or the folder of a kit")
        else:
            raise NotFound(f"no kit '{path}'", hint="is the stick plugged in and mounted?")
    if "metadata/timestamp.json" not in kit.names("metadata"):
        raise BadBundle(
            f"'{path}' is no kit: it has no metadata/timestamp.json", hint="make one with: plumbline-cloud kit make"
        )
    return kit


def read_whole(kit: KitSource, name: str, max_bytes: int) -> bytes:
    """Return a small file of a kit.

    Raises:
        NotFound, BadBundle: as `open`; or it is larger than `max_bytes`.
    """
    with kit_faults(name), kit.open(name) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise BadBundle(f"'{name}' of the kit is more than {max_bytes} bytes")
    return data


@contextmanager
def kit_faults(name: str) -> Iterator[None]:
    """Turn what a stick does into a sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"the kit has no '{name}'", hint="make it again, or copy all of it") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadBundle(f"'{name}' of the kit cannot be read: {why}", hint=_PULLED) from error


class _KitFolder(KitSource):
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self, folder: str) -> list[str]:
        found: list[str] = []
        with kit_faults(folder), os.scandir(self._path / folder) as entries:
            for number, entry in enumerate(entries):
                if number >= _MAX_ENTRIES:
                    raise BadBundle(f"'{folder}' of the kit has more than {_MAX_ENTRIES} files")
                found.append(f"{folder}/{entry.name}")
        return sorted(name for name in found if _NAME.fullmatch(name))

    def open(self, name: str) -> BinaryIO:
        if _NAME.fullmatch(name) is None:
            raise NotFound(f"the kit has no '{name[:80]}'")
        with kit_faults(name):
            return cast("BinaryIO", open_in_kit(self._path, *name.split("/")))


class _KitArchive(KitSource):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._places = self._index()

    def names(self, folder: str) -> list[str]:
        return sorted(name for name in self._places if name.startswith(f"{folder}/"))

    def open(self, name: str) -> BinaryIO:
        place = self._places.get(name)
        if place is None:
            raise NotFound(f"the kit has no '{name[:80]}'")
        with kit_faults(name):
            return io.BufferedReader(_Slice(self._path, *place))

    def _index(self) -> dict[str, tuple[int, int]]:
        places: dict[str, tuple[int, int]] = {}
        with self._path.open("rb") as file:
            whole, at = os.fstat(file.fileno()).st_size, 0
            while (block := file.read(BLOCK)) != TRAILER[:BLOCK]:
                name, size = _entry(block, self._path.name)
                at += BLOCK
                if at + size > whole:
                    raise BadBundle(f"'{self._path.name}' ends inside '{name}'", hint="copy the kit again, all of it")
                if name in places or len(places) >= _MAX_ENTRIES:
                    raise BadBundle(f"'{self._path.name}' lists '{name}' twice, or too many files")
                if _NAME.fullmatch(name):
                    places[name] = (at, size)
                at += size + len(padding(size))
                file.seek(at)
        return places


def _entry(block: bytes, kit: str) -> tuple[str, int]:
    if len(block) < BLOCK:
        raise BadBundle(f"'{kit}' ends early", hint="copy the kit again, all of it")
    try:
        name, size = block[:100].rstrip(b"\0").decode("ascii"), int(block[124:135], 8)
        if entry_header(name, size) == block:
            return name, size
    except (ValueError, BadBundle):
        pass
    raise BadBundle(f"'{kit}' is no kit", hint="a .plk is made by plumbline-cloud kit make; a folder works too")


class _Slice(io.RawIOBase):
    """A part of a file."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = path.open("rb", buffering=0), start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, min(base + offset, self._size))
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)[: self._size - self._at]  # type: ignore[arg-type]  # whatever io hands in
        self._file.seek(self._start + self._at)
        count = self._file.readinto(view)
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
