"""What `bench retrain` trains and judges on: real steel and tiles, dealt into a base, a pool to label, and a test set.

No part is in two of the three: a steel image is a part; of the tiles, all that were before the camera together (a session of
`scripts.benches.tiles`) stay together. The test set is read by nobody but the bench.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cloud.gate.corruptions import Corruption, corrupt
from contract.errors import NotFound
from scripts.benches.loop import steel_images
from scripts.benches.tiles import find_tiles, tile_images

Pixels = NDArray[np.uint8]
GOOD_TILES = ("Free",)
# Of each steel label's 300; the rest is the base.
_STEEL_TEST, _STEEL_POOL = 80, 50
# Each tile label's sessions by turns: 4 base, 3 pool, 3 test of ten, so that few sessions still fill each.
_TILE_DEAL = "btpbtpbtpb"
# Mean grey 66, 84 and 99 against 118, 135 and 154.
_BASE_EXPOSURES, _LATER_EXPOSURES = (1, 2, 3), (4, 5, 6)


class Drift(str, Enum):
    """What happens to a line's camera. EXPOSURE of tiles is real, of steel simulated, as is everything else."""

    DEFOCUS = "defocus"
    NOISE = "noise"
    EXPOSURE = "exposure"


@dataclass(frozen=True, slots=True)
class Picture:
    """One image u8[H,W], its label, the part that it shows, and a name of its own."""

    pixels: Pixels
    label: str
    part: str
    name: str


@dataclass(frozen=True, slots=True)
class Deal:
    """A set of pictures, dealt. `shifted` holds the same parts as the camera really saw them after a change, () where no real
    change is known."""

    name: str
    base: tuple[Picture, ...]
    pool: tuple[Picture, ...]
    test: tuple[Picture, ...]
    good: tuple[str, ...] | None = None
    shifted: tuple[tuple[Picture, ...], tuple[Picture, ...], tuple[Picture, ...]] | None = None

    def drifted(self, drift: Drift, seed: int) -> tuple[tuple[Picture, ...], tuple[Picture, ...], tuple[Picture, ...]]:
        """Return (base, pool, test) as they look under `drift`."""
        if drift is Drift.EXPOSURE and self.shifted is not None:
            return self.shifted
        kind, severity = _MADE[drift]
        base, pool, test = (
            see(of, partial(corrupt, kind=kind, severity=severity), seed + 10_000 * turn)
            for turn, of in enumerate((self.base, self.pool, self.test))
        )
        return base, pool, test


_MADE = {
    Drift.DEFOCUS: (Corruption.DEFOCUS, 1),
    Drift.NOISE: (Corruption.NOISE, 4),
    Drift.EXPOSURE: (Corruption.BRIGHTER, 3),
}


def see(pictures: Sequence[Picture], through: Callable[..., Pixels], seed: int) -> tuple[Picture, ...]:
    """Return the pictures through `through(pixels, seed=...)`, each with a seed of its own."""
    return tuple(replace(p, pixels=through(p.pixels, seed=seed + n)) for n, p in enumerate(pictures))


def deal_steel(side: int | None = None, *, of_label: int = 300, seed: int = 7) -> Deal:
    """Return the steel images, `of_label` of each label, `side` pixels a side (None: as they are, 200).

    Raises:
        NotFound: they are not there.
    """
    by_label: dict[str, list[Path]] = {}
    for file in sorted(steel_images().glob("*.jpg")):
        by_label.setdefault(file.stem.rsplit("_", 1)[0], []).append(file)
    if not by_label:
        raise NotFound(f"no steel images in {steel_images()}", hint="set PLUMBLINE_DATA")
    rng = np.random.default_rng(seed)
    dealt: dict[str, list[Picture]] = {"b": [], "p": [], "t": []}
    for label, files in sorted(by_label.items()):
        chosen = [files[i] for i in rng.permutation(len(files))[:of_label]]
        test, pool = len(chosen) * _STEEL_TEST // 300, len(chosen) * _STEEL_POOL // 300
        for place, file in enumerate(chosen):
            heap = "t" if place < test else "p" if place < test + pool else "b"
            dealt[heap].append(Picture(_read(file, side), label, file.stem, file.stem))
    base, pool_, test_ = (tuple(dealt[heap]) for heap in "bpt")
    return Deal("steel", base, pool_, test_)


def deal_tiles(side: int | None = None, *, seed: int = 7) -> Deal:
    """Return the tiles at their three darker exposures, with the three brighter ones as what a change of light gives.

    Raises:
        NotFound: they are not there.
    """
    tiles = find_tiles(tile_images())
    rng = np.random.default_rng(seed)
    kinds = sorted({tile.kind for tile in tiles}, key=lambda kind: sum(tile.kind == kind for tile in tiles))
    heap_of: dict[int, str] = {}
    # Rare labels first: a session with several labels goes where the rarest of them needs it.
    for kind in kinds:
        sessions = sorted({t.session for t in tiles if t.kind == kind} - set(heap_of))
        for turn, index in enumerate(rng.permutation(len(sessions)).tolist()):
            heap_of[sessions[index]] = _TILE_DEAL[turn % len(_TILE_DEAL)]
    nominal: dict[str, list[Picture]] = {"b": [], "p": [], "t": []}
    later: dict[str, list[Picture]] = {"b": [], "p": [], "t": []}
    for number, tile in enumerate(tiles):
        part, heap = f"s{tile.session:03d}", heap_of[tile.session]
        for exposure, file in sorted(tile.files.items()):
            picture = Picture(_read(file, side), tile.kind, part, f"{part}_{number:03d}_e{exposure}")
            if exposure in _BASE_EXPOSURES:
                nominal[heap].append(picture)
            elif exposure in _LATER_EXPOSURES:
                later[heap].append(picture)
    base, pool, test = (tuple(nominal[heap]) for heap in "bpt")
    return Deal("tiles", base, pool, test, GOOD_TILES, (tuple(later["b"]), tuple(later["p"]), tuple(later["t"])))


def write_folders(pictures: Sequence[Picture], root: Path) -> Path:
    """Write pictures as `root/LABEL/NAME.png`, the layout "folders"."""
    for picture in pictures:
        file = root / picture.label / f"{picture.name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.pixels).save(file, compress_level=1)
    return root


def write_reviewed(pictures: Sequence[Picture], folder: Path, said: Sequence[str] | None = None) -> Path:
    """Write pictures and their labels as a reviewer leaves them; `said` are other labels than the true ones."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, picture in enumerate(pictures):
        name = f"{picture.name}.png"
        Image.fromarray(picture.pixels).save(folder / name, compress_level=1)
        label = picture.label if said is None else said[number]
        lines.append(
            msgspec.json.encode({"file": name, "label": label, "part": f"pool/{picture.part}", "labeller": "bench"})
        )
    (folder / "labels.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def draw_labels(pool: Sequence[Picture], count: int, seed: int) -> list[Picture]:
    """Return `count` pictures of the pool as a line would show them: drawn at random, whatever their labels."""
    rng = np.random.default_rng((seed, count))
    return [pool[i] for i in rng.permutation(len(pool))[:count].tolist()]


def _read(file: Path, side: int | None) -> Pixels:
    with Image.open(file) as image:
        grey = image.convert("L")
        if side is not None:
            grey = grey.resize((side, side), Image.Resampling.BOX)
        return np.asarray(grey, np.uint8)
