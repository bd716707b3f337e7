from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cloud.retrain.dataset import FolderSource, read_dataset, reload_dataset
from cloud.retrain.run_records import Split
from cloud.retrain.splits import split_parts
from contract.errors import BadDataset
from contract.manifest import LabelKind
from tests.cloud.retrain.pictures import LABELS, picture, write_folders, write_prefix


def test_folders_name_the_labels_and_good_is_good(tmp_path: Path) -> None:
    dataset = read_dataset(FolderSource(write_folders(tmp_path / "d", 6)))
    assert [label.name for label in dataset.labels] == list(LABELS)
    assert [label.kind for label in dataset.labels] == [LabelKind.GOOD, LabelKind.DEFECT, LabelKind.DEFECT]
    assert len(dataset.samples) == 18 and dataset.channels() == 1 and dataset.warnings == ()


def test_prefix_is_the_stem_up_to_the_last_underscore(tmp_path: Path) -> None:
    folder = write_prefix(tmp_path / "d")
    for seed in range(4):
        Image.fromarray(picture("stain", 50 + seed)).save(folder / f"rolled_in_scale_{seed}.png")
    dataset = read_dataset(FolderSource(folder, layout="prefix"))
    assert [label.name for label in dataset.labels] == ["good", "rolled_in_scale", "scratch", "stain"]


def test_good_labels_can_be_given_and_must_exist(tmp_path: Path) -> None:
    source = FolderSource(write_folders(tmp_path / "d", 4))
    dataset = read_dataset(replace(source, good=("stain",)))
    assert [label.name for label in dataset.labels if label.kind is LabelKind.GOOD] == ["stain"]
    with pytest.raises(BadDataset, match="no image is labelled 'fine'"):
        read_dataset(replace(source, good=("fine",)))


def test_no_good_label_is_a_warning(tmp_path: Path) -> None:
    (write_folders(tmp_path / "d", 4) / "good").rename(tmp_path / "d" / "dent")
    assert "ever PASS" in read_dataset(FolderSource(tmp_path / "d")).warnings[0]


def test_same_seed_same_split_and_another_seed_another(tmp_path: Path) -> None:
    source = FolderSource(write_folders(tmp_path / "d", 12))
    first = read_dataset(source, seed=3).manifest()
    assert read_dataset(source, seed=3).manifest() == first
    assert read_dataset(source, seed=4).manifest() != first


def test_split_is_stratified_by_label(tmp_path: Path) -> None:
    dataset = read_dataset(FolderSource(write_folders(tmp_path / "d", 12)), holdout_share=1 / 3, calibration_share=0.25)
    for label in LABELS:
        splits = [s.entry.split for s in dataset.samples if s.entry.label == label]
        assert (splits.count(Split.HOLDOUT), splits.count(Split.CALIBRATION), splits.count(Split.TRAIN)) == (4, 3, 5)


def test_images_of_one_part_share_a_split(tmp_path: Path) -> None:
    for label in ("free", "crack"):
        (tmp_path / "d" / label).mkdir(parents=True)
        for part in range(6):
            for exposure in (1, 2, 3):
                pixels = picture("good" if label == "free" else "scratch", part * 10 + exposure)
                Image.fromarray(pixels).save(tmp_path / "d" / label / f"exp{exposure}_{label}{part}.png")
    dataset = read_dataset(FolderSource(tmp_path / "d", part_pattern=r"_(\w+\d+)$"))
    splits: dict[str, set[Split]] = {}
    for sample in dataset.samples:
        splits.setdefault(sample.entry.part, set()).add(sample.entry.split)
    assert len(splits) == 12 and all(len(found) == 1 for found in splits.values())


def test_known_splits_win_over_the_seed(tmp_path: Path) -> None:
    source = FolderSource(write_folders(tmp_path / "d", 8))
    known = {s.entry.sha256: s.entry.split for s in read_dataset(source, seed=1).samples}
    again = read_dataset(source, seed=2, known_splits=known)
    assert {s.entry.sha256: s.entry.split for s in again.samples} == known


@given(
    st.dictionaries(st.text(max_size=8), st.sampled_from("abc"), max_size=60),
    st.floats(0, 0.5),
    st.floats(0, 0.4),
    st.integers(0, 99),
)
def test_every_part_gets_exactly_one_split(labels: dict[str, str], holdout: float, other: float, seed: int) -> None:
    shares = ((Split.HOLDOUT, holdout), (Split.CALIBRATION, other))
    splits = split_parts(labels, shares, Split.TRAIN, seed)
    assert splits.keys() == labels.keys()
    for label in set(labels.values()):
        own = [part for part in labels if labels[part] == label]
        if holdout > 0 and len(own) >= 3:
            assert any(splits[part] is Split.HOLDOUT for part in own)


def test_unreadable_image_is_named_or_skipped_and_counted(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 6)
    (folder / "good" / "torn.png").write_bytes((folder / "good" / "good00.png").read_bytes()[:60])
    (folder / "good" / "text.png").write_text("no image")
    with pytest.raises(BadDataset, match=r"torn\.png") as caught:
        read_dataset(FolderSource(folder))
    assert "text.png" in caught.value.message and "--skip-unreadable" in caught.value.hint
    assert "skipped 2 unreadable" in read_dataset(FolderSource(folder, skip_unreadable=True)).warnings[0]


def test_excluded_file_is_never_read(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 6)
    (folder / "good" / "bad.png").write_text("no image")
    dataset = read_dataset(FolderSource(folder, exclude=frozenset({"good/bad.png", "stain/stain01.png"})))
    assert len(dataset.samples) == 17


@pytest.mark.parametrize(
    ("layout", "words"), [("prefix", "holds no images in layout 'prefix'"), ("tree", "'tree' is no layout")]
)
def test_layout_that_does_not_fit_says_so(tmp_path: Path, layout: str, words: str) -> None:
    with pytest.raises(BadDataset, match=words) as caught:
        read_dataset(FolderSource(write_folders(tmp_path / "d", 4), layout=layout))
    assert "folders" in caught.value.hint


def test_missing_folder_few_images_and_one_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match="is no folder"):
        read_dataset(FolderSource(tmp_path / "nowhere"))
    with pytest.raises(BadDataset, match=r"fewer than 4 images of 'good' \(3\)"):
        read_dataset(FolderSource(write_folders(tmp_path / "few", 3)))
    one = tmp_path / "one"
    write_folders(tmp_path / "d", 5)
    one.mkdir()
    (tmp_path / "d" / "good").rename(one / "good")
    with pytest.raises(BadDataset, match="is labelled 'good'"):
        read_dataset(FolderSource(one))


def test_file_without_a_prefix_is_named(tmp_path: Path) -> None:
    folder = write_prefix(tmp_path / "d")
    Image.fromarray(picture("good", 1)).save(folder / "readme.png")
    with pytest.raises(BadDataset, match=r"readme\.png has no label"):
        read_dataset(FolderSource(folder, layout="prefix"))


def test_masks_beside_images_are_not_taken_for_images(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 4)
    for png in (folder / "stain").iterdir():
        Image.open(png).save(png.with_suffix(".jpg"))
    with pytest.raises(BadDataset, match="holds both") as caught:
        read_dataset(FolderSource(folder))
    assert "--suffix" in caught.value.hint
    assert len(read_dataset(FolderSource(folder, suffix="png")).samples) == 12


def test_copies_count_once_and_contradicting_copies_are_refused(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 6)
    (folder / "good" / "copy.png").write_bytes((folder / "good" / "good00.png").read_bytes())
    dataset = read_dataset(FolderSource(folder))
    assert len(dataset.samples) == 18 and "1 exact copies" in dataset.warnings[0]
    (folder / "stain" / "copy.png").write_bytes((folder / "good" / "good00.png").read_bytes())
    with pytest.raises(BadDataset, match="the same image with two labels"):
        read_dataset(FolderSource(folder))


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match="leave nothing to train on"):
        read_dataset(FolderSource(write_folders(tmp_path / "d", 4)), holdout_share=0.8, calibration_share=0.3)


def test_one_colour_image_makes_the_dataset_rgb(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 4)
    Image.fromarray(np.full((40, 40, 3), (200, 30, 30), np.uint8)).save(folder / "stain" / "red.png")
    assert read_dataset(FolderSource(folder)).channels() == 3


def test_grey_saved_as_three_equal_channels_is_grey(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 4)
    Image.fromarray(np.repeat(picture("stain", 88)[:, :, None], 3, axis=2)).save(folder / "stain" / "rgb.png")
    dataset = read_dataset(FolderSource(folder))
    assert dataset.channels() == 1
    rgb = next(s for s in dataset.samples if s.entry.file == "stain/rgb.png")
    assert (rgb.pixels == picture("stain", 88)).all()


def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 4)
    Image.fromarray(np.full((40, 40), 0x8000, np.uint16)).save(folder / "stain" / "deep.png")
    dataset = read_dataset(FolderSource(folder))
    deep = next(s for s in dataset.samples if s.entry.file == "stain/deep.png")
    assert deep.pixels.dtype == np.uint8 and set(deep.pixels.ravel()) == {0x80}


def test_reloading_notices_a_changed_and_a_missing_image(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 4)
    dataset = read_dataset(FolderSource(folder))
    manifest = dataset.manifest()
    assert reload_dataset(manifest, dataset.labels).manifest() == manifest
    Image.fromarray(picture("good", 77)).save(folder / "good" / "good00.png")
    with pytest.raises(BadDataset, match="has changed"):
        reload_dataset(manifest, dataset.labels)
    (folder / "good" / "good00.png").unlink()
    with pytest.raises(BadDataset, match="No such file"):
        reload_dataset(manifest, dataset.labels)
