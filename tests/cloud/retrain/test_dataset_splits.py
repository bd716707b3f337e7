from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cloud.retrain.dataset import FolderSource, read_dataset
from cloud.retrain.run_records import Split
from cloud.retrain.splits import given_splits, rarest_label_of, split_parts, strictest_splits
from contract.errors import BadDataset
from tests.cloud.retrain.layout_files import PX, write_table
from tests.cloud.retrain.pictures import picture

_images = st.lists(
    st.tuples(st.sampled_from("pqrstuvwxyz"), st.lists(st.sampled_from("abcd"), min_size=1, max_size=3)), max_size=40
)


@given(_images, st.integers(0, 9))
def test_a_part_is_in_one_split_and_a_rare_label_is_held_out(images: list[tuple[str, list[str]]], seed: int) -> None:
    stratum = rarest_label_of(images)
    splits = split_parts(stratum, ((Split.HOLDOUT, 0.3),), Split.TRAIN, seed)
    assert splits.keys() == {part for part, _ in images}
    parts_of = {name: {part for part, labels in images if name in labels} for name in "abcd"}
    for part, label in stratum.items():
        own = {name for p, labels in images if p == part for name in labels}
        assert label in own and len(parts_of[label]) == min(len(parts_of[name]) for name in own)
    rarest = min(
        (name for name in "abcd" if parts_of[name]), key=lambda name: (len(parts_of[name]), name), default=None
    )
    if rarest is not None and len(parts_of[rarest]) >= 3:
        assert any(splits[part] is Split.HOLDOUT for part in parts_of[rarest])


def test_a_part_of_several_labels_stays_in_one_split(tmp_path: Path) -> None:
    root = tmp_path / "d"
    root.mkdir()
    lines = ["file,label,part"]
    for part in range(12):
        for n, label in enumerate(("good", "scratch", "stain")):
            Image.fromarray(picture(label, part, PX)).save(root / f"{part}-{n}.png")
            lines.append(f"{part}-{n}.png,{label},part{part}")
    (root / "labels.csv").write_text("\n".join(lines))
    samples = read_dataset(FolderSource(root, layout="csv")).samples
    split_of: dict[str, set[Split]] = {}
    for sample in samples:
        split_of.setdefault(sample.entry.part, set()).add(sample.entry.split)
    assert len(split_of) == 12 and all(len(found) == 1 for found in split_of.values())
    assert {s.entry.split for s in samples} == {Split.TRAIN, Split.CALIBRATION, Split.HOLDOUT}


def test_a_table_places_images_and_an_earlier_dataset_outweighs_it(tmp_path: Path) -> None:
    root = write_table(tmp_path / "d", "file,label,split")
    text = (root / "labels.csv").read_text()
    for name, split in (
        ("good00.png,good", "holdout"),
        ("good01.png,good", "calibration"),
        ("stain00.png,stain", "train"),
    ):
        text = text.replace(f"{name},", f"{name},{split}")
    (root / "labels.csv").write_text(text)
    source = FolderSource(root, layout="csv")
    entries = {s.entry.file: s.entry for s in read_dataset(source, seed=3).samples}
    assert [entries[f].split for f in ("good00.png", "good01.png", "stain00.png")] == [
        Split.HOLDOUT,
        Split.CALIBRATION,
        Split.TRAIN,
    ]
    known = {entries["good00.png"].sha256: Split.TRAIN}
    again = {s.entry.file: s.entry.split for s in read_dataset(source, seed=3, known_splits=known).samples}
    assert again["good00.png"] is Split.TRAIN and again["good01.png"] is Split.CALIBRATION


def test_a_part_that_a_table_puts_into_two_splits_is_refused(tmp_path: Path) -> None:
    root = write_table(tmp_path / "d", "file,label,part,split")
    text = (root / "labels.csv").read_text()
    text = text.replace("good00.png,good,,", "good00.png,good,p,train").replace(
        "good01.png,good,,", "good01.png,good,p,holdout"
    )
    (root / "labels.csv").write_text(text)
    with pytest.raises(BadDataset, match="part 'p' is put into train and holdout"):
        read_dataset(FolderSource(root, layout="csv"))


def test_of_two_known_splits_the_one_further_from_training_holds() -> None:
    assert strictest_splits([("p", Split.TRAIN), ("p", Split.HOLDOUT), ("p", None), ("q", None)]) == {
        "p": Split.HOLDOUT
    }
    assert given_splits([("p", Split.TRAIN), ("p", None), ("p", Split.TRAIN)]) == {"p": Split.TRAIN}
