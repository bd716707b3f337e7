"""Which part goes into which split: stratified by label, by part, and the same on every run with the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from cloud.retrain.run_records import DatasetManifest, Split
from contract.errors import BadDataset

# Of two splits that a part is known to be in, the one that keeps more from training holds.
_STRICTEST = (Split.HOLDOUT, Split.DRIFT, Split.CALIBRATION, Split.TRAIN)


def split_parts(
    label_of_part: Mapping[str, str], shares: Sequence[tuple[Split, float]], rest: Split, seed: int
) -> dict[str, Split]:
    """Return the split of each part.

    Parts of a label are ordered by a hash of the part and the seed, so one more image moves at most the parts at the borders.

    Args:
        label_of_part: the label that each part is stratified under.
        shares: how much of each label goes to which split, in order; the rest goes to `rest`. A share above 0 takes at least
            one part of every label that has three or more.
        seed: another seed gives another split.
    """
    by_label: dict[str, list[str]] = {}
    for part, label in label_of_part.items():
        by_label.setdefault(label, []).append(part)
    split: dict[str, Split] = {}
    for parts in by_label.values():
        ordered = sorted(parts, key=lambda part: hashlib.sha256(f"{seed}/{part}".encode()).digest())
        start = 0
        for name, share in shares:
            count = round(len(ordered) * share)
            if share > 0 and len(ordered) >= 3:
                count = max(1, count)
            for part in ordered[start : start + count]:
                split[part] = name
            start += count
        for part in ordered[start:]:
            split[part] = rest
    return split


def rarest_label_of(labels_of: Sequence[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Return for each part the label that the fewest parts have, of all that its images have: what it is stratified under.

    Args:
        labels_of: (part, labels) of each image.
    """
    of_part: dict[str, set[str]] = {}
    for part, labels in labels_of:
        of_part.setdefault(part, set()).update(labels)
    counts: dict[str, int] = {}
    for names in of_part.values():
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return {part: min(names, key=lambda name: (counts[name], name)) for part, names in of_part.items()}


def given_splits(given: Sequence[tuple[str, Split | None]]) -> dict[str, Split]:
    """Return the split of each part that a person gave one.

    Args:
        given: (part, split) of each image; None: not said.
    Raises:
        BadDataset: a part was put into two.
    """
    chosen: dict[str, Split] = {}
    for part, split in given:
        if split is not None and chosen.setdefault(part, split) is not split:
            raise BadDataset(
                f"part '{part}' is put into {chosen[part].value} and {split.value}", hint="a part is in one split"
            )
    return chosen


def strictest_splits(known: Sequence[tuple[str, Split | None]]) -> dict[str, Split]:
    """Return the split of each part that an earlier dataset knows, the one that keeps most from training where it knows two."""
    chosen: dict[str, Split] = {}
    for part, split in known:
        if split is not None:
            chosen[part] = min(chosen.get(part, split), split, key=_STRICTEST.index)
    return chosen


def with_known_splits(manifest: DatasetManifest, known: Mapping[str, Split]) -> DatasetManifest:
    """Return a dataset whose parts stay where an earlier one has them.

    Args:
        known: splits by content hash; a part of which an image is known goes there as a whole.
    """
    earlier = strictest_splits([(e.part, known.get(e.sha256)) for e in manifest.entries])
    entries = tuple(msgspec.structs.replace(e, split=earlier.get(e.part, e.split)) for e in manifest.entries)
    return msgspec.structs.replace(manifest, entries=entries)
