"""A dataset in counts, for a person."""

from __future__ import annotations

from collections import Counter

import msgspec

from cloud.retrain.dataset_store import StoredDataset
from cloud.retrain.run_records import DatasetEntry, Split


class DatasetSummary(msgspec.Struct, frozen=True):
    """Counts of images. `labels`: by label and split (an image of several labels counts under each); `kinds`: good or defect."""

    name: str
    id: str
    latest: bool
    path: str
    folders: tuple[str, ...]
    images: int
    parts: int
    labels: dict[str, dict[str, int]]
    kinds: dict[str, str]
    splits: dict[str, int]
    sources: dict[str, int]
    labellers: dict[str, int]
    masks: int
    several_labels: int
    warnings: tuple[str, ...]


def summarise(stored: StoredDataset) -> DatasetSummary:
    """Return a dataset's counts."""
    manifest = stored.manifest
    entries = manifest.entries
    labels = {label.name: dict.fromkeys((s.value for s in Split), 0) for label in manifest.labels}
    for entry in entries:
        for name in (entry.label, *entry.also):
            labels[name][entry.split.value] += 1
    return DatasetSummary(
        name=manifest.name,
        id=stored.id,
        latest=stored.latest,
        path=str(stored.path),
        folders=manifest.folders,
        images=len(entries),
        parts=len({e.part for e in entries}),
        labels=labels,
        kinds={label.name: label.kind.value for label in manifest.labels},
        splits=_count([e.split.value for e in entries]),
        sources=_count([e.source for e in entries]),
        labellers=_count([_labeller(e) for e in entries]),
        masks=sum(bool(e.mask) for e in entries),
        several_labels=sum(bool(e.also) for e in entries),
        warnings=manifest.warnings,
    )


def _labeller(entry: DatasetEntry) -> str:
    return entry.labeller or "not known"


def _count(values: list[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
