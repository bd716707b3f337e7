"""Frames from image files: a recorded set, or a folder into which a camera's own software writes."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np

from agent.ports.clock import Clock
from agent.ports.source import Frame
from agent.sources.image_file import part_of, read_image_file
from agent.sources.image_listing import Arrivals, check_folder, list_images
from agent.sources.pace import MAX_WAIT_S, Pacer
from contract.errors import CameraFault, InvalidConfig

_POLL_S = 0.1


class FolderSource:
    """The image files below a folder, one frame each. The part id is the path relative to the folder."""

    simulated = False
    waits = True

    def __init__(
        self, folder: Path, clock: Clock, *, loop: bool, watch: bool, fps: float | None, seed: int | None
    ) -> None:
        """Open the folder.

        Args:
            loop: begin again after the last file, with the files that are there then.
            watch: wait for new files for ever; each is read once it has stopped growing, oldest first. A file replaced under
                its old name counts as new. Files that are there at the start are read too.
            fps: frames a second, or None for as fast as they are read.
            seed: None reads in order of the names; a seed shuffles, anew on each lap. A watched folder keeps its order.
        Raises:
            InvalidConfig: the folder is missing, or empty and not watched; `loop` with `watch`; fps or seed out of range.
        """
        if loop and watch:
            raise InvalidConfig("an image folder cannot both loop and be watched", hint="set loop or watch to false")
        if seed is not None and seed < 0:
            raise InvalidConfig(f"seed {seed} is negative", hint="use 0 or more")
        check_folder(folder)
        self._folder, self._clock = folder, clock
        self._loop, self._watch, self._seed = loop, watch, seed
        self._pacer = Pacer(clock, fps)
        self._due = False
        self._arrivals = Arrivals(folder)
        self._next_scan = clock.monotonic()
        self._lap = 0
        self._queue: deque[Path] = deque()
        if not watch:
            self._start_lap()
            if not self._queue:
                raise InvalidConfig(
                    f"the image folder {folder} holds no image",
                    hint="put .jpg, .png, .bmp, .tif or .webp files into it, or set watch = true to wait for them",
                )

    def read(self) -> Frame | None:
        """Return the next file's frame, waiting at most about a second; None when no file is due yet.

        Raises:
            BadImage: the file is no usable image; the next call goes on to the next file.
            CameraFault: the folder went away.
        """
        self._due = self._due or self._pacer.wait()
        if not self._due:
            return None
        path = self._next_path()
        if path is None:
            return None
        self._due = False
        part = part_of(path, self._folder)
        pixels = read_image_file(path, part)
        return Frame(pixels, self._clock.now(), self._clock.monotonic(), part)

    def exhausted(self) -> bool:
        """Return whether every file was read and none will come."""
        return not (self._queue or self._loop or self._watch)

    def close(self) -> None:
        """Forget the files not read yet."""
        self._queue.clear()
        self._loop = self._watch = False

    def _next_path(self) -> Path | None:
        if not self._queue and self._loop:
            self._start_lap()
        if not self._queue and self._watch:
            self._await_arrivals()
        if not self._queue and (self._loop or self._watch):
            self._check_still_there()
        return self._queue.popleft() if self._queue else None

    def _start_lap(self) -> None:
        paths = list_images(self._folder)
        if self._seed is not None:
            order = np.random.default_rng((self._seed, self._lap)).permutation(len(paths))
            paths = [paths[at] for at in order]
        self._lap += 1
        self._queue.extend(paths)

    def _await_arrivals(self) -> None:
        until = self._clock.monotonic() + MAX_WAIT_S
        while True:
            now = self._clock.monotonic()
            if now >= self._next_scan:
                self._queue.extend(self._arrivals.settled(now))
                # A folder of 100,000 files takes a while to scan: spend at most a tenth of the time on it.
                done = self._clock.monotonic()
                self._next_scan = done + max(_POLL_S, 9 * (done - now))
            if self._queue or now >= until:
                return
            self._clock.sleep(min(max(self._next_scan - now, 0.001), _POLL_S))

    def _check_still_there(self) -> None:
        if self._watch and self._folder.is_dir():
            return
        self._clock.sleep(_POLL_S)  # no busy loop of faults
        if not self._folder.is_dir():
            raise CameraFault(f"the image folder {self._folder} went away", hint="mount or create it again")
        raise CameraFault(f"the image folder {self._folder} is empty now", hint="put images into it")
