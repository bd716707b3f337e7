from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from cloud.retrain.dataset import FolderSource, read_dataset
from cloud.retrain.dataset_diff import diff_datasets
from cloud.retrain.dataset_store import dataset_id, list_datasets, open_dataset, save_dataset
from cloud.retrain.disagreements import Disagreement, Opinion, read_disagreements
from cloud.retrain.run_records import DatasetManifest, Split
from contract.errors import BadDataset, InvalidConfig, NotFound
from tests.cloud.retrain.pictures import write_folders


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> DatasetManifest:
    dataset = read_dataset(FolderSource(write_folders(tmp_path_factory.mktemp("d") / "images", 4)))
    return msgspec.structs.replace(dataset.manifest(), name="tiles", labels=dataset.labels)


def _relabelled(manifest: DatasetManifest, **change: object) -> DatasetManifest:
    first = msgspec.structs.replace(manifest.entries[0], **change)
    return msgspec.structs.replace(manifest, entries=(first, *manifest.entries[1:]))


def test_the_same_content_is_written_once_and_named_by_its_hash(manifest: DatasetManifest, tmp_path: Path) -> None:
    stored = save_dataset(tmp_path, manifest)
    assert stored.path == tmp_path / "tiles" / f"{dataset_id(manifest)[:12]}.json"
    stamp = stored.path.stat().st_mtime_ns
    assert save_dataset(tmp_path, manifest).path.stat().st_mtime_ns == stamp
    assert sorted(f.name for f in (tmp_path / "tiles").iterdir()) == [stored.path.name, "latest"]
    moved = msgspec.structs.replace(manifest, folders=("/elsewhere",), entries=manifest.entries[::-1], warnings=("x",))
    assert dataset_id(moved) == dataset_id(manifest)
    for change in (
        {"label": "stain"},
        {"split": Split.DRIFT},
        {"labeller": "x"},
        {"labelled_at": 1.0},
        {"also": ("stain",)},
    ):
        assert dataset_id(_relabelled(manifest, **change)) != dataset_id(manifest)


def test_a_reference_is_a_path_a_name_or_the_beginning_of_an_id(manifest: DatasetManifest, tmp_path: Path) -> None:
    first = save_dataset(tmp_path, manifest)
    second = save_dataset(tmp_path, _relabelled(manifest, labeller="ann"))
    assert open_dataset("tiles", tmp_path).id == second.id
    assert open_dataset(f"tiles@{first.id[:5]}", tmp_path) == replace(first, latest=False)
    assert open_dataset(str(first.path), Path("nowhere")).manifest == manifest
    assert {(s.id, s.latest) for s in list_datasets(tmp_path)} == {(first.id, False), (second.id, True)}
    for reference in ("tyles", "tiles@ffffffffffff0", "no/such.json", "../tiles", "", "@", "tiles@../x"):
        with pytest.raises(NotFound):
            open_dataset(reference, tmp_path)
    (tmp_path / "tiles" / f"{first.id[:5]}0.json").write_bytes(first.path.read_bytes())
    with pytest.raises(BadDataset, match="several datasets"):
        open_dataset(f"tiles@{first.id[:5]}", tmp_path)


@pytest.mark.parametrize("name", ["", "..", "a/b", "latest", "x.json", ".hidden", "a b", "x" * 65])
def test_a_name_that_is_no_folder_is_refused(name: str, manifest: DatasetManifest, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="is no name"):
        save_dataset(tmp_path, msgspec.structs.replace(manifest, name=name))


def test_a_damaged_dataset_is_named(manifest: DatasetManifest, tmp_path: Path) -> None:
    for change, words in (
        ({"file": "../../etc/passwd"}, "lies outside"),
        ({"mask": "/etc/passwd"}, "lies outside"),
        ({"folder": 3}, "lies in folder 3"),
        ({"label": "dent"}, "none of the dataset's labels"),
    ):
        path = save_dataset(tmp_path, _relabelled(manifest, **change)).path
        with pytest.raises(BadDataset, match=words):
            open_dataset(str(path), tmp_path)
    path.write_text("{")
    with pytest.raises(BadDataset, match="is no dataset"):
        open_dataset(str(path), tmp_path)
    (tmp_path / "tiles" / "latest").write_text("../../x")
    with pytest.raises(BadDataset, match="latest is damaged"):
        open_dataset("tiles", tmp_path)


def test_a_dataset_whose_content_is_no_longer_its_name_is_refused(manifest: DatasetManifest, tmp_path: Path) -> None:
    path = save_dataset(tmp_path, manifest).path
    path.write_bytes(path.read_bytes().replace(b'"stain"', b'"scratch"', 1))
    for reference in ("tiles", str(path)):
        with pytest.raises(BadDataset, match="has changed since it was made"):
            open_dataset(reference, tmp_path)
    path.write_text('{"x":' + "[" * 100_000)
    with pytest.raises(BadDataset, match="is no dataset"):
        open_dataset("tiles", tmp_path)


def test_images_may_be_links_to_where_large_data_lies(tmp_path: Path) -> None:
    data, images = write_folders(tmp_path / "data", 4), tmp_path / "images"
    for file in sorted(data.rglob("*.png")):
        link = images / file.relative_to(data)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    dataset = read_dataset(FolderSource(images))
    kept = save_dataset(tmp_path, msgspec.structs.replace(dataset.manifest(), name="t", labels=dataset.labels))
    assert open_dataset("t", tmp_path).manifest == kept.manifest


def test_disagreements_lie_beside_the_latest_and_go_when_they_are_settled(
    manifest: DatasetManifest, tmp_path: Path
) -> None:
    words = (Opinion(("good",), "ann", 5.0, "line 1"), Opinion(("stain", "dent"), "bob"))
    found = (Disagreement("/images", "a.png", "ab" * 32, words),)
    save_dataset(tmp_path, manifest, found)
    assert read_disagreements(tmp_path / "tiles" / "disagreements.jsonl") == found
    save_dataset(tmp_path, manifest)
    assert read_disagreements(tmp_path / "tiles" / "disagreements.jsonl") == ()


def test_a_difference_names_what_came_went_changed_and_moved(manifest: DatasetManifest) -> None:
    assert diff_datasets(manifest, manifest).is_empty
    a, b, c, d, *rest = manifest.entries
    after = msgspec.structs.replace(
        manifest,
        entries=(
            msgspec.structs.replace(a, label="stain", also=("scratch",)),
            msgspec.structs.replace(b, split=Split.DRIFT),
            msgspec.structs.replace(c, sha256="f" * 64, file="new.png"),
            msgspec.structs.replace(d, mask="m.png", mask_sha256="e" * 64),
            *rest,
        ),
    )
    diff = diff_datasets(manifest, after)
    assert [(x.file, x.before, x.after) for x in diff.relabelled] == [(a.file, a.label, "stain; scratch")]
    assert [(x.file, x.before, x.after) for x in diff.moved] == [(b.file, b.split.value, "drift")]
    assert [(x.file, x.after) for x in diff.added] == [("new.png", c.label)]
    assert [(x.file, x.before) for x in diff.removed] == [(c.file, c.label)]
    assert [x.after for x in diff.masked] == ["e" * 12]
    assert diff.same == len(rest)
