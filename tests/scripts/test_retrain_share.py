"""The bench of what setting parts aside costs: folds part the labelled pictures, and gains are on the same labels and seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.retrain.run_records import DRIFT_SHARE, Recipe
from scripts.benches import retrain_share
from scripts.benches.retrain_pictures import Drift, Picture
from scripts.benches.retrain_share import FOLDS, SHARES, Case, Outcome, cases, fold_of, lines_of, try_case
from tests.scripts.test_retrain_bench import write_tiles


@given(st.lists(st.integers(0, 12), max_size=40))
def test_folds_part_the_pictures_and_no_part_is_in_two(parts: list[int]) -> None:
    pictures = [Picture(np.zeros((2, 2), np.uint8), "Free", f"s{part}", str(n)) for n, part in enumerate(parts)]
    folds = [fold_of(pictures, fold) for fold in range(FOLDS)]
    assert sorted(p.name for fold in folds for p in fold) == sorted(p.name for p in pictures)
    seen = [{p.part for p in fold} for fold in folds]
    assert sum(map(len, seen)) == len(set(parts))


def test_every_share_is_tried_with_the_same_labels_and_seed() -> None:
    made = cases([("tiles", Drift.EXPOSURE, [40, 120]), ("steel", Drift.DEFOCUS, [])], 2)
    assert len(made) == len({case.name for case in made}) == 2 * 2 * len(SHARES)
    assert DRIFT_SHARE in SHARES, "the share that ships is among those measured"


def test_a_gain_is_on_the_share_of_before_with_the_same_seed() -> None:
    outcomes = {
        Case("tiles", Drift.EXPOSURE, 120, share, seed): Outcome(
            0.6 + 0.1 * seed - share / 5, 0.5, 0.1 + share, 0, 0, round(120 * (1 - share))
        )
        for share in SHARES
        for seed in range(3)
    }
    folds = {
        Case("tiles", Drift.EXPOSURE, 120, 0.0, 0, fold): Outcome(0.55, 0.5, 0.1, 30, 15, 90) for fold in range(FOLDS)
    }
    lines = lines_of({**outcomes, **folds})
    at_30 = next(line for line in lines if ", 0.30 aside" in line)
    assert "84 learnt, 3 seeds: right 0.640 (-3.0 pt, s.e. 0.0)" in at_30 and "surest half 0.400 (+15.0 pt" in at_30
    assert lines[-1] == (
        "tiles exposure, 120 labels, seed 0, 4 folds: right of 120 parts not learnt 0.500, of the test set 0.550; "
        "the model that learnt all 0.600"
    )


@pytest.mark.slow
def test_a_case_is_made_once_and_says_what_was_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiles(tmp_path / "data" / "magnetic-tile", 30)
    monkeypatch.setenv("PLUMBLINE_DATA", str(tmp_path))
    monkeypatch.setattr(retrain_share, "_RECIPE", Recipe(epochs=1, min_steps=6, warm_steps=4, width=0.5))
    monkeypatch.setattr(retrain_share, "_SIDES", {"tiles": (32, 32)})
    retrain_share._deal.cache_clear()
    aside = try_case(tmp_path / "kept", Case("tiles", Drift.EXPOSURE, 20, 0.3, 0))
    assert aside.unlearnt + aside.learnt == 20 and 0 < aside.unlearnt < 15
    folds = [try_case(tmp_path / "kept", Case("tiles", Drift.EXPOSURE, 20, 0.0, 0, fold)) for fold in range(FOLDS)]
    assert sum(fold.unlearnt for fold in folds) == 20
    monkeypatch.setenv("PLUMBLINE_DATA", str(tmp_path / "gone"))
    assert try_case(tmp_path / "kept", Case("tiles", Drift.EXPOSURE, 20, 0.3, 0)) == aside, (
        "what is kept is not made again"
    )
    retrain_share._deal.cache_clear()
