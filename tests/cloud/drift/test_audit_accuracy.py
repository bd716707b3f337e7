"""Accuracy from an audit sample with known inclusion probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from cloud.drift.accuracy import AuditLabel, accuracy
from contract.errors import BadDataset


def test_weights_undo_a_sample_that_favours_the_hard_frames() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    covered, estimates = 0, []
    for _ in range(200):
        hard = rng.random(2000) < 0.3
        correct = np.where(hard, rng.random(2000) < 0.5, rng.random(2000) < 0.98)
        inclusion = np.where(hard, 0.2, 0.05)
        drawn = rng.random(2000) < inclusion
        found = accuracy(AuditLabel(bool(c), float(p)) for c, p in zip(correct[drawn], inclusion[drawn], strict=True))
        estimates.append(found.estimate)
        covered += found.low <= 0.3 * 0.5 + 0.7 * 0.98 <= found.high
    assert np.mean(estimates) == pytest.approx(0.836, abs=0.01)
    assert covered >= 180


def test_intervals_are_honest_at_the_edges() -> None:
    assert accuracy([]) is None
    one = accuracy([AuditLabel(True, 0.1)])
    assert (one.estimate, one.high, one.labels) == (1.0, pytest.approx(1.0), 1) and one.low < 0.3
    with pytest.raises(BadDataset):
        accuracy([AuditLabel(True, 0.0)])
