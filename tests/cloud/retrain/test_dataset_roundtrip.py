from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cloud.retrain.dataset import FolderSource, read_dataset
from cloud.retrain.dataset_export import FORMATS, export_dataset
from cloud.retrain.dataset_store import dataset_id
from cloud.retrain.labels import make_labels
from cloud.retrain.layouts.found import Runs, read_time, write_time
from cloud.retrain.masks import draw, runs_of
from cloud.retrain.run_records import DatasetEntry, DatasetManifest, Split
from contract.errors import BadDataset, InvalidConfig
from contract.manifest import Label, LabelKind
from tests.cloud.retrain.layout_files import PX
from tests.cloud.retrain.pictures import LABELS, picture

LABEL_NAMES = ("good", "scratch", "stain, wet", 'dent "x"', "вмятина")


def _manifest(root: Path, source: FolderSource) -> DatasetManifest:
    dataset = read_dataset(source)
    return msgspec.structs.replace(dataset.manifest(), name="d", labels=dataset.labels)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> DatasetManifest:
    """A dataset with parts, people, times, masks, several labels, odd file names, and files of one name in two folders."""
    root = tmp_path_factory.mktemp("rich")
    mask = np.zeros((PX, PX), np.uint8)
    mask[4:12, 20:33] = 255
    lines = ["file,label,also,part,labeller,labelled_at,mask,split"]
    for n in range(15):
        label = LABELS[n % 3]
        file = f"{'ab'[n % 2]}/{n // 2} #é.png"
        (root / file).parent.mkdir(exist_ok=True)
        Image.fromarray(picture(label, n, PX)).save(root / file)
        also = "stain" if label == "scratch" else ""
        area = ""
        if label != "good":
            area = f"m{n}.png"
            Image.fromarray(mask).save(root / area)
        lines.append(f"{file},{label},{also},p{n // 3},{'ann' if n % 2 else ''},{'17000.25' if n % 2 else ''},{area},")
    (root / "labels.csv").write_text("\n".join(lines), "utf-8")
    return _manifest(root, FolderSource(root, layout="csv"))


def _labels(entries: tuple[DatasetEntry, ...]) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {e.sha256: (e.label, e.also) for e in entries}


@pytest.mark.parametrize("form", ["csv", "yolo", "coco", "labelstudio"])
def test_export_and_make_give_the_same_images_and_labels(form: str, rich: DatasetManifest, tmp_path: Path) -> None:
    assert export_dataset(rich, form, tmp_path / "out") == 15
    again = _manifest(tmp_path, FolderSource(tmp_path / "out", layout=form, draw_masks=True))
    assert _labels(again.entries) == _labels(rich.entries)
    assert again.labels == rich.labels
    if form == "csv":
        assert dataset_id(again) == dataset_id(rich)
    if form == "labelstudio":
        facts = [
            {e.sha256: (e.labeller, e.labelled_at, e.part, e.split) for e in manifest.entries}
            for manifest in (rich, again)
        ]
        assert facts[0] == facts[1]


def test_coco_carries_a_mask_pixel_by_pixel_and_yolo_its_box(rich: DatasetManifest, tmp_path: Path) -> None:
    for form in ("coco", "yolo"):
        export_dataset(rich, form, tmp_path / form)
        dataset = read_dataset(FolderSource(tmp_path / form, layout=form, draw_masks=True))
        for sample in dataset.samples:
            assert (sample.mask is None) == (sample.entry.label == "good")
            if sample.mask is not None:
                area = sample.mask.load()
                assert area[5:11, 21:32].all() and not area[:3].any() and not area[:, :19].any() and not area[14:].any()
                assert form == "yolo" or area.sum() == 8 * 13


def test_folders_carry_one_label_an_image_and_refuse_more(rich: DatasetManifest, tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match=r"has several labels, which folders cannot say"):
        export_dataset(rich, "folders", tmp_path / "no")
    single = msgspec.structs.replace(rich, entries=tuple(msgspec.structs.replace(e, also=()) for e in rich.entries))
    export_dataset(single, "folders", tmp_path / "out")
    again = _manifest(tmp_path, FolderSource(tmp_path / "out"))
    assert _labels(again.entries) == _labels(single.entries)


def test_label_studio_gets_tasks_as_its_import_takes_them(rich: DatasetManifest, tmp_path: Path) -> None:
    export_dataset(rich, "labelstudio", tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    screen = ElementTree.parse(tmp_path / "out" / "labelling.xml")
    choices = {choice.get("value") for choice in screen.iter("Choice")}
    for task in tasks:
        file = unquote(task["data"]["image"].removeprefix("/data/local-files/?d="))
        assert (tmp_path / "out" / file).is_file()
        (annotation,) = task["annotations"]
        # An import that names a person whom Label Studio does not know is refused as a whole.
        assert "completed_by" not in annotation
        (result,) = annotation["result"]
        assert (result["type"], result["from_name"], result["to_name"]) == ("choices", "label", "image")
        assert set(result["value"]["choices"]) <= choices


def test_export_overwrites_nothing_and_copies_no_changed_image(rich: DatasetManifest, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InvalidConfig, match="not empty"):
        export_dataset(rich, "csv", tmp_path / "full")
    first = msgspec.structs.replace(rich.entries[0], sha256="0" * 64)
    with pytest.raises(BadDataset, match="has changed"):
        export_dataset(msgspec.structs.replace(rich, entries=(first,)), "csv", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [], "nothing that looks like a dataset"
    with pytest.raises(InvalidConfig, match="is no format"):
        export_dataset(rich, "xml", tmp_path / "out2")
    assert set(FORMATS) == {"folders", "csv", "yolo", "coco", "labelstudio"}


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", ".", "CON", "nul.txt", "a\nb", "a\0b", "a ", "a.", "", "SCRATCH", "x" * 300]
)
def test_a_label_that_is_no_folders_name_is_written_into_none(name: str, rich: DatasetManifest, tmp_path: Path) -> None:
    entries = tuple(msgspec.structs.replace(e, label="scratch", also=()) for e in rich.entries)
    labels = (*rich.labels, Label(name, LabelKind.DEFECT))
    with pytest.raises(BadDataset, match="cannot be a folder's name"):
        export_dataset(msgspec.structs.replace(rich, entries=entries, labels=labels), "folders", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


_text = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12)
_row = st.tuples(
    st.lists(st.sampled_from(LABEL_NAMES), min_size=1, max_size=3, unique=True),
    _text,
    _text,
    st.none() | st.floats(0, 4e9),
)


@settings(max_examples=12, deadline=None)
@given(st.lists(_row, min_size=2, max_size=4))
def test_a_table_says_again_whatever_a_dataset_says(rows: list[tuple[list[str], str, str, float | None]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        root.mkdir()
        entries = []
        Image.fromarray(picture("good", 1)).save(root / "pixel.png")
        body = (root / "pixel.png").read_bytes()
        # Four images a statement, so that every label has enough; bytes after a PNG's end make another content.
        for n, (labels, part, labeller, at) in enumerate(rows):
            ordered = sorted(labels, key=lambda name: name == "good")
            for copy in range(4):
                data = body + bytes([n, copy])
                (root / f"{n}-{copy}.png").write_bytes(data)
                digest = hashlib.sha256(data).hexdigest()
                entry = DatasetEntry(
                    f"{n}-{copy}.png",
                    0,
                    digest,
                    ordered[0],
                    labeller,
                    "base",
                    Split.TRAIN,
                    part or f"images/{n}-{copy}",
                )
                entries.append(msgspec.structs.replace(entry, also=tuple(ordered[1:]), labelled_at=at))
        names = sorted({name for e in entries for name in (e.label, *e.also)})
        manifest = DatasetManifest((str(root),), tuple(entries), "d", make_labels(names, None))
        export_dataset(manifest, "csv", Path(folder) / "out")
        if len(names) < 2:
            return
        dataset = read_dataset(FolderSource(Path(folder) / "out", layout="csv"))
        again = msgspec.structs.replace(dataset.manifest(), labels=dataset.labels)
        assert dataset_id(again) == dataset_id(manifest)


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_run_lengths_are_the_mask(height: int, width: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits, bool).reshape(height, width)
    counts = runs_of(mask)
    assert sum(counts) == mask.size and all(n > 0 for n in counts[1:])
    assert (draw([Runs(tuple(counts), height, width)], height, width, "") > 0).tolist() == mask.tolist()


@given(st.integers(0, 4_000_000_000_000_000).map(lambda micros: micros / 1e6))
def test_a_time_is_read_as_it_was_written(seconds: float) -> None:
    assert read_time(write_time(seconds), "") == pytest.approx(seconds, abs=1e-6)
    assert read_time(repr(seconds), "") == seconds
