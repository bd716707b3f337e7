"""Which part goes into which split: stratified by label, by part, and the same on every run with the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from cloud.retrain.run_folder import Split


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
