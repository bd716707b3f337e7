"""Which images each step of training sees.

Every step draws from its own seed, so that a resumed run sees exactly what an uninterrupted one would have seen, and every
process of a distributed run agrees on the batch without talking.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How batches are drawn.

    `base`, `reviewed`: row numbers i64[...] to draw from. `reviewed_share` of each batch comes from `reviewed`, however few
    they are; with none, or a share of 0, both are drawn alike. `balance`: 0 draws images as they come, 1 every label alike; an
    image's weight is its label's count to the power of -`balance`. `labels`: i64[...] by row number, needed for that.
    """

    base: torch.Tensor
    reviewed: torch.Tensor
    batch_size: int
    reviewed_share: float
    seed: int
    balance: float = 0.0
    labels: torch.Tensor | None = None

    def steps_per_epoch(self) -> int:
        """Return how many batches see every image about once."""
        return max(1, (len(self.base) + len(self.reviewed)) // self.batch_size)

    def batch(self, step: int) -> torch.Tensor:
        """Return the row numbers i64[batch_size] of one step."""
        if len(self.reviewed) == 0 or len(self.base) == 0 or self.reviewed_share <= 0:
            return self._draw(torch.cat([self.base, self.reviewed]), self.batch_size, step, 0)
        reviewed = min(self.batch_size - 1, max(1, round(self.batch_size * self.reviewed_share)))
        return torch.cat(
            [
                self._draw(self.reviewed, reviewed, step, 1),
                self._draw(self.base, self.batch_size - reviewed, step, 2),
            ]
        )

    def _draw(self, rows: torch.Tensor, count: int, step: int, stream: int) -> torch.Tensor:
        """Return `count` rows: rows are dealt like a shuffled deck, a new shuffle whenever it runs out."""
        first, size = step * count, len(rows)
        decks = []
        for deck in range(first // size, (first + count - 1) // size + 1):
            generator = step_generator(self.seed, deck, 10 + stream)
            order = torch.randperm(size, generator=generator)
            if self.labels is not None and self.balance > 0:
                order = _weighted(order, _weights(self.labels[rows], self.balance), generator)
            decks.append(rows[order])
        start = first % size
        return torch.cat(decks)[start : start + count]


def _weights(labels: torch.Tensor, balance: float) -> torch.Tensor:
    """Return each image's weight f64[N]; their sum is N."""
    weights = torch.bincount(labels).double()[labels] ** -balance
    return weights * (len(labels) / weights.sum())


def _weighted(order: torch.Tensor, weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return a deck of the same size where each card is found as often as its weight, rounded up or down, shuffled.

    Source: systematic resampling, Carpenter, Clifford, Fearnhead 1999.
    """
    ends = weights[order].cumsum(0)
    points = torch.arange(len(order), dtype=torch.float64) + torch.rand(1, generator=generator, dtype=torch.float64)
    drawn = torch.searchsorted(ends, points.clamp(max=float(ends[-1]) * (1 - 1e-12)), right=True)
    return order[drawn.clamp(max=len(order) - 1)][torch.randperm(len(order), generator=generator)]


def step_generator(seed: int, step: int, stream: int) -> torch.Generator:
    """Return the generator of one step; different streams of a step are independent."""
    generator = torch.Generator()
    generator.manual_seed(step_seed(seed, step, stream))
    return generator


def step_seed(seed: int, step: int, stream: int) -> int:
    """Return the seed of one of a step's streams, 0..63."""
    return (seed * 1_000_003 + step) * 64 + stream
