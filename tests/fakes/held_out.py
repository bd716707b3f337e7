"""Held-out records by bundle, and a label watch over a test's tables."""

from __future__ import annotations

import numpy as np

from cloud.drift.concept import ConceptPolicy
from cloud.drift.held_out import HeldOut
from cloud.label_watch import LabelWatch
from cloud.ports.labels import FoundHeldOut
from contract.sketches.label_counts import CONFIDENCE_BINS
from tests.fakes.cloud_tables import Tables


class FakeHeldOut:
    """`cloud.ports.labels.HeldOutBook`: what a test says."""

    def __init__(self, records: dict[str, HeldOut] | None = None) -> None:
        self.records = records or {}

    def of(self, bundle: str) -> FoundHeldOut:
        record = self.records.get(bundle)
        return FoundHeldOut(record, "" if record else "its release has no held-out record")


def watch_labels(tables: Tables, records: FakeHeldOut | None = None, policy: ConceptPolicy | None = None) -> LabelWatch:
    """Return a label watch over `tables`."""
    return LabelWatch(
        samples=tables.samples,
        states=tables.answers,
        records=records or FakeHeldOut(),
        alarms=tables.alarms,
        policy=policy,
    )


def record_of(
    artefact: str = "a" * 64, labels: tuple[str, ...] = ("good", "scratch", "dent", "stain"), recall: float = 0.95
) -> HeldOut:
    """Return the record of a model that names 200 images a label right with `recall`, errors spread evenly; logits near 3."""
    right = round(200 * recall)
    others = len(labels) - 1
    cells = [
        (truth, answer, right if truth == answer else (200 - right) // others)
        for truth in range(len(labels))
        for answer in range(len(labels))
    ]
    cells = [cell for cell in cells if cell[2] > 0]
    rng = np.random.Generator(np.random.PCG64(0))
    confidences = []
    for answer in range(len(labels)):
        count = sum(number for _, given, number in cells if given == answer)
        logits = np.clip(rng.normal(3.0, 1.0, count), -7.9, 7.9)
        bins = np.bincount(((logits + 8) * 4).astype(int), minlength=CONFIDENCE_BINS)
        confidences.append(tuple(bins.tolist()))
    return HeldOut(artefact, labels, tuple(cells), tuple(confidences))
