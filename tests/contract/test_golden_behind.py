from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contract.golden_behind import first_disagreement
from contract.manifest import OutputKind

SURE, UNSURE = [8.0, 0.0, 0.0], [0.2, 0.0, 0.0]


def _scores(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_only_inputs_that_the_first_artefact_is_sure_of_count() -> None:
    golden = _scores(UNSURE, SURE, SURE)
    same = _scores([0.0, 1.0, 0.0], [2.0, 1.0, 0.0], [9.0, 0.0, 0.0])
    assert first_disagreement(same, golden, OutputKind.LOGITS) is None
    other = _scores([0.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.1, 0.0])
    assert first_disagreement(other, golden, OutputKind.LOGITS) == 2


def test_probabilities_are_read_as_they_are_and_one_label_never_disagrees() -> None:
    assert first_disagreement(_scores([0.1, 0.9]), _scores([0.9, 0.1]), OutputKind.INDEPENDENT) == 0
    assert first_disagreement(_scores([0.1, 0.9]), _scores([0.6, 0.4]), OutputKind.PROBABILITIES) is None
    assert first_disagreement(_scores([0.1]), _scores([0.9]), OutputKind.LOGITS) is None


@given(st.integers(0, 1000), st.floats(0.25, 4))
def test_another_temperature_is_no_disagreement(seed: int, temperature: float) -> None:
    golden = np.random.default_rng(seed).normal(0, 5, (8, 4)).astype(np.float32)
    assert first_disagreement(golden / np.float32(temperature), golden, OutputKind.LOGITS) is None
