"""`bench adversarial`: the attack really works on the bare model, REVIEW counts as caught, and the figures are all there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scripts.benches.adversarial import AREAS, EPS, Effort, shares
from scripts.benches.adversarial_attack import in_a_ball, on_a_patch
from scripts.benches.adversarial_model import SIDE, parts, train

pytestmark = pytest.mark.slow

SMALL = Effort(learnt=240, batches=120, tried=60, steps=8)


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    return shares(SMALL)


def test_a_small_change_turns_most_found_defects_into_good_ones_where_noise_of_the_same_size_does_not(
    figures: dict[str, float],
) -> None:
    assert figures["adversarial.defects_attacked"] >= 15
    assert figures["adversarial.untouched_bare"] == 0.0
    assert figures["adversarial.eps8_bare"] > 0.8
    assert figures["adversarial.eps8_bare"] > figures["adversarial.noise8_bare"] + 0.2
    assert figures["adversarial.eps2_bare"] <= figures["adversarial.eps4_bare"] <= figures["adversarial.eps8_bare"]


def test_thresholds_and_refusal_only_take_away_and_every_figure_is_a_share(figures: dict[str, float]) -> None:
    ways = [
        "untouched",
        "noise8",
        *(f"eps{eps}" for eps in EPS),
        *(f"patch{area * 100:.0f}" for area in AREAS),
        "faint_patch10",
    ]
    for way in ways:
        bare, sure, familiar = (figures[f"adversarial.{way}_{by}"] for by in ("bare", "thresholds", "refusal"))
        assert 0.0 <= familiar <= sure <= bare <= 1.0, way
    assert len(figures) == 4 + 3 * len(ways)


def test_a_tampered_part_differs_no_more_than_it_may() -> None:
    network, (pixels, _) = train(1, 40, 2), parts(3, 6)
    for eps in EPS:
        apart = np.abs(in_a_ball(network, pixels, eps, steps=3, seed=1).astype(int) - pixels)
        assert 0 < apart.max() <= eps
    patched = on_a_patch(network, pixels, 0.1, steps=3, seed=1)
    changed = (patched != pixels).reshape(len(pixels), -1).mean(axis=1)
    assert 0 < changed.max() <= 0.1 + 1 / SIDE
    again = on_a_patch(network, pixels, 0.1, steps=3, seed=1)
    assert np.array_equal(patched, again) and torch.is_grad_enabled()
