"""What a job trains on: its dataset, preprocessing and parent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloud.retrain.dataset import Dataset, FolderSource, join, read_dataset, reload_dataset
from cloud.retrain.job import TrainJob
from cloud.retrain.reviewed import add_reviewed, is_reviewed
from cloud.retrain.run_folder import RunFolder, RunInfo, Split
from cloud.retrain.tensors import choose_spec, native_px
from contract.errors import BadDataset, InvalidConfig
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
    if job.parent is None:
        dataset = _with_reviewed(_read_folder(job, {}), job)
        samples = dataset.of_split(Split.TRAIN)
        spec = choose_spec(samples, job.input_px or native_px(samples), dataset.channels())
        return TrainingInputs(dataset, spec, None)
    parent = RunFolder(Path(job.parent))
    info = parent.info()
    dataset = _with_reviewed(_base_of(job, parent, info), job)
    return TrainingInputs(dataset, info.preprocess, parent)


def _base_of(job: TrainJob, parent: RunFolder, info: RunInfo) -> Dataset:
    manifest = parent.dataset()
    if job.data is None:
        return reload_dataset(manifest, info.labels)
    fresh = _read_folder(job, {e.sha256: e.split for e in manifest.entries})
    known = {label.name for label in info.labels}
    for label in fresh.labels:
        if label.name not in known:
            raise BadDataset(
                f"the parent {parent.root} does not know the label '{label.name}'",
                hint="train a new base model without --parent",
            )
    present = {s.entry.sha256 for s in fresh.samples}
    reviewed = reload_dataset(manifest, info.labels, lambda e: is_reviewed(e) and e.sha256 not in present)
    return join(fresh, reviewed, info.labels)


def _read_folder(job: TrainJob, known_splits: dict[str, Split]) -> Dataset:
    if job.data is None:
        raise InvalidConfig("there are no images to train on", hint="give --data DIR, or --parent RUN")
    source = FolderSource(
        root=Path(job.data),
        layout=job.layout,
        good=job.good,
        suffix=job.suffix,
        exclude=_read_exclude(Path(job.exclude)) if job.exclude else frozenset(),
        part_pattern=job.part_pattern,
        skip_unreadable=job.skip_unreadable,
    )
    return read_dataset(
        source,
        holdout_share=job.holdout_share,
        calibration_share=job.calibration_share,
        seed=job.seed,
        known_splits=known_splits,
    )


def _read_exclude(file: Path) -> frozenset[str]:
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(
            f"cannot read {file}: {getattr(error, 'strerror', None) or error}",
            hint="--exclude wants a text file of paths relative to --data",
        ) from error
    return frozenset(line.strip() for line in lines if line.strip())


def _with_reviewed(dataset: Dataset, job: TrainJob) -> Dataset:
    if job.reviewed is None:
        return dataset
    return add_reviewed(dataset, Path(job.reviewed), drift_share=job.drift_share, seed=job.seed)
