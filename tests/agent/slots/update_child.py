"""Processes that follow one order and kill themselves with -9 at a given step of the disk: `python update_child.py PLANT URL`.

Imports take seconds, so one process imports and forks a fresh one for each line on its standard input, a `Run` in JSON. Each
answer is the fork's return code on a line; a run that ends by itself leaves its last report in the file `says`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import msgspec
from update_plant import Plant

from agent.slots.disk import Disk
from agent.slots.floors_file import FloorsFile
from cloud.registry.keys import load_keys
from cloud.registry.release import Registry


class Run(msgspec.Struct):
    """`kill_at` is a step, -1 for none; the blow comes after it, or before. In a write, half of its chunks are "before"."""

    envelope: str
    kill_at: int
    after: bool
    says: str


class KillingDisk(Disk):
    """The real disk; `steps` names what was done so far."""

    def __init__(self, kill_at: int, after: bool) -> None:
        self._kill_at, self._after, self.steps = kill_at, after, list[str]()

    @contextmanager
    def _step(self, name: str, path: Path) -> Iterator[None]:
        struck = len(self.steps) == self._kill_at
        if struck and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.steps.append(f"{name} {path.name}")
        yield
        if struck:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(self, path: Path, chunks: Iterable[bytes], *, append: bool = False) -> None:
        if len(self.steps) == self._kill_at and not self._after:
            data = b"".join(chunks)
            super().write(path, [data[: len(data) // 2]], append=append)
        with self._step("append" if append else "write", path):
            super().write(path, chunks, append=append)

    def fsync(self, path: Path) -> None:
        with self._step("fsync", path):
            super().fsync(path)

    def fsync_folder(self, folder: Path) -> None:
        with self._step("fsync folder", folder):
            super().fsync_folder(folder)

    def rename(self, source: Path, target: Path) -> None:
        with self._step("rename", target):
            super().rename(source, target)

    def make_folder(self, folder: Path) -> None:
        with self._step("make folder", folder):
            super().make_folder(folder)

    def remove(self, path: Path) -> None:
        with self._step("remove", path):
            super().remove(path)


def follow(folder: Path, url: str, root: bytes, run: Run) -> None:
    """Be a station's update process, from its start until its update ended."""
    disk = KillingDisk(run.kill_at, run.after)
    with httpx.Client(timeout=60.0, trust_env=False) as client:
        server: object = SimpleNamespace(url=url)
        here = Plant(folder, load_keys(folder / "keys"), Registry(folder / "registry"), server, client, root)
        here.send(run.envelope)
        loop = here.loop(disk=disk, floors=FloorsFile(here.home / "floors", disk=disk))
        for _ in range(30):
            loop.tick(1.0)
        Path(run.says).write_bytes(msgspec.json.encode((here.report.said[-1], disk.steps)))


def serve(work: Callable[[Run], None]) -> None:
    """Fork for every line of standard input."""
    for line in sys.stdin:
        run = msgspec.json.decode(line, type=Run)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(run)
                code = 0
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    plant_folder, server_url = Path(sys.argv[1]), sys.argv[2]
    pinned = (plant_folder / "root.json").read_bytes()
    serve(lambda run: follow(plant_folder, server_url, pinned, run))
