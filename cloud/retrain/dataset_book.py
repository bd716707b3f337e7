"""Datasets as the API and the pages tell of them: those that have names, and those that released runs learnt from."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from cloud.registry.catalog import check_version
from cloud.retrain.dataset_diff import diff_datasets
from cloud.retrain.dataset_store import StoredDataset, dataset_id, list_datasets, open_dataset
from cloud.retrain.dataset_summary import summarise
from cloud.retrain.run_folder import RunFolder

MAX_CHANGES = 500
"""Of each kind; a person who wants all of them asks `plumbline-cloud dataset diff --json`."""


@dataclass(frozen=True, slots=True)
class DatasetBook:
    """The datasets in `folder`, and the runs kept in `runs`. Thread-safe."""

    folder: Path
    runs: Path
    _runs_read: dict[str, dict[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def all(self) -> list[dict[str, Any]]:
        """Return the counts of every dataset, by name and age (`DatasetSummary`).

        Raises:
            BadDataset: one is damaged.
        """
        return [_told(stored) for stored in list_datasets(self.folder)]

    def get(self, reference: str) -> dict[str, Any]:
        """Return the counts of NAME, or NAME@PREFIX.

        Raises:
            NotFound: there is none.
            BadDataset: it is damaged.
        """
        return _told(open_dataset(reference, self.folder))

    def diff(self, before: str, after: str) -> dict[str, Any]:
        """Return what changed: how many images of each kind of change, and the first `MAX_CHANGES` of them. Raises: as `get`."""
        found = diff_datasets(open_dataset(before, self.folder).manifest, open_dataset(after, self.folder).manifest)
        kinds = ("added", "removed", "relabelled", "moved", "masked")
        changes: dict[str, Any] = {kind: msgspec.to_builtins(getattr(found, kind)[:MAX_CHANGES]) for kind in kinds}
        counts = {kind: len(getattr(found, kind)) for kind in kinds}
        return {"before": before, "after": after, "same": found.same, "counts": counts, **changes}

    def of_version(self, version: str) -> dict[str, Any]:
        """Return the counts of what a released version learnt from.

        Raises:
            NotFound: its run is not kept here.
            BadDataset: it is damaged.
        """
        with self._lock:
            if version not in self._runs_read:
                # A kept run never changes.
                run = RunFolder(self.runs / check_version(version))
                info, manifest = run.info(), run.dataset()
                # A run's dataset.json leaves out what its run.json says.
                manifest = msgspec.structs.replace(manifest, name=info.dataset.partition("@")[0], labels=info.labels)
                stored = StoredDataset(run.root / "dataset.json", dataset_id(manifest)[:12], manifest)
                self._runs_read[version] = _told(stored)
            return self._runs_read[version]


def _told(stored: StoredDataset) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(summarise(stored))
    # Where it lies on the server's disk is nobody's business over HTTP.
    return {name: value for name, value in told.items() if name not in ("path", "folders")}
