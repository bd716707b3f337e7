from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from contract.decode import decode, likeliest_defect, softmax
from contract.errors import BadModel
from contract.manifest import Label, LabelKind, OutputKind

GOOD, DEFECT = LabelKind.GOOD, LabelKind.DEFECT
LABELS = (Label("good", GOOD), Label("scratch", DEFECT), Label("polished", GOOD), Label("stain", DEFECT))

logits = hnp.arrays(np.float32, st.integers(1, 12), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


def labels_of(count: int, goods: set[int] | None = None) -> tuple[Label, ...]:
    return tuple(Label(f"l{n}", GOOD if n in (goods or set()) else DEFECT) for n in range(count))


@given(logits)
def test_softmax_is_a_distribution_however_large_the_logits(values: NDArray[np.float32]) -> None:
    probabilities = softmax(values)
    assert probabilities.dtype == np.float32
    assert (probabilities >= 0).all()
    assert float(probabilities.sum(dtype=np.float64)) == pytest.approx(1.0, abs=1e-5)
    assert probabilities[values.argmax()] == probabilities.max()


@given(hnp.arrays(np.float32, 4, elements=st.floats(-20, 20, width=32)), st.floats(-20, 20, width=32))
def test_softmax_does_not_see_a_shift(values: NDArray[np.float32], shift: float) -> None:
    np.testing.assert_allclose(softmax(values + np.float32(shift)), softmax(values), atol=1e-4)


def test_softmax_bears_the_widest_logits_there_are() -> None:
    # Their difference overflows an f32: a warning a frame, and warnings are errors here.
    widest = np.array([np.finfo(np.float32).max, np.finfo(np.float32).min], np.float32)
    assert softmax(widest).tolist() == [1.0, 0.0]


def test_softmax_works_on_each_row() -> None:
    rows = np.array([[0.0, 1.0], [1000.0, -1000.0]], np.float32)
    np.testing.assert_allclose(softmax(rows), [[0.26894, 0.73106], [1.0, 0.0]], atol=1e-5)


@given(logits, st.sets(st.integers(0, 11)))
def test_a_prediction_is_the_likeliest_label_and_all_good_mass(values: NDArray[np.float32], goods: set[int]) -> None:
    labels = labels_of(len(values), goods)
    prediction = decode(values, labels, OutputKind.LOGITS)
    probabilities = softmax(values)
    assert prediction.label is labels[prediction.index]
    assert prediction.confidence == float(probabilities.max())
    expected = sum(float(p) for n, p in enumerate(probabilities) if n in goods)
    assert prediction.good == pytest.approx(expected, abs=1e-6)
    assert 0.0 <= prediction.good <= 1.0
    assert 0.0 < prediction.confidence <= 1.0


@given(st.lists(st.integers(-8, 8), min_size=2, max_size=8, unique=True))
def test_the_order_of_labels_changes_nothing(values: list[int]) -> None:
    scores, labels = np.array(values, np.float32), labels_of(len(values), {0, 2, 4})
    one, two = decode(scores, labels, OutputKind.LOGITS), decode(scores[::-1], labels[::-1], OutputKind.LOGITS)
    assert one.label == two.label
    assert one.good == pytest.approx(two.good, abs=1e-6)


def test_good_mass_is_that_of_every_good_label() -> None:
    prediction = decode(np.array([0.4, 0.3, 0.2, 0.1], np.float32), LABELS, OutputKind.PROBABILITIES)
    assert (prediction.index, prediction.label.name) == (0, "good")
    assert prediction.confidence == pytest.approx(0.4)
    assert prediction.good == pytest.approx(0.6)


def test_a_likeliest_defect_may_have_more_good_mass_against_it() -> None:
    prediction = decode(np.array([0.3, 0.35, 0.3, 0.05], np.float32), LABELS, OutputKind.PROBABILITIES)
    assert prediction.label.name == "scratch"
    assert prediction.good == pytest.approx(0.6)


def test_good_mass_never_passes_1_and_with_it_a_threshold_that_says_never() -> None:
    # Ten times 0.1 in f32 is a little more than 1.
    prediction = decode(np.full(10, 0.1, np.float32), labels_of(10, set(range(10))), OutputKind.PROBABILITIES)
    assert prediction.good == 1.0


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("output", list(OutputKind))
@pytest.mark.parametrize("at", range(4))
def test_nan_and_infinity_are_a_bad_model_and_never_an_answer(broken: float, output: OutputKind, at: int) -> None:
    scores = np.full(4, 0.25, np.float32)
    scores[at] = broken
    with pytest.raises(BadModel, match="NaN or infinite"):
        decode(scores, LABELS, output)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (5,), (1, 4), (4, 1), (2, 2)], ids=str)
def test_scores_of_another_shape_are_a_bad_model(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadModel, match="4 labels"):
        decode(np.zeros(shape, np.float32), LABELS, OutputKind.LOGITS)


def test_no_scores_for_no_labels_are_a_bad_model() -> None:
    with pytest.raises(BadModel):
        decode(np.zeros(0, np.float32), (), OutputKind.LOGITS)


@pytest.mark.parametrize("scores", [(5.0, -3.0, 0.0, 0.0), (1.2, 0.0, 0.0, 0.0), (0.5, -0.2, 0.5, 0.2)], ids=str)
def test_logits_called_probabilities_are_a_bad_model(scores: tuple[float, ...]) -> None:
    with pytest.raises(BadModel, match="'probabilities'") as caught:
        decode(np.array(scores, np.float32), LABELS, OutputKind.PROBABILITIES)
    assert caught.value.hint


def test_a_quantized_softmax_may_be_half_a_step_off() -> None:
    step = 1 / 256
    prediction = decode(np.array([1 + step / 2, -step / 2, 0, 0], np.float32), LABELS, OutputKind.PROBABILITIES)
    assert (prediction.confidence, prediction.good) == (1.0, 1.0)


@given(hnp.arrays(np.float32, st.integers(1, 8), elements=st.floats(0, 1, width=32)), st.data())
def test_independent_labels_are_no_better_than_their_surest_defect(
    values: NDArray[np.float32], data: st.DataObject
) -> None:
    labels = labels_of(len(values), set(data.draw(st.lists(st.integers(0, len(values) - 1), max_size=3))))
    prediction = decode(values, labels, OutputKind.INDEPENDENT)
    defects = {label.name: float(value) for label, value in zip(labels, values, strict=True) if label.kind is DEFECT}
    assert prediction.label is labels[int(values.argmax())]
    # Whatever the model says of its good label: a part with a sure defect is not good.
    assert prediction.good <= 1.0 - max(defects.values(), default=0.0) + 1e-6
    assert prediction.good == 0.0 if len(defects) == len(labels) else prediction.good >= 0.0
    seen = [label.name for label in prediction.also]
    assert seen == sorted(seen, key=lambda name: -defects[name]) and prediction.label.name not in seen
    assert set(seen) == {name for name, value in defects.items() if value >= 0.5} - {prediction.label.name}


def test_a_good_label_that_is_sure_of_itself_does_not_hide_a_defect() -> None:
    prediction = decode(np.array([0.99, 0.9, 0.0, 0.6], np.float32), LABELS, OutputKind.INDEPENDENT)
    assert prediction.label.name == "good" and prediction.good == pytest.approx(0.1)
    assert [label.name for label in prediction.also] == ["scratch", "stain"]


def test_the_likeliest_defect_is_found_whatever_is_named() -> None:
    assert likeliest_defect(np.array([9.0, 1.0, 8.0, 2.0], np.float32), LABELS) == 3
    assert likeliest_defect(np.array([9.0], np.float32), LABELS[:1]) is None
