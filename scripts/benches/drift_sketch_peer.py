"""What whylogs and datasketches make of the frames we sketch; run by the peers' Python, not ours.

Takes on stdin {"names", "rows": frames x statistics, "labels", "confidences"}, answers figures: microseconds a frame, bytes of
what is kept of all frames, microseconds a merge of two such.
"""

from __future__ import annotations

import json
import sys
import time

import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]
from datasketches import kll_floats_sketch  # type: ignore[import-not-found]
from whylogs.core import DatasetProfile  # type: ignore[import-not-found]

K = 200
MERGES = 100


def whylogs(names: list[str], rows: list[list[float]], labels: list[str], confidences: list[float]) -> dict[str, float]:
    """A profile of the statistics, the label and the confidence, row by row and from a data frame."""
    dicts = [
        dict(zip(names, row, strict=True)) | {"label": label, "confidence": confidence}
        for row, label, confidence in zip(rows, labels, confidences, strict=True)
    ]
    profile = DatasetProfile()
    begun = time.perf_counter()
    for row in dicts:
        profile.track(row=row)
    row_us = (time.perf_counter() - begun) / len(rows) * 1e6
    frame = pandas.DataFrame(dicts)
    begun = time.perf_counter()
    DatasetProfile().track(pandas=frame)
    frame_us = (time.perf_counter() - begun) / len(rows) * 1e6
    view = profile.view()
    total = view
    begun = time.perf_counter()
    for _ in range(MERGES):
        total = total.merge(view)
    merge_us = (time.perf_counter() - begun) / MERGES * 1e6
    return {
        "whylogs_us_per_frame": row_us,
        "whylogs_batch_us_per_frame": frame_us,
        "whylogs_bytes": len(view.serialize()),
        "whylogs_merge_us": merge_us,
    }


def kll(rows: list[list[float]]) -> dict[str, float]:
    """One KLL sketch of k=200 for each statistic, nothing else."""
    sketches = [kll_floats_sketch(K) for _ in rows[0]]
    begun = time.perf_counter()
    for row in rows:
        for sketch, value in zip(sketches, row, strict=True):
            sketch.update(value)
    us = (time.perf_counter() - begun) / len(rows) * 1e6
    totals = [kll_floats_sketch(K) for _ in rows[0]]
    begun = time.perf_counter()
    for _ in range(MERGES):
        for total, sketch in zip(totals, sketches, strict=True):
            total.merge(sketch)
    merge_us = (time.perf_counter() - begun) / MERGES * 1e6
    size = sum(len(sketch.serialize()) for sketch in sketches)
    return {"kll_us_per_frame": us, "kll_bytes": size, "kll_merge_us": merge_us}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    figures = whylogs(asked["names"], asked["rows"], asked["labels"], asked["confidences"]) | kll(asked["rows"])
    print(json.dumps(figures))
