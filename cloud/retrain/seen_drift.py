"""Which change of the camera the reviewed images show, so that base images can be shown to a warm start as they would look now.

Reviewed images are few, base images many; a change that is found once is labelled everywhere. Each image is described by a few
numbers of its brightness, its detail at three scales and its shade from middle to corner. Base images of the reviewed labels are
changed in every way and strength that `camera_change` knows; the one whose numbers come closest to the reviewed images' is what
was seen. Nearness is Mahalanobis distance in the base images' own spread within a label, so that what varies from part to part
weighs little. A change must be there at all, and one kind must explain most of it and more than the others do; else nothing is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from cloud.retrain.batches import step_generator
from cloud.retrain.camera_change import CameraChange, ChangeKind, change_images

_MOST_SOURCES = 4
# Images that are looked at: more say little more and cost seconds. Of the base per label; and those of them that are changed in
# every way, in all: the change of an image's numbers varies much less than the numbers.
_BASE_PER_LABEL = 24
_CHANGED = 24
_LEAST_REVIEWED = 8
_MOST_REVIEWED = 160
# The squared distance of undrifted images is about 1 for each number; a change is there from this many times that.
_PRESENT = 4.0
_EXPLAINED = 0.6
_MARGIN = 0.1
_SHRINK = 0.02
_STREAM = 40
# Kinds that are looked at more closely after the grid, and how often: between the best strength and its neighbours.
_CLOSER = 3
_ROUNDS = 2
_GRID: dict[ChangeKind, tuple[float, ...]] = {
    ChangeKind.DEFOCUS: (0.4, 0.7, 1.1, 1.7, 2.7),
    ChangeKind.NOISE: (1.5, 4.0, 9.0, 18.0),
    ChangeKind.GAIN: (0.45, 0.65, 0.85, 1.15, 1.5),
    ChangeKind.GAMMA: (0.5, 0.75, 1.3, 1.9),
    ChangeKind.CONTRAST: (0.3, 0.55, 0.8, 1.3),
    ChangeKind.OFFSET: (-50.0, -20.0, 20.0, 50.0),
    ChangeKind.VIGNETTE: (0.15, 0.4, 0.75),
}


@dataclass(frozen=True, slots=True)
class SeenDrift:
    """What was seen in one source's reviewed images. `change` is None where nothing explains it. `explained`: share of the
    squared distance that the best change takes away, 0..1. `said`: for a person."""

    change: CameraChange | None
    explained: float
    said: str


def seen_changes(
    pixels: torch.Tensor, labels: torch.Tensor, sources: Sequence[str], is_base: torch.Tensor, seed: int
) -> tuple[tuple[CameraChange, ...], list[str]]:
    """Return what the cameras of the reviewed images were seen to do, and a line for a person about each.

    Each source has its own drift; those with most images are looked at.

    Args:
        pixels: u8[N,C,h,w]; labels: i64[N]; is_base: bool[N]; sources: of each image.
    """
    rows_of: dict[str, list[int]] = {}
    for row in torch.nonzero(~is_base).flatten().tolist():
        rows_of.setdefault(sources[row], []).append(row)
    most = sorted(rows_of, key=lambda source: (-len(rows_of[source]), source))[:_MOST_SOURCES]
    changes, said = [], []
    for source in most:
        rows = torch.tensor(rows_of[source])
        seen = find_drift(pixels[is_base], labels[is_base], pixels[rows], labels[rows], seed)
        changes += [seen.change] if seen.change is not None else []
        said.append(f"{source}: {seen.said}")
    return tuple(changes), said


def find_drift(
    base: torch.Tensor, base_labels: torch.Tensor, reviewed: torch.Tensor, reviewed_labels: torch.Tensor, seed: int
) -> SeenDrift:
    """Return which change makes base images look like the reviewed ones.

    Args:
        base, reviewed: u8[N,C,h,w], of the model's size.
        base_labels, reviewed_labels: i64[N]; images are compared within a label.
        seed: of which base images are looked at, and of noise.
    """
    known = torch.isin(reviewed_labels, base_labels)
    reviewed, reviewed_labels = reviewed[known][:_MOST_REVIEWED], reviewed_labels[known][:_MOST_REVIEWED]
    if len(reviewed) < _LEAST_REVIEWED:
        return SeenDrift(None, 0.0, f"{len(reviewed)} reviewed images are too few to tell what changed")
    rows = _some_of_each(base_labels, torch.unique(reviewed_labels), seed)
    look = _Look(base[rows].float(), base_labels[rows], reviewed.float(), reviewed_labels, seed)
    unchanged = look.distance(None)
    if unchanged < _PRESENT:
        return SeenDrift(None, 0.0, "the reviewed images look like the base images")
    kinds = sorted(ChangeKind, key=look.first_look)[:_CLOSER]
    best = sorted((look.closest(kind) for kind in kinds), key=lambda found: found[0])
    (distance, change), (runner_up, other) = best[0], best[1]
    explained, rival = max(0.0, 1 - distance / unchanged), max(0.0, 1 - runner_up / unchanged)
    if explained < _EXPLAINED:
        said = (
            f"no change of the camera explains the reviewed images: {change.describe()} comes nearest ({explained:.0%})"
        )
        return SeenDrift(None, explained, said)
    if explained - rival < _MARGIN:
        said = f"the reviewed images may show {change.describe()} or {other.describe()}: neither is learnt from"
        return SeenDrift(None, explained, said)
    return SeenDrift(change, explained, f"the reviewed images look like {change.describe()} (explains {explained:.0%})")


def _some_of_each(labels: torch.Tensor, wanted: torch.Tensor, seed: int) -> torch.Tensor:
    order = torch.randperm(len(labels), generator=step_generator(seed, 0, _STREAM))
    return torch.cat([order[labels[order] == label][:_BASE_PER_LABEL] for label in wanted])


class _Look:
    """Compares changed base images with reviewed ones."""

    def __init__(
        self,
        base: torch.Tensor,
        base_labels: torch.Tensor,
        reviewed: torch.Tensor,
        reviewed_labels: torch.Tensor,
        seed: int,
    ) -> None:
        self._seed = seed
        self._wanted, counts = torch.unique(reviewed_labels, return_counts=True)
        self._share = counts.double() / counts.sum()
        numbers = describe_images(base)
        self._apart = self._mean(numbers, base_labels) - self._mean(describe_images(reviewed), reviewed_labels)
        within = torch.cat(
            [numbers[base_labels == label] - self._of(numbers, base_labels, label) for label in self._wanted]
        )
        spread = within.T @ within / max(1, len(within) - len(self._wanted))
        # A little of the plain variances keeps numbers that nearly agree from counting their difference a thousandfold.
        spread = (1 - _SHRINK) * spread + _SHRINK * torch.diag(spread.diagonal()) + 1e-6 * torch.eye(len(spread))
        effective = 1 / (1 / len(reviewed) + 1 / len(base))
        self._precision = torch.linalg.inv(spread) * effective / len(spread)
        each = max(2, _CHANGED // len(self._wanted))
        few = torch.cat([torch.nonzero(base_labels == label).flatten()[:each] for label in self._wanted])
        self._base, self._labels, self._unchanged = (
            base[few],
            base_labels[few],
            self._mean(numbers[few], base_labels[few]),
        )
        self._tried: dict[ChangeKind, dict[float, float]] = {kind: {} for kind in ChangeKind}

    def distance(self, change: CameraChange | None) -> float:
        """Return the squared distance per number: about 1 when both sides are alike."""
        apart = self._apart
        if change is not None:
            changed = change_images(self._base, change, step_generator(self._seed, 0, _STREAM + 1))
            apart = apart + self._mean(describe_images(changed), self._labels) - self._unchanged
        return float(apart @ self._precision @ apart)

    def first_look(self, kind: ChangeKind) -> float:
        """Return the least distance on the grid of `kind`."""
        self._try(kind, _GRID[kind])
        return min(self._tried[kind].values())

    def closest(self, kind: ChangeKind) -> tuple[float, CameraChange]:
        """Return the strength of `kind` that comes nearest, after `first_look`, with its distance."""
        tried = self._tried[kind]
        for _ in range(_ROUNDS):
            at = sorted(tried)
            best = at.index(min(tried, key=lambda strength: tried[strength]))
            self._try(kind, [(at[best] + at[n]) / 2 for n in (best - 1, best + 1) if 0 <= n < len(at)])
        strength = min(tried, key=lambda each: tried[each])
        return tried[strength], CameraChange(kind, strength)

    def _try(self, kind: ChangeKind, strengths: Sequence[float]) -> None:
        for strength in strengths:
            self._tried[kind][strength] = self.distance(CameraChange(kind, strength))

    def _mean(self, numbers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean f64[M] over labels, each with its share of the reviewed images."""
        return torch.stack([self._of(numbers, labels, label) for label in self._wanted], 1) @ self._share

    def _of(self, numbers: torch.Tensor, labels: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        mean: torch.Tensor = numbers[labels == label].mean(0)
        return mean


def describe_images(images: torch.Tensor) -> torch.Tensor:
    """Return numbers f64[N,M] of images f32[N,C,h,w], 0 to 255: brightness (its mean, ends and middle), logarithms of contrast
    and of the detail at scales of 1, 2 and 4 pixels and of the finest noise, and the shade from the middle to the corners."""
    grey = images.mean(1, keepdim=True)
    flat = grey.flatten(1)
    ends = torch.quantile(flat[:, :: max(1, flat.shape[1] // 4096)], torch.tensor([0.02, 0.5, 0.98]), dim=1)
    numbers = [flat.mean(1), *ends, flat.std(1).clamp(min=0.1).log() * 32]
    scale = grey
    for _ in range(3):
        across = (scale[..., :, 1:] - scale[..., :, :-1]).abs().flatten(1).mean(1)
        down = (scale[..., 1:, :] - scale[..., :-1, :]).abs().flatten(1).mean(1)
        numbers.append((across + down).clamp(min=0.05).log() * 32)
        scale = functional.avg_pool2d(scale, 2)
    # Differences of second order in both directions cancel edges and slopes (Immerkaer 1996).
    bent = grey[..., 2:, :] - 2 * grey[..., 1:-1, :] + grey[..., :-2, :]
    finest = (bent[..., 2:] - 2 * bent[..., 1:-1] + bent[..., :-2]).abs().flatten(1)
    numbers += [finest.mean(1).clamp(min=0.05).log() * 32, finest[:, ::3].median(1).values.clamp(min=0.25).log() * 32]
    tiles = functional.adaptive_avg_pool2d(grey, 4)[:, 0]
    corners = tiles[:, [0, 0, 3, 3], [0, 3, 0, 3]].mean(1)
    numbers.append((tiles[:, 1:3, 1:3].mean((1, 2)) + 8).log() * 32 - (corners + 8).log() * 32)
    return torch.stack(numbers, 1).double()
