"""Novelty on real images: tiles of one exposure enrolled, then strangers among them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agent.decide.novelty import Novelty
from agent.decide.sampling import KeepReason, Sampler
from agent.decide.thresholds import Decision
from contract.messages import Verdict
from contract.sketches.enrolment import Enrolment
from contract.sketches.frame_stats import FrameStats, frame_stats

DATA = Path(os.environ.get("PLUMBLINE_DATA", Path(__file__).parents[3] / "shared")) / "data"
ENROLLED = 80

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(
        not DATA.is_dir(), reason=f"no images in {DATA}: set PLUMBLINE_DATA to the folder that holds data/"
    ),
]


def _stats(files: list[Path]) -> list[FrameStats]:
    return [frame_stats(np.asarray(Image.open(file).convert("L"))) for file in files]


@pytest.fixture(scope="module")
def seen() -> dict[str, list[float]]:
    """The novelty of held-out good tiles, broken tiles, and pieces of steel."""
    tiles = DATA / "magnetic-tile"
    good = _stats(sorted((tiles / "Free").glob("exp4_*.jpg")))
    order = np.random.default_rng(1).permutation(len(good))
    enrolment = Enrolment(ENROLLED)
    for index in order[:ENROLLED]:
        enrolment.add(good[index])
    reference, novelty = enrolment.reference(), Novelty()
    groups = {
        "good": [good[index] for index in order[ENROLLED:]],
        "broken": _stats(sorted((tiles / "Break").glob("exp4_*.jpg"))),
        "steel": _stats(sorted((DATA / "neu").glob("scratches_*.jpg"))[:100]),
    }
    return {name: [novelty.of(stats, reference) for stats in group] for name, group in groups.items()}


def _area(strange: list[float], ordinary: list[float]) -> float:
    return float(np.mean(np.array(strange)[:, None] > np.array(ordinary)))


def test_broken_tiles_and_another_material_are_more_novel_than_good_tiles(seen: dict[str, list[float]]) -> None:
    assert _area(seen["broken"], seen["good"]) > 0.65
    assert _area(seen["steel"], seen["good"]) > 0.98


def test_four_places_a_window_find_the_few_pieces_of_steel_among_the_tiles(seen: dict[str, list[float]]) -> None:
    rng = np.random.default_rng(2)
    sampler = Sampler(rng, audit_rate=0.0, doubtful_per_window=16)
    found = kept = 0
    for _ in range(12):
        for _ in range(256):
            strange = rng.random() < 0.01
            novelty = float(rng.choice(seen["steel" if strange else "good"]))
            keep = sampler.draw(Decision(Verdict.PASS), novelty)
            if keep is not None and keep.reason is KeepReason.NOVEL:
                kept, found = kept + 1, found + strange
        sampler.new_window()
    assert kept <= 48
    assert found / kept > 0.3, "one frame in a hundred is steel; of those kept it is every third or more"
