"""Which training images are pasted from, when a shortcut is looked for: what taught the model a mark carries it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cloud.retrain.reviewed import is_reviewed
from cloud.retrain.run_records import DatasetEntry, Split

_EACH = 60


def pick_donors(entries: Sequence[DatasetEntry], seed: int) -> frozenset[str]:
    """Return the content hashes of up to 60 training images of each label, half of them reviewed ones where there are so many.

    A mark that came with the reviewed images would be lost among the base images that outnumber them.
    """
    generator = np.random.default_rng(seed)
    by_label: dict[str, list[DatasetEntry]] = {}
    for entry in entries:
        if entry.split is Split.TRAIN:
            by_label.setdefault(entry.label, []).append(entry)
    chosen: set[str] = set()
    for _, of in sorted(by_label.items()):
        shuffled = [of[place] for place in generator.permutation(len(of)).tolist()]
        reviewed = [e for e in shuffled if is_reviewed(e)]
        base = [e for e in shuffled if not is_reviewed(e)]
        some = reviewed[: max(_EACH // 2, _EACH - len(base))]
        chosen.update(e.sha256 for e in (*some, *base[: _EACH - len(some)]))
    return frozenset(chosen)
