"""What a job trains on: its dataset, preprocessing and parent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from cloud.retrain.dataset import Dataset, FolderSource, join, read_dataset, reload_dataset
from cloud.retrain.dataset_store import DEFAULT_FOLDER, open_dataset
from cloud.retrain.job import TrainJob
from cloud.retrain.layouts.found import read_exclude
from cloud.retrain.parent_recipe import recipe_of_child
from cloud.retrain.reviewed import add_reviewed, is_reviewed
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import Head, RunInfo, Split
from cloud.retrain.splits import with_known_splits
from cloud.retrain.tensors import choose_spec, native_px
from contract.errors import BadDataset, InvalidConfig
from contract.manifest import LabelKind
from contract.preprocess import PreprocessSpec


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """A dataset, how its images become tensors, and the run to start from."""

    dataset: Dataset
    spec: PreprocessSpec
    parent: RunFolder | None


def read_inputs(job: TrainJob) -> TrainingInputs:
    """Return what `job` trains on.

    With a parent, its labels, preprocessing and splits hold, and its reviewed images stay in the dataset.

    Raises:
        BadDataset, InvalidConfig, NotFound: something the job names cannot be used.
    """
    if job.data is not None and job.dataset is not None:
        raise InvalidConfig("both --data and --dataset are given", hint="give one of them")
    if job.parent is None:
        dataset = _with_reviewed(_read_base(job, {}), job)
        _check_head(dataset, job)
        samples = dataset.of_split(Split.TRAIN)
        spec = choose_spec(samples, job.input_px or native_px(samples), dataset.channels())
        return TrainingInputs(dataset, spec, None)
    parent = RunFolder(Path(job.parent))
    info = parent.info()
    # A child has its parent's head, whether or not that is given again.
    job = msgspec.structs.replace(job, recipe=recipe_of_child(job.recipe, info.recipe))
    dataset = _with_reviewed(_base_of(job, parent, info), job)
    _check_head(dataset, job)
    return TrainingInputs(dataset, info.preprocess, parent)


def _base_of(job: TrainJob, parent: RunFolder, info: RunInfo) -> Dataset:
    manifest = parent.dataset()
    if job.data is None and job.dataset is None:
        return reload_dataset(manifest, info.labels)
    fresh = _read_base(job, {e.sha256: e.split for e in manifest.entries})
    _check_labels(fresh, parent, info, whole=job.dataset is not None)
    present = {s.entry.sha256 for s in fresh.samples}
    reviewed = reload_dataset(manifest, info.labels, lambda e: is_reviewed(e) and e.sha256 not in present)
    return join(fresh, reviewed, info.labels)


def _check_labels(fresh: Dataset, parent: RunFolder, info: RunInfo, *, whole: bool) -> None:
    """Check that the parent's answers mean the images' labels. `whole`: a label that no image has is a fault too."""
    known = {label.name: label.kind for label in info.labels}
    new = {label.name: label.kind for label in fresh.labels}
    unknown, missing = sorted(new.keys() - known.keys()), sorted(known.keys() - new.keys())
    if unknown or (whole and missing):
        lack = f"; no image is labelled {_quoted(missing)}" if missing else ""
        subject = f"the parent {parent.root} does not know the label {_quoted(unknown)}{lack}"
        if not unknown:
            subject = f"the parent {parent.root} knows more labels than the dataset{lack}"
        raise BadDataset(subject, hint="train a new base model without --parent")
    # A folder's labels are good by their names or by --good, which need not be given again: the parent's kinds hold.
    turned = sorted(name for name in new if new[name] is not known[name]) if whole else []
    if turned:
        raise BadDataset(
            f"to the parent {parent.root} {_quoted(turned)} means a {known[turned[0]].value} part, to the dataset "
            f"a {new[turned[0]].value} one",
            hint="make the dataset again with the parent's --good",
        )


def _quoted(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"'{name}'" for name in names[:3]) + more


def _check_head(dataset: Dataset, job: TrainJob) -> None:
    """Check that the head can learn what the labels say."""
    head = job.recipe.head
    several = [s.entry for s in dataset.samples if s.entry.also]
    if several and head is not Head.MULTI:
        first = several[0]
        raise BadDataset(
            f"{first.file} has the labels {_quoted([first.label, *first.also])}, as have {len(several) - 1} more images several",
            hint="use --head multi, or give each image one label",
        )
    good = {label.name for label in dataset.labels if label.kind is LabelKind.GOOD}
    marked = any(s.mask for s in dataset.of_split(Split.TRAIN) if s.entry.label not in good)
    if head is Head.SEGMENT and not marked:
        raise BadDataset(
            "no defect of the training images has a mask, which --head segment learns from",
            hint="name the mask files' ending with --masks, give labels with boxes or polygons, or use --head single",
        )


def _read_base(job: TrainJob, known_splits: dict[str, Split]) -> Dataset:
    if job.dataset is not None:
        stored = open_dataset(job.dataset, Path(DEFAULT_FOLDER))
        manifest = with_known_splits(stored.manifest, known_splits)
        return reload_dataset(manifest, manifest.labels)
    if job.data is None:
        raise InvalidConfig("there are no images to train on", hint="give --data DIR, --dataset NAME, or --parent RUN")
    source = FolderSource(
        root=Path(job.data),
        layout=job.layout,
        good=job.good,
        suffix=job.suffix,
        exclude=read_exclude(Path(job.exclude)) if job.exclude else frozenset(),
        part_pattern=job.part_pattern,
        skip_unreadable=job.skip_unreadable,
        masks=job.masks,
        draw_masks=job.recipe.head is Head.SEGMENT,
        background=job.good[0] if job.good else "good",
    )
    return read_dataset(
        source,
        holdout_share=job.holdout_share,
        calibration_share=job.calibration_share,
        seed=job.seed,
        known_splits=known_splits,
    )


def _with_reviewed(dataset: Dataset, job: TrainJob) -> Dataset:
    if job.reviewed is None:
        return dataset
    return add_reviewed(dataset, Path(job.reviewed), drift_share=job.drift_share, seed=job.seed)
