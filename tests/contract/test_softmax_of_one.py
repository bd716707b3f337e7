"""A station's answer is, to the last bit, the one that its thresholds were chosen on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from contract.decode import decode, softmax
from contract.manifest import Label, LabelKind, OutputKind


@given(
    hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-50, 50, width=32)),
    st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False),
)
def test_one_frames_answer_is_that_of_the_softmax_of_many(values: NDArray[np.float32], scale: float) -> None:
    with np.errstate(over="ignore"):
        scores = values * np.float32(scale)
    scores = np.where(np.isfinite(scores), scores, values)
    labels = tuple(Label(f"l{n}", LabelKind.GOOD if n % 2 else LabelKind.DEFECT) for n in range(len(scores)))
    many = softmax(np.stack([scores, scores[::-1]]))[0]
    found = decode(scores, labels, OutputKind.LOGITS)
    assert found.index == int(many.argmax())
    assert found.confidence == float(many[found.index])
    assert found.good == min(sum(float(p) for p in many[1::2]), 1.0)
