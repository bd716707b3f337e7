from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cloud.gate.scorecard import (
    ClassFigures,
    CorruptionFigures,
    GateCheck,
    GateReport,
    GateRules,
    Scorecard,
    SliceFigures,
)
from cloud.registry.bundle import open_bundle, read_file
from cloud.registry.card_facts import ArtefactNote, CardFacts, TrainingNote
from cloud.registry.import_model import import_model
from cloud.registry.model_card import write_card
from contract.manifest import Artefact, Label, LabelKind, Lineage, OutputKind, RuntimeKind, Thresholds
from contract.preprocess import PreprocessSpec

BARE = CardFacts(
    name="steel",
    version="v3",
    labels=(Label("good", LabelKind.GOOD), Label("crack", LabelKind.DEFECT)),
    preprocess=PreprocessSpec(96, 96, 1, (0.5,), (0.2,)),
    artefacts=(Artefact("int8.onnx", RuntimeKind.ONNX, "int8", OutputKind.LOGITS),),
    thresholds=Thresholds(0.9, 0.5),
)
CARD = Scorecard(
    artefact="int8.onnx",
    base=SliceFigures(200, 190),
    drift=SliceFigures(40, 31),
    classes=(ClassFigures("good", 100, 99), ClassFigures("crack", 100, 91)),
    corruptions=(CorruptionFigures("defocus", 3, 60, 21), CorruptionFigures("noise", 1, 60, 59)),
    passed=80,
    missed_defects=1,
    calibration_error=0.0421,
    golden_error=0.0,
    golden_tolerance=0.16,
    fp32_correct=191,
    fp32_agrees=198,
    median_ms=0.8,
    size_bytes=1000,
)
GATE = GateReport("c", "", (GateCheck("accuracy", True, "190 of 200"),), True, GateRules(), CARD)
FULL = replace(
    BARE,
    notes=(
        ArtefactNote("fp32.onnx", "fp32", "as trained", 0.955, 1.0, 4000, 0.9),
        ArtefactNote("int8.onnx", "int8", "minmax", 0.95, 0.99, 1000, 0.8),
    ),
    training=TrainingNote((("good", 400, 100), ("crack", 30, 100)), 3, 12, "d" * 64, "epochs 8", 55, ("left out 2",)),
    gate=GATE,
    golden_inputs=8,
    golden_tolerance=0.16,
    memory_mib=62.0,
    lineage=Lineage("d" * 64, "r" * 64, "v2", "plumbline-edge 0.1.0", "g" * 64),
)


def test_a_trained_models_card_states_what_was_measured_with_intervals() -> None:
    card = write_card(FULL)
    # 190 of 200, 191 of 200, 31 of 40, 21 of 60: Clopper-Pearson at 95 %, as scipy.stats.binomtest gives them.
    for said in (
        "190 of 200 | 0.950 (0.910 to 0.976)",
        "191 of 200 | 0.955 (0.916 to 0.979)",
        "31 of 40 | 0.775 (0.615 to 0.892)",
        "| defocus | 3 | 21 of 60: 0.350 (0.231 to 0.484) |",
        "80 passed automatically; missed defects among them: 1 of 80: 0.013 (0.000 to 0.068)",
        "Fewer than 50 training images: crack",
        "Weakest label: crack, 91 of 100",
        "Weakest under corruption: defocus of severity 3",
        "8 golden inputs, and must be within 0.16",
        "55 of them reviewed",
        "quantization: minmax",
        "62 MiB",
        "- parent: v2",
    ):
        assert said in card, said
    assert "imulated" not in card


def test_what_is_absent_is_said_to_be_absent() -> None:
    card = write_card(BARE)
    for said in (
        "third party's model",
        "Not known: neither the images, nor who labelled them",
        "Not measured: there is no gate report",
        "It was never gated.",
        "promise nothing about missed defects",
        "no golden inputs",
        "one thread: not measured",
        "- dataset: not known",
        "- parent: none: trained from scratch, or not known",
        "| good | good | not known | not known | not measured |",
    ):
        assert said in card, said
    assert not re.search(r"\d of \d", card), "no figure that nobody measured"


def test_a_failed_gate_and_simulated_images_stand_out() -> None:
    failed = replace(
        FULL, gate=GateReport("c", "", (GateCheck("accuracy", False, "3 of 4"),), False, GateRules(), CARD)
    )
    card = write_card(replace(failed, simulated=True))
    assert "**Failed 1 of 1 checks, and released all the same" in card and "**failed**: accuracy: 3 of 4" in card
    assert "**Trained on simulated images." in card


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=80, unique=True), st.text(max_size=30))
def test_names_from_outside_stay_text_and_the_same_facts_give_the_same_card(names: list[str], word: str) -> None:
    labels = tuple(Label(name, LabelKind.DEFECT) for name in names)
    facts = replace(FULL, name=word, version=word, labels=labels, lineage=Lineage(parent=word, code=word))
    card = write_card(facts)
    assert card == write_card(facts)
    assert [line for line in card.splitlines() if line.startswith("## ")] == [
        line for line in write_card(FULL).splitlines() if line.startswith("## ")
    ]
    assert all(char.isprintable() or char == "\n" for char in card) and "<" not in card.replace("\\<", "")


def test_an_imported_model_comes_with_a_card_that_says_what_is_not_known(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.zeros(1, np.float32), "unused")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    (tmp_path / "labels.txt").write_text("good\ncrack\nstain\n")
    asked = []

    def measure(content: object) -> float:
        asked.append(content)
        return 77.0

    path, digest = import_model(tmp_path / "m.onnx", tmp_path / "labels.txt", tmp_path / "m.plb", 0.0, measure=measure)
    manifest, _ = open_bundle(path)
    card = read_file(path, manifest.model_card).decode()
    assert manifest.model_card == "model_card.md" and len(asked) == 1 and manifest.resources.memory_mib == 77.0
    assert manifest.compatibility.runtimes == {"onnxruntime": "1.12"}
    assert "third party's model" in card and "Not known" in card and "77 MiB" in card and "8 golden inputs" in card
    with tempfile.TemporaryDirectory() as scratch:
        again = import_model(tmp_path / "m.onnx", tmp_path / "labels.txt", Path(scratch) / "m", 0.0, measure=measure)
    assert again[1] == digest


@pytest.mark.parametrize(("pass_at", "said"), [(1.0, "never, short of certainty"), (0.93, "0.93 or more")])
def test_a_threshold_that_nothing_passes_is_said_in_words(pass_at: float, said: str) -> None:
    assert said in write_card(replace(BARE, thresholds=Thresholds(pass_at, 0.5, "Learn-then-Test on 9 images")))


def test_sixty_fields_of_corruption_are_told_kind_by_kind_and_the_weakest_kind_is_named() -> None:
    figures = tuple(
        CorruptionFigures(kind, severity, 16, 14)
        for kind in (f"kind{n}" for n in range(11))
        for severity in range(1, 6)
    ) + tuple(CorruptionFigures("haze", severity, 16, 12 - 2 * severity) for severity in range(1, 6))
    card = write_card(replace(FULL, gate=GateReport("c", "", (), True, GateRules(), _corrupted(figures))))
    assert "| haze | 0.62 | 0.50 | 0.38 | 0.25 | 0.12 | 30 of 80: 0.375 (0.269 to 0.490) |" in card
    assert "Weakest under corruption: haze, 30 of 80" in card and card.count("| kind") == 11


def _corrupted(figures: tuple[CorruptionFigures, ...]) -> Scorecard:
    return msgspec.structs.replace(CARD, corruptions=figures, classes=(*CARD.classes, ClassFigures("rare", 0, 0)))


def test_what_a_recipe_did_and_what_each_file_decides_by_are_told() -> None:
    training = replace(FULL.training, labelled_images=(400, 30), teacher="v2", pruned=0.25) if FULL.training else None
    own = Thresholds(0.88, 0.6, "Learn-then-Test on 90 images")
    notes = (ArtefactNote("int8.onnx", "int8", "entropy", scheme="s8s8", temperature=1.31, thresholds=own, excluded=2),)
    card = write_card(replace(FULL, training=training, notes=notes, report_sha256="e" * 64))
    for said in (
        "from 3 sources (400, 30 images)",
        "Distilled: it learnt from the answers of v2",
        "Pruned: 25% of its channels",
        "quantization: s8s8, entropy",
        "2 nodes left in full precision",
        "scores divided by 1.31",
        "Its own thresholds: PASS at a confidence of 0.88 or more",
        f"- gate report for people (report.html): {'e' * 64}",
    ):
        assert said in card, said


def test_a_model_of_independent_labels_is_said_to_name_several() -> None:
    artefact = Artefact("int8.onnx", RuntimeKind.ONNX, "int8", OutputKind.INDEPENDENT)
    card = write_card(replace(BARE, artefacts=(artefact,)))
    assert "Names one or more of 2 labels" in card and "names at least one of its labels" in card
