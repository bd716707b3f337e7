"""The same small pictures in every layout that datasets come in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.cloud.retrain.pictures import LABELS, picture

PX = 40


def write_pictures(folder: Path, per_label: int = 5) -> list[tuple[str, str]]:
    """Write pictures into one folder; return (file name, label) of each."""
    folder.mkdir(parents=True, exist_ok=True)
    named = [(f"{label}{seed:02d}.png", label, seed) for label in LABELS for seed in range(per_label)]
    for name, label, seed in named:
        Image.fromarray(picture(label, seed, PX)).save(folder / name)
    return [(name, label) for name, label, _ in named]


def write_table(root: Path, header: str = "file,label", extra: str = "", per_label: int = 5) -> Path:
    """Write layout "csv": a line an image, then the lines in `extra`."""
    rows = [f"{name},{label}" + "," * (header.count(",") - 1) for name, label in write_pictures(root, per_label)]
    (root / "labels.csv").write_text("\n".join([header, *rows, extra]) + "\n", "utf-8")
    return root


def write_yolo_files(root: Path, per_label: int = 5) -> Path:
    """Write layout "yolo": scratches as boxes, stains as polygons, good pictures without a label file."""
    (root / "labels").mkdir(parents=True)
    for name, label in write_pictures(root / "images", per_label):
        text = (root / "labels" / name).with_suffix(".txt")
        if label == "scratch":
            text.write_text("0 0.5 0.25 0.5 0.1\n")
        if label == "stain":
            text.write_text("1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n")
    (root / "data.yaml").write_text("train: images\nnames:\n  0: scratch\n  1: stain\n")
    return root


def coco_content(root: Path, per_label: int = 5) -> dict[str, Any]:
    """Write the images of layout "coco"; return its file: scratches as boxes, stains as run lengths."""
    images, marks = [], []
    for number, (name, label) in enumerate(write_pictures(root / "images", per_label), 1):
        images.append({"id": number, "file_name": name, "width": PX, "height": PX})
        if label == "scratch":
            marks.append({"id": number, "image_id": number, "category_id": 7, "bbox": [4, 10, 30, 2]})
        if label == "stain":
            # The left quarter: a run down ten whole columns.
            runs = {"counts": [0, PX * 10, PX * 30], "size": [PX, PX]}
            marks.append({"id": number, "image_id": number, "category_id": 9, "segmentation": runs, "iscrowd": 1})
    categories = [{"id": 7, "name": "scratch"}, {"id": 9, "name": "stain"}]
    return {"info": {"year": 2026}, "images": images, "annotations": marks, "categories": categories}


def write_coco_files(root: Path, per_label: int = 5) -> Path:
    """Write layout "coco"."""
    content = coco_content(root, per_label)
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def studio_tasks(root: Path, per_label: int = 5) -> list[dict[str, Any]]:
    """Write the images of layout "labelstudio", uploaded ones; return its tasks as the tool exports them."""
    tasks = []
    for number, (name, label) in enumerate(write_pictures(root / "images", per_label), 1):
        value = {"choices": [label]}
        result = [{"id": "x", "from_name": "label", "to_name": "image", "type": "choices", "value": value}]
        annotation = {
            "id": number,
            "completed_by": {"id": 3, "email": "ann@plant.example", "first_name": "Ann"},
            "result": result,
            "was_cancelled": False,
            "created_at": "2026-03-01T08:30:00.123456Z",
            "updated_at": "2026-03-02T08:30:00.5Z",
            "lead_time": 4.2,
        }
        image = f"/data/upload/1/{number:08x}-{name}"
        tasks.append({"id": number, "data": {"image": image}, "annotations": [annotation], "predictions": []})
    return tasks


def write_studio_files(root: Path, per_label: int = 5) -> Path:
    """Write layout "labelstudio"."""
    tasks = studio_tasks(root, per_label)
    (root / "tasks.json").write_text(json.dumps(tasks))
    return root
