"""Parts labelled after a model was made: they can show the promise that those set aside at its retrain were too few for.

They are fit for it as no others are: the file and its thresholds stood before anybody looked at them, and nothing learnt them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from cloud.quantize.new_look import Look
from cloud.retrain.reviewed import read_reviewed
from cloud.retrain.run_records import DatasetManifest, Split
from cloud.retrain.samples import Sample
from contract.errors import BadDataset
from contract.manifest import Label, LabelKind


def further_parts(folder: Path, manifest: DatasetManifest, labels: Sequence[Label]) -> tuple[Sample, ...]:
    """Return the labelled parts of a reviewed folder that the run has never seen, one image of each.

    Parts of the run's own dataset are left out, those set aside too: a part counts once. Of several images of a part the last
    counts, but for one that shows a defect: a part that has one is no good part by its other side.

    Raises:
        BadDataset: as `read_reviewed`, or none is left.
    """
    names, good = {label.name for label in labels}, {label.name for label in labels if label.kind is LabelKind.GOOD}
    read = read_reviewed(folder, names, frozenset(), len(manifest.folders))
    seen, images = {entry.part for entry in manifest.entries}, {entry.sha256 for entry in manifest.entries}
    # By another name, too: the run has seen a part of which it has an image.
    seen |= {s.entry.part for s in read if s.entry.sha256 in images}
    by_part = dict[str, Sample]()
    for sample in sorted(read, key=lambda s: not good.issuperset((s.entry.label, *s.entry.also))):
        if sample.entry.part not in seen:
            entry = msgspec.structs.replace(sample.entry, split=Split.DRIFT)
            by_part[entry.part] = Sample(sample.image, entry)
    if not by_part:
        raise BadDataset(
            f"{folder} holds no part that is new to the run",
            hint='label parts it was not made with: "part" names one, else the name of its file does',
        )
    return tuple(by_part.values())


def with_further(looks: Sequence[Look], further: Sequence[Sample], tightened: bool) -> tuple[Look, ...]:
    """Return the looks with further parts of the newest one: beside those set aside for it, or by themselves where those made the
    threshold stricter, which was then not fixed before they were seen."""
    newest = next((look for look in looks if look.newest), None)
    earlier = tuple(look for look in looks if not look.newest)
    if newest is not None and tightened:
        return (newest, Look(True, tuple(further), further=True), *earlier)
    return (Look(True, (*(newest.samples if newest is not None else ()), *further)), *earlier)
