"""What the output of a run's model is."""

from __future__ import annotations

from cloud.retrain.run_records import Head, RunInfo
from contract.manifest import OutputKind


def output_of(info: RunInfo) -> OutputKind:
    """Return how the scores of a run's exported models are read: several labels at once, or logits of one."""
    return OutputKind.INDEPENDENT if info.recipe.head is Head.MULTI else OutputKind.LOGITS
