"""A disk that loses power: it keeps what was fsynced, under the names that were fsynced, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from agent.slots.disk import Disk


class PowerCut(BaseException):
    """The power went. Not an Exception: nothing may catch it."""


class ModelDisk(Disk):
    """Counts persistent steps under `root` and loses power before step `cut_at`; `forget` then drops what was not durable.

    Durability is tracked by inode: a file's bytes become durable by fsync, a folder's names by fsync of that folder. Every
    inode is held open, or the file system would give its number to something new, which would then pass for the old, durable
    thing. Close it when done.
    """

    def __init__(self, root: Path, cut_at: int | None = None) -> None:
        self._root, self._cut_at, self.steps = root, cut_at, list[str]()
        self._bytes: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._held: dict[int, int] = {}
        for path in (root, *root.rglob("*")):
            if path.is_dir():
                self._names[self._ino(path)] = {each.name: self._ino(each) for each in path.iterdir()}
            else:
                self._bytes[self._ino(path)] = path.read_bytes()

    def _step(self, name: str, path: Path) -> None:
        if self._cut_at is not None and len(self.steps) >= self._cut_at:
            raise PowerCut
        self.steps.append(f"{name} {path.name}")

    def write(self, path: Path, chunks: Iterable[bytes], *, append: bool = False) -> None:
        self._step("append" if append else "write", path)
        super().write(path, chunks, append=append)
        ino = self._ino(path)
        if not append:
            self._bytes.pop(ino, None)

    def fsync(self, path: Path) -> None:
        self._step("fsync", path)
        self._bytes[self._ino(path)] = path.read_bytes()

    def fsync_folder(self, folder: Path) -> None:
        self._step("fsync folder", folder)
        self._names[self._ino(folder)] = {each.name: self._ino(each) for each in folder.iterdir()}

    def rename(self, source: Path, target: Path) -> None:
        self._step("rename", target)
        super().rename(source, target)

    def make_folder(self, folder: Path) -> None:
        self._step("make folder", folder)
        new = not folder.exists()
        super().make_folder(folder)
        if new:
            self._names[self._ino(folder)] = {}

    def remove(self, path: Path) -> None:
        self._step("remove", path)
        super().remove(path)

    def forget(self) -> None:
        """Make `root` what a disk holds after power was lost: torn files are empty, names not fsynced are the old ones."""
        aside = self._root.with_name(self._root.name + ".before")
        self._root.rename(aside)
        kinds = {self._ino(path): path.is_dir() for path in (aside, *aside.rglob("*"))}

        def rebuild(ino: int, path: Path) -> None:
            if kinds.get(ino, ino in self._names):
                path.mkdir()
                for name, child in self._names.get(ino, {}).items():
                    rebuild(child, path / name)
            else:
                path.write_bytes(self._bytes.get(ino, b""))

        rebuild(self._ino(aside), self._root)
        shutil.rmtree(aside)

    def close(self) -> None:
        """Let go of every inode."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _ino(self, path: Path) -> int:
        ino = path.stat().st_ino
        if ino not in self._held:
            self._held[ino] = os.open(path, os.O_RDONLY)
        return ino
