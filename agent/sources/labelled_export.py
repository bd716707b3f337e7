"""Simulated parts as labelled image files: DIR/LABEL/PART.png, the layout that training reads."""

from __future__ import annotations

import errno
import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from agent.sources.camera_model import CameraModel, CameraSettings
from agent.sources.surface import LABELS, part_name, surface
from contract.errors import InvalidConfig, StorageFull

_MAX_COUNT = 1_000_000


def export_parts(
    out: Path,
    *,
    seed: int,
    first: int,
    count: int,
    side_px: int,
    settings: CameraSettings,
    progress: Callable[[int], None],
) -> dict[str, int]:
    """Write parts `first` .. `first+count-1` of run `seed` as a simulated camera sees them; return how many have which label.

    The same arguments always write the same files, replacing what bears their names. `progress` is told the number done.

    Raises:
        InvalidConfig: an argument is out of range, or `out` cannot be written.
        StorageFull: the disk is full.
        CameraFault: the settings say that the camera is unplugged.
    """
    if not 0 < count <= _MAX_COUNT:
        raise InvalidConfig(f"{count} images are out of range", hint=f"ask for 1 to {_MAX_COUNT}")
    surface(seed, first, side_px, side_px)  # refuses arguments out of range before anything is written
    camera = CameraModel(seed)
    counts: Counter[str] = Counter(dict.fromkeys(LABELS, 0))
    for done, index in enumerate(range(first, first + count), start=1):
        scene, label = surface(seed, index, side_px, side_px)
        part = part_name(seed, index)
        _write_png(out / label / f"{part}.png", camera.capture(scene, settings), part)
        counts[label] += 1
        progress(done)
    return dict(counts)


def _write_png(path: Path, pixels: NDArray[np.uint8], part: str) -> None:
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", f"simulated by Plumbline: part {part}, not a photograph")
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "PNG", pnginfo=note, compress_level=3)
    # By a temporary name, so that a station that watches the folder never reads half a file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(body.getvalue())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull(f"no room left for {path}", hint="free some disk space, or write elsewhere") from error
        raise InvalidConfig(f"{path} cannot be written: {error.strerror}", hint="choose another folder") from error
