"""A seeded generator of machined-metal surfaces: the parts that the simulated station looks at.

The metal is brushed (parallel grooves) or turned (arcs around a far centre), roughened by a fine grain that spans single pixels.
About half of the parts are good; the others carry one kind of flaw:
  pore     a few small dark pits, each with a sharp rim that catches the light
  scratch  a long thin groove with its burr: one side dark, the other bright, most of which cancels a pixel away
  crack    a dark jagged line
  stain    a large soft film; it hardly changes the brightness, but fills the roughness, so that the grain is weaker under it
As on real steel, what tells the classes apart is partly in the finest structure that the lens still resolves: a model trained on
sharp images is misled when the lens defocuses, and learns it again from a few labelled blurred images. Nothing else marks a class.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from contract.errors import InvalidConfig

LABELS = ("good", "pore", "scratch", "crack", "stain")

F32 = NDArray[np.float32]

_PART = re.compile(r"(\d{1,18})-(\d{1,18})")
_MIN_SIDE, _MAX_SIDE = 32, 4096
# Flaws are drawn for this image side and grow with the image; the grain does not, as it is always at the sensor's resolution.
_NOMINAL_SIDE = 128


def surface(seed: int, index: int, height: int = 128, width: int = 128) -> tuple[NDArray[np.uint8], str]:
    """Return part `index` of the production run `seed`: a sharp, evenly lit grey image u8[height,width], and its label.

    The same arguments always give the same image; another size shows another piece of metal with the same label.

    Raises:
        InvalidConfig: a negative seed or index, or a side outside 32..4096 pixels.
    """
    for side in (height, width):
        if not _MIN_SIDE <= side <= _MAX_SIDE:
            raise InvalidConfig(
                f"a simulated image of {height} x {width} pixels is out of range",
                hint=f"both sides must be {_MIN_SIDE} to {_MAX_SIDE}",
            )
    label, rng = _label_and_rng(seed, index)
    metal, grain = _metal(rng, height, width)
    scale = min(height, width) / _NOMINAL_SIDE
    if label == "stain":
        metal, grain = _stain(rng, metal, grain, scale)
    image = metal + grain
    if label == "pore":
        _pores(rng, image, scale)
    elif label == "scratch":
        _scratches(rng, image, scale)
    elif label == "crack":
        _crack(rng, image, scale)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), label


def part_name(seed: int, index: int) -> str:
    """Return the part id of a generated part."""
    return f"{seed}-{index}"


def truth_of(part: str) -> str | None:
    """Return the label that the generator gave `part`, or None when `part` is no generated part's id.

    For a person who commissions a station, and for the demo's inspector; nothing that decides may call it.
    """
    match = _PART.fullmatch(part)
    return _label_and_rng(int(match[1]), int(match[2]))[0] if match else None


def _label_and_rng(seed: int, index: int) -> tuple[str, np.random.Generator]:
    if seed < 0 or index < 0:
        raise InvalidConfig(f"seed {seed} and index {index} must not be negative", hint="use 0 or more")
    rng = np.random.default_rng((seed, index))
    draw = float(rng.random())
    label = LABELS[0] if draw < 0.5 else LABELS[1 + int((draw - 0.5) * 2 * (len(LABELS) - 1))]
    return label, rng


def _metal(rng: np.random.Generator, height: int, width: int) -> tuple[F32, F32]:
    """Return (shade, grain), each f32[H,W] in grey levels: the slow brightness, and the fine structure around zero."""
    y, x = np.ogrid[0:height, 0:width]
    y, x = (y - height / 2).astype(np.float32), (x - width / 2).astype(np.float32)
    angle = rng.uniform(-0.25, 0.25)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along = np.asarray(x * cos + y * sin, np.float32)
    across = np.asarray(y * cos - x * sin, np.float32)
    if rng.random() < 0.4:  # turned: the grooves bend around a far centre
        radius = rng.uniform(1.5, 6.0) * max(height, width)
        across += along * along / np.float32(2 * radius)
    groove_px = rng.uniform(20, 60)
    along /= np.float32(groove_px)
    grooves = _grooves(rng, along, across)
    rough = rng.standard_normal((height, width), np.float32)
    grain = grooves * np.float32(rng.uniform(10, 15)) + rough * np.float32(rng.uniform(8, 12))
    tilt = rng.normal(0, 5, 2)
    mottle = rng.normal(0, 2.5, 2)
    phase = rng.uniform(0, 2 * np.pi, 2)
    shade = (
        np.float32(rng.normal(128, 5))
        + x * np.float32(tilt[0] / width)
        + y * np.float32(tilt[1] / height)
        + np.float32(mottle[0]) * np.sin(x * np.float32(9 / width) + np.float32(phase[0]))
        + np.float32(mottle[1]) * np.sin(y * np.float32(9 / height) + np.float32(phase[1]))
    )
    return shade.astype(np.float32), grain


def _grooves(rng: np.random.Generator, along: F32, across: F32) -> F32:
    """Return noise of unit spread that is a pixel fine across the grooves and runs one unit along them."""
    column, row = np.floor(along).astype(np.int32), np.floor(across).astype(np.int32)
    share = along - column
    column -= column.min()
    row -= row.min()
    columns = int(column.max()) + 2
    noise = rng.standard_normal((int(row.max()) + 1) * columns, np.float32)
    at = row * columns + column
    start, end = noise[at], noise[at + 1]
    blended = start + (end - start) * share
    # Between two knots a blend of independent values is calmer than at the knots; a groove is not.
    return np.asarray(blended / np.sqrt(share * share + (1 - share) * (1 - share)), np.float32)


def _stain(rng: np.random.Generator, metal: F32, grain: F32, scale: float) -> tuple[F32, F32]:
    height, width = metal.shape
    y, x = np.ogrid[0:height, 0:width]
    film = np.zeros((height, width), np.float32)
    cy, cx = rng.uniform(0.25, 0.75) * height, rng.uniform(0.25, 0.75) * width
    for _ in range(3):  # three overlapping drops make an outline that no single ellipse has
        ry, rx = rng.uniform(16, 30, 2) * scale
        dy, dx = rng.normal(0, 10, 2) * scale
        far = ((y - cy - dy) / ry) ** 2 + ((x - cx - dx) / rx) ** 2
        film = np.maximum(film, np.clip((1.25 - far) * 2, 0, 1).astype(np.float32))
    darker, filled = np.float32(rng.uniform(6, 13)), np.float32(rng.uniform(0.45, 0.65))
    return metal - film * darker, grain * (1 - film * filled)


def _pores(rng: np.random.Generator, image: F32, scale: float) -> None:
    height, width = image.shape
    for _ in range(int(rng.integers(2, 7))):
        cy, cx = rng.uniform(0.08, 0.92) * height, rng.uniform(0.08, 0.92) * width
        radius = rng.uniform(1.5, 3.1) * scale
        reach = int(radius + 3)
        top, left = max(int(cy) - reach, 0), max(int(cx) - reach, 0)
        window = image[top : int(cy) + reach + 1, left : int(cx) + reach + 1]
        y, x = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
        stretch = rng.uniform(0.75, 1.3)
        far = np.hypot((y - cy) * stretch, (x - cx) / stretch) - radius
        pit = np.clip(0.5 - far, 0, 1)
        rim = np.clip(1 - np.abs(far - 1), 0, 1)
        window += rim * rng.uniform(10, 30) - pit * rng.uniform(65, 100)


def _scratches(rng: np.random.Generator, image: F32, scale: float) -> None:
    height, width = image.shape
    y, x = np.ogrid[0:height, 0:width]
    for _ in range(int(rng.integers(1, 3))):
        angle = rng.uniform(0.45, np.pi - 0.45)  # never along the grooves, where no eye would find it
        cy, cx = rng.uniform(0.3, 0.7) * height, rng.uniform(0.3, 0.7) * width
        half = rng.uniform(28, 60) * scale
        bend = rng.normal(0, 0.0015) / scale
        along = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)).astype(np.float32)
        across = ((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)).astype(np.float32)
        across += np.float32(bend) * along * along
        ends = np.clip((half - np.abs(along)) / 6, 0, 1)
        lit = 1 if rng.random() < 0.85 else -1
        groove = np.clip(1.4 - np.abs(across), 0, 1) * rng.uniform(52, 75)
        burr = np.clip(1.1 - np.abs(across - 1.7 * rng.choice((-1, 1))), 0, 1) * rng.uniform(20, 38)
        image += ends * (groove - burr) * lit


def _crack(rng: np.random.Generator, image: F32, scale: float) -> None:
    height, width = image.shape
    steps = int(rng.integers(70, 150) * scale)
    # A heading that wanders, with a sharp turn now and then: jagged at every scale, and never closing on itself for long.
    turns = rng.normal(0, 0.25, steps) + (rng.random(steps) < 0.15) * rng.normal(0, 0.9, steps)
    heading = rng.uniform(0, 2 * np.pi) + 0.9 * np.sin(np.cumsum(turns) * 0.9) + rng.normal(0, 0.35, steps)
    fine = 2
    walk_y = np.repeat(np.sin(heading), fine).cumsum() / fine
    walk_x = np.repeat(np.cos(heading), fine).cumsum() / fine
    y = walk_y - walk_y.mean() + rng.uniform(0.3, 0.7) * height
    x = walk_x - walk_x.mean() + rng.uniform(0.3, 0.7) * width
    inside = (y > 1) & (y < height - 2) & (x > 1) & (x < width - 2)
    y, x = y[inside], x[inside]
    row, column = y.astype(np.int32), x.astype(np.int32)
    fy, fx = y - row, x - column
    ink = np.zeros(height * width)
    for dy, dx, weight in (
        (0, 0, (1 - fy) * (1 - fx)),
        (0, 1, (1 - fy) * fx),
        (1, 0, fy * (1 - fx)),
        (1, 1, fy * fx),
    ):
        ink += np.bincount((row + dy) * width + column + dx, weight, height * width)
    depth = rng.uniform(60, 85)
    image -= np.minimum(ink, 1.2).reshape(height, width) * depth
