"""Real magnetic tiles under real exposures and made upsets: every (tile, condition) as statistics and pixels, once.

The images (Huang, Qiu and Yuan 2018) are `CLASS/expN_num_M.jpg`. One camera photographed each tile at exposures 1..6, one after
the other, so within a class a new tile begins where the exposure no longer grows. A few stray files of an "exposure 0" are
left out. Where the numbers of several tiles overlap or nearly do, they were in front of the camera together (or are
two crops of one): they make one *session*, and a split never parts a session, which is stricter than parting no tile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contract.errors import NotFound
from contract.sketches.frame_stats import FrameStats, frame_stats
from scripts.benches.tile_upsets import blur, dust, gain

Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64]

RAW_SIDE = 64
_NAME = re.compile(r"exp([1-6])_num_(\d+)\.jpg")
# The gap from one exposure of a tile to the next is 20 in the middle.
_SESSION_GAP = 60
# Where each session goes, by turns: 40 % reference, 30 % calibration, 30 % test.
_DEAL = (0, 1, 2, 0, 1, 2, 0, 1, 2, 0)


class Condition(str, Enum):
    """What a frame was taken under. Upsets are of frames at the nominal exposure, 3."""

    NOMINAL = "nominal"
    EXPOSURE_4 = "exp4"
    EXPOSURE_6 = "exp6"
    GAIN_5 = "gain5"
    GAIN_10 = "gain10"
    BLUR = "blur"
    DUST = "dust"


DRIFTS = tuple(condition for condition in Condition if condition is not Condition.NOMINAL)
_EXPOSURES = {Condition.NOMINAL: 3, Condition.EXPOSURE_4: 4, Condition.EXPOSURE_6: 6}
_UPSETS: Final[Mapping[Condition, Callable[[Pixels], Pixels]]] = {
    Condition.GAIN_5: partial(gain, factor=1.05),
    Condition.GAIN_10: partial(gain, factor=1.10),
    Condition.BLUR: partial(blur, sigma_px=0.6),
    Condition.DUST: dust,
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: its class, its session, and its file at each exposure it was photographed at."""

    kind: str
    session: int
    files: Mapping[int, Path]


@dataclass(frozen=True, slots=True)
class TileFrame(FrameStats):
    """A frame's statistics, and for those who look at pixels `raw` f32[64*64] in 0..1.

    `serial` is its place among all frames of the pool, so that what holds between two frames can be worked out once.
    """

    raw: NDArray[np.float32]
    serial: int


@dataclass(frozen=True, slots=True)
class TilePool:
    """The tiles that were photographed at exposures 3, 4 and 6: `frames[condition][i]` is of `tiles[i]`."""

    tiles: tuple[Tile, ...]
    frames: Mapping[Condition, tuple[TileFrame, ...]]

    def pick(self, condition: Condition, tiles: Indices) -> list[TileFrame]:
        """Return the frames of `tiles` under `condition`."""
        frames = self.frames[condition]
        return [frames[index] for index in tiles.tolist()]

    def every_frame(self) -> list[TileFrame]:
        """Return all frames in the order of their serials."""
        return sorted((frame for of in self.frames.values() for frame in of), key=lambda frame: frame.serial)

    def values(self, condition: Condition) -> NDArray[np.float64]:
        """Return the statistics of every tile under `condition`, f64[tiles,12]."""
        return np.stack([frame.values for frame in self.frames[condition]])


@dataclass(frozen=True, slots=True)
class Split:
    """Which tiles are for what; no session, so no tile, is in two."""

    reference: Indices
    calibration: Indices
    test: Indices


def tile_images() -> Path:
    """Return the folder of the tile images: `magnetic-tile` in or under `data` in PLUMBLINE_DATA, else in ../shared.

    Raises:
        NotFound: they are not there.
    """
    root = Path(os.environ.get("PLUMBLINE_DATA", Path(__file__).parents[2].parent / "shared"))
    for folder in (root / "magnetic-tile", root / "data" / "magnetic-tile"):
        if folder.is_dir():
            return folder
    raise NotFound(
        f"no magnetic tiles in {root}", hint="set PLUMBLINE_DATA to the folder that holds data/magnetic-tile"
    )


def find_tiles(folder: Path) -> tuple[Tile, ...]:
    """Return the tiles in `folder`, by class and number.

    Raises:
        NotFound: there are none.
    """
    found: list[tuple[str, list[tuple[int, int, Path]]]] = []
    for of_kind in sorted(path for path in folder.iterdir() if path.is_dir()):
        named = ((_NAME.fullmatch(path.name), path) for path in of_kind.iterdir())
        shots = sorted((int(match[2]), int(match[1]), path) for match, path in named if match)
        exposure = 99
        for shot in shots:
            if shot[1] <= exposure:
                found.append((of_kind.name, []))
            found[-1][1].append(shot)
            exposure = shot[1]
    if not found:
        raise NotFound(f"no images like CLASS/exp3_num_1234.jpg in {folder}", hint="set PLUMBLINE_DATA")
    sessions = _sessions([(shots[0][0], shots[-1][0]) for _, shots in found])
    return tuple(
        Tile(kind, session, {exposure: path for _, exposure, path in shots})
        for (kind, shots), session in zip(found, sessions, strict=True)
    )


@lru_cache(maxsize=1)
def load_pool(folder: Path) -> TilePool:
    """Return the tiles of `folder` that have all the exposures, under every condition; kept in memory.

    Raises:
        NotFound: as `find_tiles`.
    """
    tiles = tuple(tile for tile in find_tiles(folder) if set(_EXPOSURES.values()) <= set(tile.files))
    serials = count()
    frames: dict[Condition, tuple[TileFrame, ...]] = {}
    for condition, exposure in _EXPOSURES.items():
        frames[condition] = tuple(_frame(_read(tile.files[exposure]), next(serials)) for tile in tiles)
    nominal = [_read(tile.files[_EXPOSURES[Condition.NOMINAL]]) for tile in tiles]
    for condition, upset in _UPSETS.items():
        frames[condition] = tuple(_frame(upset(pixels), next(serials)) for pixels in nominal)
    return TilePool(tiles, frames)


def split_tiles(tiles: Sequence[Tile], seed: int) -> Split:
    """Return a random split, 40 % reference, 30 % calibration, 30 % test, with about the same mix of classes in each."""
    rng = np.random.default_rng((seed, 1))
    kinds = {tile.session: tile.kind for tile in tiles}
    order = sorted(rng.permutation(np.array(sorted(kinds))).tolist(), key=lambda session: kinds[session])
    start = int(rng.integers(len(_DEAL)))
    part = {session: _DEAL[(start + at) % len(_DEAL)] for at, session in enumerate(order)}
    dealt = np.array([part[tile.session] for tile in tiles])
    reference, calibration, test = (np.flatnonzero(dealt == which) for which in range(3))
    return Split(reference, calibration, test)


def draw(tiles: Indices, frames: int, rng: np.random.Generator) -> Indices:
    """Return `frames` of `tiles` in random order, none again before all were drawn.

    So a window of fewer frames than there are tiles is a plain sample of parts; with replacement its mean would vary more
    than that of a line's window, which sees no part twice.
    """
    rounds = [rng.permutation(tiles) for _ in range(-(-frames // tiles.size))]
    return np.concatenate(rounds)[:frames]


def _sessions(ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each range of numbers which session it is in: ranges that overlap or nearly do share one."""
    sessions = [0] * len(ranges)
    session, end = -1, -(_SESSION_GAP + 1)
    for first, last, index in sorted((first, last, index) for index, (first, last) in enumerate(ranges)):
        if first - end > _SESSION_GAP:
            session += 1
        sessions[index] = session
        end = max(end, last)
    return sessions


def _read(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def _frame(pixels: Pixels, serial: int) -> TileFrame:
    stats = frame_stats(pixels)
    small = Image.fromarray(pixels).resize((RAW_SIDE, RAW_SIDE), Image.Resampling.BILINEAR)
    raw = np.asarray(small, np.float32).reshape(-1) / np.float32(255.0)
    return TileFrame(stats.values, stats.thumbnail, stats.frame_hash, raw, serial)
