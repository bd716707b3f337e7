"""Parts labelled after a model was made: each counts once, none that the run has seen, and beside those that moved no threshold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cloud.gate.look_checks import in_words, looks
from cloud.gate.scorecard import LookFigures, Promise
from cloud.quantize.further_parts import further_parts, with_further
from cloud.quantize.new_look import Look
from cloud.retrain.dataset import Sample
from cloud.retrain.images import load_image
from cloud.retrain.run_records import DatasetEntry, DatasetManifest, Split
from contract.errors import BadDataset
from contract.manifest import Label, LabelKind
from tests.cloud.gate.test_gate_checks import CARD
from tests.cloud.quantize.reviewed_folder import write_reviewed_folder

LABELS = (Label("good", LabelKind.GOOD), Label("scratch", LabelKind.DEFECT))


def _entry(part: str, split: Split, sha256: str = "0" * 64) -> DatasetEntry:
    return DatasetEntry(f"{part}.png", 0, sha256, "good", "ann", "base", split, part)


def _sample(part: str) -> Sample:
    return Sample(np.zeros((4, 4), np.uint8), _entry(part, Split.DRIFT))


def _manifest(*entries: DatasetEntry) -> DatasetManifest:
    return DatasetManifest(folders=("/base",), entries=entries)


def test_a_part_counts_once_and_none_that_the_run_has_seen(tmp_path: Path) -> None:
    folder = write_reviewed_folder(
        tmp_path / "since",
        [
            ("good", "new1"),
            ("good", "new1"),
            ("scratch", "new2"),
            ("good", "learnt"),
            ("good", "aside"),
            ("good", "same"),
        ],
    )
    same = load_image(folder / "5.png").sha256
    manifest = _manifest(_entry("learnt", Split.TRAIN), _entry("aside", Split.DRIFT), _entry("p", Split.TRAIN, same))
    found = further_parts(folder, manifest, LABELS)
    assert [(s.entry.part, s.entry.label, s.entry.split) for s in found] == [
        ("new1", "good", Split.DRIFT),
        ("new2", "scratch", Split.DRIFT),
    ]


def test_a_part_that_shows_a_defect_on_one_of_its_images_counts_by_that_one(tmp_path: Path) -> None:
    labelled = [("good", "both"), ("scratch", "both"), ("good", "both"), ("good", "fine"), ("good", "fine")]
    folder = write_reviewed_folder(tmp_path / "since", labelled)
    found = further_parts(folder, _manifest(), LABELS)
    assert {s.entry.part: s.entry.file for s in found} == {"both": "1.png", "fine": "4.png"}


def test_a_part_of_which_the_run_has_one_image_is_not_new_by_another_name(tmp_path: Path) -> None:
    folder = write_reviewed_folder(tmp_path / "since", [("good", "p7"), ("good", "p7"), ("good", "p8")])
    learnt = _manifest(_entry("reviewed/0001", Split.TRAIN, load_image(folder / "0.png").sha256))
    assert [s.entry.part for s in further_parts(folder, learnt, LABELS)] == ["p8"]


def test_a_folder_without_a_new_part_is_refused(tmp_path: Path) -> None:
    folder = write_reviewed_folder(tmp_path / "since", [("good", "learnt")])
    with pytest.raises(BadDataset, match="no part that is new to the run"):
        further_parts(folder, _manifest(_entry("learnt", Split.TRAIN)), LABELS)


def test_a_label_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    folder = write_reviewed_folder(tmp_path / "since", [("stain", "new")])
    with pytest.raises(BadDataset, match="'stain' is no label"):
        further_parts(folder, _manifest(), LABELS)


def test_further_parts_join_those_set_aside_unless_these_moved_the_threshold() -> None:
    newest, earlier = Look(True, (_sample("a"),)), Look(False, (_sample("b"),))
    more = (_sample("c"), _sample("d"))

    def parts(looks: tuple[Look, ...]) -> list[tuple[str, bool]]:
        return [("".join(s.entry.part for s in look.samples), look.further) for look in looks]

    assert parts(with_further([newest, earlier], more, tightened=False)) == [("acd", False), ("b", False)]
    assert parts(with_further([newest, earlier], more, tightened=True)) == [("a", False), ("cd", True), ("b", False)]
    assert parts(with_further([], more, tightened=False)) == [("cd", False)], "a model that was never retrained"
    assert with_further([replace(newest, samples=())], more, tightened=False)[0].newest


def test_the_gate_names_them_and_they_show_what_others_could_not() -> None:
    moved, since = LookFigures(36, 18, 17, 1, tightened=True), LookFigures(230, 115, 114, 0, further=True)
    checks = looks(msgspec.structs.replace(CARD, looks=(moved, since)))
    assert [(check.name, check.figures["shown"]) for check in checks] == [("new look", 0.0), ("further parts", 1.0)]
    assert in_words(since, Promise()).startswith("For the parts labelled since the model was made it is shown too")
