from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.gate.paired import chance_of_lead, worse_by_at_most
from cloud.gate.scorecard import PairedFigures


@given(st.integers(1, 300), st.data())
def test_bound_lies_above_the_estimate_and_falls_with_every_win(images: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, images))
    won = data.draw(st.integers(0, images - lost))
    bound = worse_by_at_most(PairedFigures(images, won, lost), 0.95)
    assert (lost - won) / images - 1e-9 <= bound <= 1
    if lost:
        assert worse_by_at_most(PairedFigures(images, won, lost - 1), 0.95) <= bound + 1e-9


def test_no_disagreement_has_a_closed_form() -> None:
    z = 1.6448536269514722
    assert worse_by_at_most(PairedFigures(180, 0, 0), 0.95) == pytest.approx(z**2 / (180 + z**2))
    assert worse_by_at_most(PairedFigures(0, 0, 0), 0.95) == 1.0


@pytest.mark.parametrize("images", [180, 400])
@pytest.mark.parametrize(("loss", "discordant"), [(0.04, 0.05), (0.04, 0.08), (0.1, 0.12)])
def test_bound_is_exceeded_no_more_often_than_promised(images: int, loss: float, discordant: float) -> None:
    generator = np.random.default_rng(0)
    lost_share, won_share = (discordant + loss) / 2, (discordant - loss) / 2
    counts = generator.multinomial(images, [lost_share, won_share, 1 - discordant], size=1000)
    missed = sum(worse_by_at_most(PairedFigures(images, int(w), int(lost)), 0.95) < loss for lost, w, _ in counts)
    # 50 of 1,000 are promised; the score bound is asymptotic, and 75 is three standard deviations and half a point more.
    assert missed <= 75


def test_chance_of_a_lead_is_that_of_fair_coins() -> None:
    assert chance_of_lead(PairedFigures(30, 3, 0)) == pytest.approx(1 / 8)
    assert chance_of_lead(PairedFigures(30, 0, 0)) == 1.0
    assert chance_of_lead(PairedFigures(30, 0, 4)) == 1.0
