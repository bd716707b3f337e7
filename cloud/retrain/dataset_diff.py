"""What changed from one dataset to another, by content."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cloud.retrain.run_records import DatasetEntry, DatasetManifest


class Change(msgspec.Struct, frozen=True):
    """One image. `before` and `after` are labels or splits, "" where it was not there."""

    file: str
    sha256: str
    before: str
    after: str


class DatasetDiff(msgspec.Struct, frozen=True):
    """The images of each kind of change, in order of their files. `masked`: those whose mask changed."""

    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    relabelled: tuple[Change, ...]
    moved: tuple[Change, ...]
    masked: tuple[Change, ...]
    same: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not (self.added or self.removed or self.relabelled or self.moved or self.masked)


def diff_datasets(before: DatasetManifest, after: DatasetManifest) -> DatasetDiff:
    """Return what changed; an image that was relabelled and moved stands under both."""
    old = {e.sha256: e for e in before.entries}
    new = {e.sha256: e for e in after.entries}
    both = sorted(((old[h], new[h]) for h in old.keys() & new.keys()), key=lambda pair: pair[1].file)
    relabelled = [(a, b) for a, b in both if {a.label, *a.also} != {b.label, *b.also}]
    moved = [(a, b) for a, b in both if a.split is not b.split]
    masked = [(a, b) for a, b in both if a.mask_sha256 != b.mask_sha256]
    changed = {b.sha256 for _, b in (*relabelled, *moved, *masked)}
    return DatasetDiff(
        added=_sorted(Change(e.file, e.sha256, "", labels_of(e)) for h, e in new.items() if h not in old),
        removed=_sorted(Change(e.file, e.sha256, labels_of(e), "") for h, e in old.items() if h not in new),
        relabelled=_sorted(Change(b.file, b.sha256, labels_of(a), labels_of(b)) for a, b in relabelled),
        moved=_sorted(Change(b.file, b.sha256, a.split.value, b.split.value) for a, b in moved),
        masked=_sorted(Change(b.file, b.sha256, a.mask_sha256[:12], b.mask_sha256[:12]) for a, b in masked),
        same=len(both) - len(changed),
    )


def labels_of(entry: DatasetEntry) -> str:
    """Return an image's labels for a person."""
    return "; ".join((entry.label, *entry.also))


def _sorted(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda c: (c.file, c.sha256)))
