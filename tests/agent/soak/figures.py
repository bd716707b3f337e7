"""What a process takes, sampled while it runs, and whether that is flat."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class Taken:
    """One sample, `at_s` seconds after the first. `children_kib` is the memory of the processes it started."""

    at_s: float
    rss_kib: float
    children_kib: float
    threads: float
    descriptors: float
    disk_kib: float


def take(process: psutil.Process, home: Path, at_s: float) -> Taken:
    """Return what `process` takes now, and the disk below `home`."""
    children = 0.0
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            children += child.memory_info().rss
    with process.oneshot():
        return Taken(
            round(at_s, 1),
            process.memory_info().rss / 1024,
            children / 1024,
            process.num_threads(),
            process.num_fds(),
            disk_kib(home),
        )


def disk_kib(folder: Path) -> float:
    """Return the KiB that the files below `folder` take on the disk."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # it was deleted since it was listed
                total += os.lstat(Path(parent, name)).st_blocks * 512
    return total / 1024


@dataclass(frozen=True, slots=True)
class Trend:
    """Of one figure after the warm-up: medians of the first and the last third, and Theil and Sen's slope an hour."""

    early: float
    late: float
    slope_per_hour: float
    most: float

    def rose_by(self) -> float:
        """Return how much higher the last third is."""
        return self.late - self.early


def trends(samples: list[Taken], *, warm_up: float = 0.25) -> dict[str, Trend]:
    """Return the trend of each figure in `samples`, the first `warm_up` of them left out."""
    kept = samples[int(len(samples) * warm_up) :]
    third = max(1, len(kept) // 3)
    found = {}
    for name in ("rss_kib", "children_kib", "threads", "descriptors", "disk_kib"):
        values = [(each.at_s, float(getattr(each, name))) for each in kept]
        slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(values, 2) if b[0] > a[0]]
        found[name] = Trend(
            median(value for _, value in values[:third]),
            median(value for _, value in values[-third:]),
            round(median(slopes) * 3600, 2) if slopes else 0.0,
            max(value for _, value in values),
        )
    return found


def as_json(samples: list[Taken], found: dict[str, Trend], **more: Any) -> dict[str, Any]:
    """Return everything as plain values."""
    return {
        "samples": [asdict(each) for each in samples],
        "trends": {name: asdict(trend) for name, trend in found.items()},
    } | more
