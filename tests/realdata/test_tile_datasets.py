"""Magnetic tiles as a dataset: their masks, and the exposures of one tile that lie in two splits."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from cloud.retrain.dataset import Dataset, FolderSource, NearDuplicates, read_dataset
from cloud.retrain.inputs import read_inputs
from cloud.retrain.job import TrainJob
from cloud.retrain.run_records import Head, Recipe
from cloud.retrain.tensors import to_tensors
from contract.errors import NotFound
from contract.manifest import LabelKind
from contract.preprocess import PreprocessSpec
from scripts.benches.tiles import tile_images

LABELS = ("Blowhole", "Break", "Crack", "Fray", "Free", "Uneven")
pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    try:
        folder = tile_images()
    except NotFound as error:
        pytest.skip(error.one_line())
    # Two kinds of defect and as many good tiles: the whole set takes a minute to read.
    names = {label: sorted(f"{label}/{f.name}" for f in (folder / label).glob("*.jpg")) for label in LABELS}
    left_out = frozenset((*names["Free"][80:], *names["Break"], *names["Fray"], *names["Uneven"]))
    return FolderSource(folder, suffix="jpg", masks="png", exclude=left_out)


@pytest.fixture(scope="module")
def tiles(source: FolderSource) -> Dataset:
    return read_dataset(source, held_bytes=0)


def test_every_tile_has_its_mask_and_a_good_one_an_empty_one(tiles: Dataset) -> None:
    assert {label.name for label in tiles.labels if label.kind is LabelKind.GOOD} == {"Free"}
    assert len(tiles.samples) == 252 and all(
        s.mask is not None and s.entry.mask.endswith(".png") for s in tiles.samples
    )
    some = [s for s in tiles.samples if s.entry.label in ("Blowhole", "Free")][::10]
    spec = PreprocessSpec(96, 96, 1, (0.0,), (1.0,))
    tensors = to_tensors(some, spec, tiles.index_of(), masks=True)
    assert tensors.masks is not None and tensors.masked is not None and bool(tensors.masked.all())
    share = tensors.masks.float().mean((1, 2, 3)).numpy()
    defects = np.array([s.entry.label == "Blowhole" for s in some])
    # A blowhole is small; a quarter's coverage keeps it through the resizing.
    assert (share[defects] > 0).all() and (share[defects] < 0.2).all() and (share[~defects] == 0).all()


def test_exposures_of_one_tile_in_two_splits_are_found_and_can_be_grouped(source: FolderSource, tiles: Dataset) -> None:
    assert "pairs of images in two splits: " in tiles.warnings[-1] and tiles.warnings[-1].count("look alike") == 3
    assert read_dataset(source, near=NearDuplicates.GROUP, held_bytes=0).warnings == ()


def test_the_segment_head_trains_on_them(source: FolderSource, tmp_path: Path) -> None:
    exclude = tmp_path / "exclude.txt"
    exclude.write_text("\n".join(source.exclude))
    job = TrainJob(out=str(tmp_path / "run"), data=str(source.root), suffix="jpg", masks="png", exclude=str(exclude))
    inputs = read_inputs(msgspec.structs.replace(job, recipe=Recipe(head=Head.SEGMENT)))
    assert all(s.mask is not None for s in inputs.dataset.samples)
