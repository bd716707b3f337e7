"""What the gate measures of real artefacts, small enough to be made by hand: each looks at one place of the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cloud.clock import SystemClock
from cloud.gate.corruptions import Corruption
from cloud.quantize.contender import Contender
from cloud.quantize.corruption_cells import corruption_cells
from cloud.quantize.judge import Judge
from cloud.quantize.scorecard_of import measure_card, pair_labels
from cloud.quantize.shortcut_trial import try_shortcuts
from cloud.retrain.dataset import Sample
from cloud.retrain.run_records import DatasetEntry, Split
from contract.manifest import Label, LabelKind, OutputKind, Thresholds
from contract.preprocess import PreprocessSpec

LABELS = (Label("bright", LabelKind.GOOD), Label("dark", LabelKind.DEFECT))
SPEC = PreprocessSpec(16, 16, 1, (0.5,), (0.25,))


def _looks_at(file: Path, top: int, left: int, bottom: int, right: int) -> Judge:
    """Return a judge that calls an image bright when the named part of it is."""
    ints = [(f"c{n}", np.array(v, np.int64)) for n, v in enumerate(((top, left), (bottom, right), (2, 3)))]
    row = np.array([[4.0, -4.0]], np.float32)
    nodes = [
        helper.make_node("Slice", ["x", "c0", "c1", "c2"], ["part"]),
        helper.make_node("GlobalAveragePool", ["part"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "row"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(v, name) for name, v in (*ints, ("row", row))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return Judge.load(Contender(file, LABELS, SPEC, OutputKind.LOGITS, Thresholds(0.9, 0.6), None, 0.0), 1)


def _sample(number: int, label: str, also: tuple[str, ...] = ()) -> Sample:
    """Return a part whose middle tells its label, and beside which a mark in the corner does too."""
    generator = np.random.default_rng(number)
    pixels = generator.normal(128, 10, (32, 32))
    sign = 1 if label == "bright" else -1
    pixels[10:22, 10:22] += sign * generator.uniform(20, 60)
    pixels[:6, :6] += sign * 60
    return Sample(
        np.clip(pixels, 0, 255).astype(np.uint8),
        DatasetEntry(f"{number}.png", 0, "0" * 64, label, "folder", "base", Split.HOLDOUT, str(number), also=also),
    )


SAMPLES = [_sample(number, ("bright", "dark")[number % 2]) for number in range(60)]


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return _looks_at(tmp_path_factory.mktemp("part") / "part.onnx", 5, 5, 11, 11)


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return _looks_at(tmp_path_factory.mktemp("corner") / "corner.onnx", 0, 0, 3, 3)


def _right(judge: Judge) -> NDArray[np.bool_]:
    return judge.right([sample.pixels for sample in SAMPLES], SAMPLES)


def test_a_model_that_looks_at_a_corner_is_found_though_no_holdout_image_shows_it(part: Judge, corner: Judge) -> None:
    assert _right(corner).all() and _right(part).all()
    found = try_shortcuts(corner, None, SAMPLES, _right(corner), 0)
    assert found is not None and (found.region, found.followed) == ("top left", found.images)
    beside = try_shortcuts(corner, part, SAMPLES, _right(corner), 0)
    assert beside is not None and (beside.region, beside.incumbent_followed, beside.elsewhere) == ("top left", 0, 0)
    honest = try_shortcuts(part, corner, SAMPLES, _right(part), 0)
    assert (
        honest is not None and honest.followed == 0 and try_shortcuts(part, corner, SAMPLES, _right(part), 0) == honest
    )


def test_shortcuts_are_not_looked_for_where_too_little_is_right(part: Judge) -> None:
    assert try_shortcuts(part, None, SAMPLES, np.zeros(60, np.bool_), 0) is None
    of_one = [sample for sample in SAMPLES if sample.entry.label == "dark"]
    assert try_shortcuts(part, None, of_one, np.ones(30, np.bool_), 0) is None


def test_both_judges_see_the_same_corrupted_images_and_severities_others(part: Judge, corner: Judge) -> None:
    cells = corruption_cells((part, part, corner), SAMPLES, 8, seed=1)
    assert len(cells) == 5 * len(Corruption) == 60
    assert all((cell.right[0] == cell.right[1]).all() and cell.figures(0).images == 8 for cell in cells)
    assert any((cell.right[0] != cell.right[2]).any() for cell in cells), "darkness takes the mark or the part first"
    few = corruption_cells((part,), SAMPLES[:3], 8, seed=1)
    assert {cell.figures(0).images for cell in few} == {3}


def test_a_card_counts_what_is_right_decided_and_confused(part: Judge, corner: Judge) -> None:
    wrong = Sample(SAMPLES[0].pixels, SAMPLES[1].entry)  # looks bright, is said to be dark
    ours = measure_card(part, [*SAMPLES, wrong], [], SystemClock())
    card = ours.card
    assert (card.base.images, card.base.correct, card.missed_defects) == (61, 60, int(card.passed > 0))
    assert {(c.truth, c.named): c.images for c in card.confusion} == {
        ("bright", "bright"): 30, ("dark", "bright"): 1, ("dark", "dark"): 30,
    }  # fmt: skip
    assert card.automatic is not None and 0 < card.passed <= card.automatic <= 61
    assert sum(each.images for each in card.reliability) == 61
    theirs = measure_card(corner, [*SAMPLES, wrong], [], SystemClock())
    assert [(each.name, each.pairs.images) for each in pair_labels(ours, theirs)] == [("bright", 30), ("dark", 31)]


def test_a_part_with_two_labels_is_right_by_either_and_found_by_both() -> None:
    labels = (Label("good", LabelKind.GOOD), Label("scratch", LabelKind.DEFECT), Label("stain", LabelKind.DEFECT))
    judge = Contender(Path("m.onnx"), labels, SPEC, OutputKind.INDEPENDENT, Thresholds(0.8, 0.6), None, 0.0)
    samples = [_sample(0, "scratch", also=("stain",)), _sample(1, "good"), _sample(2, "stain")]
    scores = np.array([[0.1, 0.7, 0.9], [0.9, 0.1, 0.05], [0.6, 0.55, 0.4]], np.float32)
    assert judge.right(scores, samples).tolist() == [True, True, False]
    assert judge.finds(scores, 1).tolist() == [True, False, True] and judge.finds(scores, 2).tolist() == [
        True,
        False,
        False,
    ]
    passed, rejected = judge.decisions(scores)
    # The third leads with "good", but its surest defect bounds how good it can be.
    assert passed.tolist() == [False, True, False] and rejected.tolist() == [True, False, False]
    assert judge.shows_defect(samples).tolist() == [True, False, True]
