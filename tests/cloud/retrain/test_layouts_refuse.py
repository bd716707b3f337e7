"""What layouts refuse, and that it is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cloud.retrain.dataset import FolderSource, read_dataset
from cloud.retrain.images import load_image
from cloud.retrain.layouts.yolo import find_yolo
from contract.errors import BadDataset, BadImage
from tests.cloud.retrain.layout_files import PX, coco_content, write_pictures, write_table, write_yolo_files
from tests.cloud.retrain.pictures import LABELS, write_folders


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("../x.png,good", "line 17: '../x.png' lies outside"),
        ("/etc/x.png,good", "lies outside"),
        ("C:\\\\x.png,good", "lies outside"),
        ("gone.png,good", r"line 17: there is no gone\.png"),
        ("good00.png", "line 17 has 1 cells"),
        ("good00.png, ;", "line 17 has no label"),
        ('good00.png,"go', "is no CSV"),
        ("good00.png,a\x1b[31m", "cannot be shown"),
    ],
)
def test_a_line_of_a_table_that_cannot_be_used_is_named(line: str, words: str, tmp_path: Path) -> None:
    root = write_table(
        tmp_path / "d", extra=line + "".join(f"\n{LABELS[0]}0{n}.png,a\x1b[31m" for n in range(5) if "\x1b" in line)
    )
    if "\x1b" in line:
        text = (root / "labels.csv").read_text().splitlines()
        (root / "labels.csv").write_text("\n".join([text[0], *text[6:]]))
    with pytest.raises(BadDataset, match=words):
        read_dataset(FolderSource(root, layout="csv"))


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("labelled_at", "nan", "is no time"),
        ("labelled_at", "1e300", "labelled_at '1e300' is no number"),
        ("labelled_at", "-5", "no number"),
        ("labelled_at", "yesterday", "is no time"),
        ("split", "testing", "'testing' is no split"),
        ("inclusion", "0", "inclusion '0'"),
        ("inclusion", "inf", "inclusion 'inf'"),
        ("audit", "perhaps", "neither 0 nor 1"),
        ("colour", "red", "line 1 is no header"),
        ("mask", "../m.png", "lies outside"),
        ("mask", "m.png", r"there is no m\.png"),
    ],
)
def test_a_cell_that_means_nothing_is_refused(column: str, value: str, words: str, tmp_path: Path) -> None:
    root = write_table(tmp_path / "d", f"file,label,{column}")
    text = (root / "labels.csv").read_text().replace("good00.png,good,", f"good00.png,good,{value}")
    (root / "labels.csv").write_text(text)
    with pytest.raises(BadDataset, match=words):
        read_dataset(FolderSource(root, layout="csv"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", "line 1: '2' is no class"),
        ("-1 0.5 0.5 0.1 0.1", "'-1' is no class"),
        ("0 nan 0.5 0.1 0.1", "coordinate 'nan'"),
        ("0 0.5 0.5 1e9 0.1", "coordinate '1e9'"),
        ("0 0.5 0.5 0.1", "has 3 numbers"),
        ("0 0.5 0.5 0 0.1", "has no area"),
        ("0 0.1 0.1 0.2 0.2 0.3", "has 5 numbers"),
    ],
)
def test_a_yolo_line_that_is_no_shape_is_named(text: str, words: str, tmp_path: Path) -> None:
    root = write_yolo_files(tmp_path / "d")
    (root / "labels" / "good00.txt").write_text("\n" + text if "line 1" not in words else text)
    with pytest.raises(BadDataset, match=words):
        read_dataset(FolderSource(root, layout="yolo"))


@pytest.mark.parametrize(
    "text", ["names: [a, a]", "names: 3", "{", "- x", "names: {0: a, 2: b}", "!!python/object:os.system {}"]
)
def test_class_names_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    root = write_yolo_files(tmp_path / "d")
    (root / "data.yaml").write_text(text)
    with pytest.raises(BadDataset, match=r"data\.yaml"):
        read_dataset(FolderSource(root, layout="yolo"))


def _break(content: dict[str, Any], how: str) -> None:
    mark = content["annotations"][0]
    if how == "unknown image":
        mark["image_id"] = 999
    if how == "unknown category":
        mark["category_id"] = 999
    if how == "twice":
        content["images"][1]["id"] = 1
    if how == "far":
        mark["bbox"] = [0, 0, 1e12, 3]
    if how == "runs":
        mark["segmentation"] = {"counts": [5, 5], "size": [PX, PX]}
    if how == "compressed":
        mark["segmentation"] = {"counts": "abc", "size": [PX, PX]}
    if how == "polygon":
        mark["segmentation"] = [[1, 2, 3, 4]]
    if how == "traversal":
        content["images"][0]["file_name"] = "../../secret.png"
    if how == "missing":
        for n in range(4):
            content["images"][n]["file_name"] = f"gone{n}.png"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("unknown image", "is of image 999"),
        ("unknown category", "is of category 999"),
        ("twice", "image 1 is there twice"),
        ("far", "width '1000000000000.0'"),
        ("runs", "do not add up to 40 x 40"),
        ("compressed", "compressed"),
        ("polygon", "a polygon of 4 numbers"),
        ("traversal", "lies outside"),
        ("missing", r"no gone0\.png; .*gone1\.png; .*gone2\.png and 1 more"),
    ],
)
def test_coco_that_contradicts_itself_is_refused(how: str, words: str, tmp_path: Path) -> None:
    content = coco_content(tmp_path / "d")
    _break(content, how)
    (tmp_path / "d" / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(BadDataset, match=words):
        read_dataset(FolderSource(tmp_path / "d", layout="coco", draw_masks=True))


@pytest.mark.parametrize("layout", ["coco", "labelstudio"])
@pytest.mark.parametrize("text", ["", "{", "[1]", '{"images": [], "annotations": [NaN]}', "[" * 100_000])
def test_broken_json_is_a_plain_error(layout: str, text: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "d")
    (tmp_path / "d" / "x.json").write_text(text)
    with pytest.raises(BadDataset, match=r"x\.json is no"):
        read_dataset(FolderSource(tmp_path / "d", layout=layout))


def test_what_yaml_can_do_with_few_lines_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    lines = [
        "a0: &a0 [x, x]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)),
        "names: [*a39]",
    ]
    (tmp_path / "data.yaml").write_text("\n".join(lines))
    with pytest.raises(BadDataset, match="names no classes"):
        find_yolo(FolderSource(tmp_path, "yolo"))
    (tmp_path / "data.yaml").write_text("names: {0: no, 1: 07}")
    Image.new("L", (8, 8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .1 .1\n1 .5 .5 .1 .1")
    assert find_yolo(FolderSource(tmp_path, "yolo")).found[0].labels == ("no", "07")


def test_an_image_is_never_run_as_a_program(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(file, "EPS")
    with pytest.raises(BadImage, match="it is no readable image"):
        load_image(file)


def test_a_file_whose_name_is_no_text_is_named_in_a_way_that_can_be_shown(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "d", 4)
    odd = os.fsencode(folder / "good") + b"/\xff.png"
    with open(odd, "wb") as file:  # noqa: PTH123 - a path of bytes
        file.write((folder / "good" / "good00.png").read_bytes())
    with pytest.raises(BadDataset, match=r"good/.udcff\.png.* has a name that cannot be shown"):
        read_dataset(FolderSource(folder))
