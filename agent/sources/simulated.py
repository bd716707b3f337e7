"""The simulated station: generated or recorded scenes, seen by a camera that can be upset while it runs.

For commissioning, demonstrations and tests, without hardware. Its frames are marked as simulated on every screen.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.ports.clock import Clock
from agent.ports.source import Frame
from agent.sources.camera_model import CLEAN, CameraModel
from agent.sources.controls import Controls
from agent.sources.image_file import part_of, read_image_file
from agent.sources.image_listing import check_folder, list_images
from agent.sources.pace import Pacer
from agent.sources.surface import part_name, surface
from contract.errors import CameraFault, InvalidConfig

U8 = NDArray[np.uint8]


class SimulatedSource:
    """A production line that never ends, behind a simulated camera.

    Parts pass at `fps` whether or not the camera sees them: an unplugged camera misses its part, a frozen one repeats an image
    under the new part's id.
    """

    simulated = True

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int,
        fps: float | None,
        controls: Path | None,
        scene: Path | None,
        height: int = 128,
        width: int = 128,
        first: int = 0,
    ) -> None:
        """Set up the line.

        Args:
            seed: fixes the parts, their order, the dust and the noise.
            fps: parts a second, or None for as fast as they are read.
            controls: a JSON file of CameraSettings, followed as it changes; None is a clean camera.
            scene: a folder of real images (part id: path below it; shuffled anew on each lap); None generates surfaces
                (part id: "{seed}-{index}") of `height` x `width` pixels, from index `first` on.
        Raises:
            InvalidConfig: an argument is out of range, the controls are invalid, or the scene folder is missing or empty.
        """
        if seed < 0 or first < 0:
            raise InvalidConfig(f"seed {seed} and first part {first} must not be negative", hint="use 0 or more")
        self._clock, self._seed = clock, seed
        self._pacer = Pacer(clock, fps)
        self.waits = fps is None  # as fast as it goes is a generator, not a line
        self._controls = Controls(controls, clock) if controls is not None else None
        self._camera = CameraModel(seed)
        self._scene, self._height, self._width = scene, height, width
        self._index = first
        self._lap = 0
        self._queue: deque[Path] = deque()
        if scene is None:
            surface(seed, first, height, width)  # refuses a wrong size now, not at the first frame
        else:
            check_folder(scene)
            self._start_lap(scene)
            if not self._queue:
                raise InvalidConfig(
                    f"the scene folder {scene} holds no image", hint="put .jpg, .png, .bmp, .tif or .webp files into it"
                )

    def read(self) -> Frame | None:
        """Return the next part's frame, waiting at most about half a second; None when it is not due yet.

        Raises:
            CameraFault: the camera is unplugged, or the scene folder went away.
            BadImage: a scene file is no usable image; the next call goes on to the next part.
        """
        if not self._pacer.wait():
            return None
        settings = self._controls.settings() if self._controls is not None else CLEAN
        scene, part = self._next_part(skip_pixels=settings.unplugged)
        pixels = self._camera.capture(scene, settings)
        return Frame(pixels, self._clock.now(), self._clock.monotonic(), part)

    def exhausted(self) -> bool:
        """Return False: the line never ends."""
        return False

    def close(self) -> None:
        """Nothing is held."""

    def _next_part(self, *, skip_pixels: bool) -> tuple[U8, str]:
        """Return the next part's scene and id; no scene is made for a camera that sees none."""
        if self._scene is None:
            index, self._index = self._index, self._index + 1
            name = part_name(self._seed, index)
            return (_NOTHING if skip_pixels else surface(self._seed, index, self._height, self._width)[0]), name
        if not self._queue:
            self._start_lap(self._scene)
        if not self._queue:
            raise CameraFault(f"the scene folder {self._scene} is empty now", hint="put its images back")
        path = self._queue.popleft()
        name = part_of(path, self._scene)
        return (_NOTHING if skip_pixels else read_image_file(path, name)), name

    def _start_lap(self, scene: Path) -> None:
        paths = list_images(scene)
        order = np.random.default_rng((self._seed, self._lap)).permutation(len(paths))
        self._lap += 1
        self._queue.extend(paths[at] for at in order)


_NOTHING: U8 = np.zeros((1, 1), np.uint8)
