from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cloud.retrain.dataset import Dataset, FolderSource, read_dataset
from cloud.retrain.run_records import Split
from contract.errors import BadDataset
from contract.manifest import LabelKind
from tests.cloud.retrain.layout_files import (
    PX,
    coco_content,
    studio_tasks,
    write_coco_files,
    write_studio_files,
    write_table,
    write_yolo_files,
)
from tests.cloud.retrain.pictures import picture, write_folders

WRITERS: dict[str, Callable[[Path], Path]] = {
    "csv": write_table,
    "yolo": write_yolo_files,
    "coco": write_coco_files,
    "labelstudio": write_studio_files,
}


def _by_name(dataset: Dataset) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {Path(s.entry.file).name: (s.entry.label, s.entry.also) for s in dataset.samples}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_says_the_same_of_the_same_images(layout: str, tmp_path: Path) -> None:
    dataset = read_dataset(FolderSource(WRITERS[layout](tmp_path / "d"), layout=layout))
    assert [(label.name, label.kind) for label in dataset.labels] == [
        ("good", LabelKind.GOOD),
        ("scratch", LabelKind.DEFECT),
        ("stain", LabelKind.DEFECT),
    ]
    folders = read_dataset(FolderSource(write_folders(tmp_path / "f", 5)))
    assert {(s.entry.sha256, s.entry.label) for s in dataset.samples} == {
        (s.entry.sha256, s.entry.label) for s in folders.samples
    }


@pytest.mark.parametrize("layout", ["yolo", "coco"])
def test_an_image_that_nothing_is_marked_on_is_good_by_the_name_that_is_given(layout: str, tmp_path: Path) -> None:
    dataset = read_dataset(FolderSource(WRITERS[layout](tmp_path / "d"), layout=layout, background="fine"))
    assert {label.name for label in dataset.labels if label.kind is LabelKind.GOOD} == {"fine"}
    assert _by_name(dataset)["good00.png"] == ("fine", ())


@pytest.mark.parametrize(("layout", "left"), [("yolo", 10), ("coco", 0)])
def test_boxes_polygons_and_run_lengths_are_drawn_as_masks(layout: str, left: int, tmp_path: Path) -> None:
    root = WRITERS[layout](tmp_path / "d")
    plain = read_dataset(FolderSource(root, layout=layout))
    assert all(s.mask is None and s.entry.mask == "" for s in plain.samples)
    dataset = read_dataset(FolderSource(root, layout=layout, draw_masks=True))
    of = {Path(s.entry.file).name: s for s in dataset.samples}
    assert of["good00.png"].mask is None
    stain, scratch = of["stain00.png"], of["scratch00.png"]
    assert stain.mask is not None and scratch.mask is not None
    area = stain.mask.load()
    expected = np.zeros((PX, PX), bool)
    expected[(slice(10, 30) if layout == "yolo" else slice(None)), left : left + (20 if layout == "yolo" else 10)] = (
        True
    )
    # Half a pixel of an edge may fall on either side.
    assert area.shape == (PX, PX) and np.count_nonzero(area != expected) <= 60
    assert 0 < scratch.mask.load().mean() < 0.15
    # The same area is one file, under its content's name.
    assert stain.entry.mask == of["stain01.png"].entry.mask and (root / stain.entry.mask).is_file()
    # A second reading does not take the drawn masks for images.
    assert len(read_dataset(FolderSource(root, layout=layout, draw_masks=True)).samples) == 15


def test_a_table_carries_everything_there_is_to_say(tmp_path: Path) -> None:
    root = tmp_path / "d"
    header = "file,label,also,part,labeller,labelled_at,mask,split,source"
    extra = "two.png,scratch;stain,dent,p1,ann,2026-03-01T08:30:00Z,m/two.png,holdout,line3\n"
    extra += "\n".join(f"d{n}.png,dent,,,bob,1000.5,,," for n in range(4))
    write_table(root, header, extra)
    (root / "m").mkdir()
    Image.fromarray(picture("stain", 70)).save(root / "two.png")
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(root / "m" / "two.png")
    for n in range(4):
        Image.fromarray(picture("scratch", 80 + n)).save(root / f"d{n}.png")
    dataset = read_dataset(FolderSource(root, layout="csv"))
    entry = next(s.entry for s in dataset.samples if s.entry.file == "two.png")
    assert (entry.label, entry.also, entry.part, entry.labeller) == ("scratch", ("stain", "dent"), "p1", "ann")
    assert (entry.labelled_at, entry.mask, entry.split, entry.source) == (
        1772353800.0,
        "m/two.png",
        Split.HOLDOUT,
        "line3",
    )
    assert next(s.entry for s in dataset.samples if s.entry.file == "d0.png").labelled_at == 1000.5


def test_a_defect_comes_before_good_and_the_rest_keeps_its_order(tmp_path: Path) -> None:
    root = write_table(tmp_path / "d", extra="two.png,good;stain;scratch")
    Image.fromarray(picture("stain", 70)).save(root / "two.png")
    assert _by_name(read_dataset(FolderSource(root, layout="csv")))["two.png"] == ("stain", ("scratch", "good"))


def test_several_categories_on_an_image_are_several_labels(tmp_path: Path) -> None:
    content = coco_content(tmp_path / "d")
    content["annotations"].append({"id": 99, "image_id": 6, "category_id": 9, "bbox": [1, 1, 2, 2]})
    (tmp_path / "d" / "annotations.json").write_text(json.dumps(content))
    dataset = read_dataset(FolderSource(tmp_path / "d", layout="coco"))
    assert _by_name(dataset)["scratch00.png"] == ("scratch", ("stain",))


def test_two_people_who_differ_leave_the_image_out_and_two_who_agree_keep_it(tmp_path: Path) -> None:
    tasks = studio_tasks(tmp_path / "d")
    first = tasks[0]["annotations"]
    first.append(json.loads(json.dumps(first[0])))
    first[1]["completed_by"] = 8
    first[1]["result"][0]["value"]["choices"] = ["stain"]
    second = tasks[1]["annotations"]
    second.append({**second[0], "completed_by": 8, "updated_at": "2026-04-01T00:00:00+02:00"})
    tasks.append({"id": 77, "data": {"image": "images/stain00.png"}, "annotations": []})
    tasks[2]["annotations"].append({**first[1], "was_cancelled": True})
    (tmp_path / "d" / "tasks.json").write_text(json.dumps(tasks))
    dataset = read_dataset(FolderSource(tmp_path / "d", layout="labelstudio"))
    assert [d.file for d in dataset.disagreements] == ["images/good00.png"]
    one, two = dataset.disagreements[0].labels
    assert (one.labels, one.labeller, one.labelled_at) == (("good",), "ann@plant.example", 1772440200.5)
    assert (two.labels, two.labeller) == (("stain",), "8")
    assert "good00.png" not in _by_name(dataset) and "good02.png" in _by_name(dataset)
    agreed = next(s.entry for s in dataset.samples if s.entry.file == "images/good01.png")
    assert (agreed.labeller, agreed.labelled_at) == ("8", 1774994400.0)
    assert any("left out 1 tasks" in w for w in dataset.warnings)
    assert any("1 images that are labelled differently: images/good00.png" in w for w in dataset.warnings)


def test_studio_rectangles_and_polygons_are_labels_with_an_area(tmp_path: Path) -> None:
    tasks = studio_tasks(tmp_path / "d")
    box = {"x": 50, "y": 25, "width": 25, "height": 50, "rotation": 0, "rectanglelabels": ["stain"]}
    line = {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["scratch"]}
    size = {"original_width": PX, "original_height": PX}
    tasks[0]["annotations"][0]["result"] = [{"type": "rectanglelabels", "value": box, **size}]
    tasks[1]["annotations"][0]["result"] = [{"type": "polygonlabels", "value": line, **size}]
    turned = {**box, "width": 50, "height": 25, "rotation": 90}
    tasks[2]["annotations"][0]["result"] = [{"type": "rectanglelabels", "value": {**turned, "x": 75}, **size}]
    tasks[3]["annotations"][0]["result"] = []
    extra = tmp_path / "d" / "images" / "good05.png"
    for n in range(3):
        Image.fromarray(picture("good", 300 + n)).save(extra.with_name(f"more{n}.png"))
        tasks.append({"data": {"image": f"images/more{n}.png"}, "annotations": tasks[4]["annotations"]})
    (tmp_path / "d" / "tasks.json").write_text(json.dumps(tasks))
    dataset = read_dataset(FolderSource(tmp_path / "d", layout="labelstudio", draw_masks=True))
    of = {Path(s.entry.file).name: s for s in dataset.samples}
    straight, corner, other = of["good00.png"], of["good01.png"], of["good02.png"]
    assert (straight.entry.label, corner.entry.label) == ("stain", "scratch")
    assert of["good03.png"].entry.label == "good" and of["good03.png"].mask is None
    assert straight.mask is not None and other.mask is not None
    area = straight.mask.load()
    assert area[12:28, 22:28].all() and not area[:8].any() and not area[:, :18].any()
    # Turned by a quarter about its corner, the lying box covers what the standing one does.
    assert np.count_nonzero(area != other.mask.load()) <= 60


def test_masks_beside_images_belong_to_them_and_must_fit(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 4)
    for file in sorted(folder.rglob("*.png")):
        Image.open(file).save(file.with_suffix(".bmp"))
        Image.fromarray(np.zeros((PX, PX), np.uint8)).save(file)
    dataset = read_dataset(FolderSource(folder, masks="png"))
    assert len(dataset.samples) == 12 and all(s.entry.file.endswith(".bmp") for s in dataset.samples)
    assert all(s.mask is not None and not s.mask.load().any() for s in dataset.samples)
    Image.fromarray(np.zeros((PX, PX - 1), np.uint8)).save(folder / "stain" / "stain01.png")
    with pytest.raises(BadDataset, match=r"stain01\.png is 39 x 40 pixels"):
        read_dataset(FolderSource(folder, masks="png"))


def test_an_unused_class_and_an_empty_folder_are_warnings(tmp_path: Path) -> None:
    root = write_yolo_files(tmp_path / "d")
    (root / "data.yaml").write_text("names: [scratch, stain, dent]")
    (root / "labels" / "orphan.txt").write_text("0 0.5 0.5 0.1 0.1")
    warnings = read_dataset(FolderSource(root, layout="yolo")).warnings
    assert "'dent'" in warnings[0] and "orphan.txt" in warnings[1]
    folder = write_folders(tmp_path / "f", 4)
    (folder / "dent").mkdir()
    assert "no images lie in 'dent'" in read_dataset(FolderSource(folder)).warnings[0]


def test_one_image_under_two_folders_is_still_refused_but_two_lines_of_a_table_go_to_review(tmp_path: Path) -> None:
    root = write_table(tmp_path / "d", extra="copy.png,stain")
    (root / "copy.png").write_bytes((root / "good00.png").read_bytes())
    dataset = read_dataset(FolderSource(root, layout="csv"))
    assert [o.where for o in dataset.disagreements[0].labels] == ["labels.csv line 2", "labels.csv line 17"]
    assert len(dataset.samples) == 14


def test_pixels_beyond_the_budget_are_read_again_and_a_change_is_noticed(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 4)
    held, read = (read_dataset(FolderSource(folder), held_bytes=n) for n in (1 << 20, 0))
    assert all(
        (a.pixels == b.pixels).all() and a.shape == b.shape for a, b in zip(held.samples, read.samples, strict=True)
    )
    assert isinstance(held.samples[0].image, np.ndarray) and not isinstance(read.samples[0].image, np.ndarray)
    Image.fromarray(picture("good", 99)).save(folder / "good" / "good00.png")
    with pytest.raises(BadDataset, match=r"good00\.png has changed"):
        _ = next(s for s in read.samples if s.entry.file == "good/good00.png").pixels


def test_a_suffix_and_an_exclusion_hold_in_every_layout(tmp_path: Path) -> None:
    for layout, write in WRITERS.items():
        root = write(tmp_path / layout)
        name = "good00.png" if layout == "csv" else "images/good00.png"
        source = FolderSource(root, layout=layout, exclude=frozenset({name}))
        assert len(read_dataset(source).samples) == 14
        with pytest.raises(BadDataset, match="holds no images"):
            read_dataset(replace(source, suffix="tif"))
