"""TensorRT engines on this station's disk: one folder for each key, whole or absent (OTA-8)."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path

import msgspec

from contract.errors import BadModel, TransientError

_LISTING = "engine.json"
_TRIES = ".tries"


class _File(msgspec.Struct, frozen=True):
    sha256: str
    size_bytes: int


class _Listing(msgspec.Struct, frozen=True):
    key: str
    files: dict[str, _File]


class _Tries(msgspec.Struct, frozen=True):
    tries: int = 0
    why: str = ""


class EngineCache:
    """Folders of engines by key. Every method is durable when it returns; used under one lock by its caller.

    `max_bytes` bounds what is kept beside the engines in use; `max_tries` how often one key's build is begun.
    """

    def __init__(self, folder: Path, *, max_bytes: int, max_tries: int = 3) -> None:
        """Use `folder`, made when it is missing; what a build that was cut off left is deleted.

        Raises:
            TransientError: the disk refused.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_tries = max_tries
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for entry in folder.iterdir():
                if entry.name.endswith(".tmp"):
                    _remove(entry)
        except OSError as error:
            raise _refused(folder, error) from error

    def find(self, key: str) -> Path | None:
        """Return the folder of the engines for `key` when it is whole; one that is torn, changed or foreign is deleted."""
        folder = self._folder / key
        if not folder.exists():
            return None
        if self._is_whole(folder, key):
            return folder
        self.discard(key)
        return None

    def begin(self, key: str) -> Path | None:
        """Count one more try for `key`, then return an empty folder to build in; None when its tries are used up.

        Raises:
            TransientError: the disk refused.
        """
        tries = self._tries(key)
        if tries.tries >= self._max_tries:
            return None
        scratch = self._folder / f"{key}.tmp"
        try:
            # Counted first (as OTA-4 does): a build that takes the whole machine down counts too.
            self._note(key, _Tries(tries.tries + 1, tries.why))
            _remove(scratch)
            scratch.mkdir()
        except OSError as error:
            raise _refused(scratch, error) from error
        return scratch

    def publish(self, key: str) -> Path:
        """Make what was built for `key` the engines of that key, in one step; return their folder.

        Raises:
            BadModel: nothing was built.
            TransientError: the disk refused.
        """
        scratch, target = self._folder / f"{key}.tmp", self._folder / key
        try:
            files = {entry.name: _measure(entry) for entry in sorted(scratch.iterdir()) if entry.is_file()}
            if not files or not any(file.size_bytes for file in files.values()):
                raise BadModel("the build ended well and left no engine")
            listing = scratch / _LISTING
            listing.write_bytes(msgspec.json.encode(_Listing(key, files)))
            for name in (*files, _LISTING):
                _sync(scratch / name, os.O_RDONLY)
            _sync(scratch, os.O_RDONLY | os.O_DIRECTORY)
            _remove(target)
            scratch.replace(target)
            _sync(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise _refused(target, error) from error
        return target

    def confirm(self, key: str) -> None:
        """Forget the tries of `key`: its engines were loaded, and ran.

        Raises:
            TransientError: the disk refused.
        """
        try:
            (self._folder / f"{key}{_TRIES}").unlink(missing_ok=True)
        except OSError as error:
            raise _refused(self._folder, error) from error

    def abandon(self, key: str, why: str, *, counts: bool = True) -> None:
        """Delete what a build left and keep why it failed; `counts=False` gives its try back (it was stopped, not at fault).

        Raises:
            TransientError: the disk refused.
        """
        try:
            _remove(self._folder / f"{key}.tmp")
            tries = self._tries(key).tries
            self._note(key, _Tries(tries if counts else max(0, tries - 1), why))
        except OSError as error:
            raise _refused(self._folder, error) from error

    def discard(self, key: str) -> None:
        """Delete the engines of `key`, so that they are built again.

        Raises:
            TransientError: the disk refused.
        """
        try:
            # Renamed first: a power cut while deleting leaves a .tmp, which nobody loads.
            grave = self._folder / f"{key}.old.tmp"
            _remove(grave)
            if (self._folder / key).exists() or (self._folder / key).is_symlink():
                (self._folder / key).replace(grave)
                _remove(grave)
        except OSError as error:
            raise _refused(self._folder, error) from error

    def tries(self, key: str) -> tuple[int, str]:
        """Return how often the build for `key` was begun without success, and why the last one failed."""
        tries = self._tries(key)
        return tries.tries, tries.why

    def collect_garbage(self, in_use: Collection[str]) -> list[str]:
        """Delete engines of other keys, oldest first, until all fit the byte budget; return the keys deleted.

        Raises:
            TransientError: the disk refused.
        """
        try:
            entries = [entry for entry in self._folder.iterdir() if entry.is_dir() and not entry.name.endswith(".tmp")]
            sizes = {
                entry: sum(file.stat().st_size for file in entry.rglob("*") if file.is_file()) for entry in entries
            }
            ages = {entry: entry.stat().st_mtime_ns for entry in entries}
            for note in self._folder.glob(f"*{_TRIES}"):
                if note.name[: -len(_TRIES)] not in in_use:
                    ages[note], sizes[note] = note.stat().st_mtime_ns, 0
        except OSError as error:
            raise _refused(self._folder, error) from error
        total, gone = sum(sizes.values()), []
        for entry in sorted(entries, key=lambda found: ages[found]):
            if total <= self._max_bytes:
                break
            if entry.name in in_use:
                continue
            self.discard(entry.name)
            total -= sizes[entry]
            gone.append(entry.name)
        # Notes of keys long forgotten are a few bytes each; the newest hundred are kept.
        notes = sorted((found for found in ages if found.name.endswith(_TRIES)), key=lambda found: ages[found])
        for note in notes[:-100]:
            note.unlink(missing_ok=True)
        return gone

    def _is_whole(self, folder: Path, key: str) -> bool:
        try:
            listing = msgspec.json.decode((folder / _LISTING).read_bytes(), type=_Listing)
            names = {entry.name for entry in folder.iterdir()} - {_LISTING}
            return (
                listing.key == key
                and names == set(listing.files)
                and all(_measure(folder / name) == file for name, file in listing.files.items())
            )
        except (OSError, msgspec.DecodeError, ValueError):
            return False

    def _tries(self, key: str) -> _Tries:
        try:
            return msgspec.json.decode((self._folder / f"{key}{_TRIES}").read_bytes(), type=_Tries)
        except (OSError, msgspec.DecodeError, ValueError):
            return _Tries()

    def _note(self, key: str, tries: _Tries) -> None:
        path = self._folder / f"{key}{_TRIES}"
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_bytes(msgspec.json.encode(tries))
        _sync(temporary, os.O_RDONLY)
        temporary.replace(path)
        _sync(self._folder, os.O_RDONLY | os.O_DIRECTORY)


def _measure(path: Path) -> _File:
    sha256, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            size += len(block)
    return _File(sha256.hexdigest(), size)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> TransientError:
    return TransientError(f"the disk refused at '{path}': {error.strerror or error}", hint="check the disk")
