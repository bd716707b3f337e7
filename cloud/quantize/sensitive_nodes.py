"""A model's most sensitive nodes in full precision, when rounding all of them costs too much accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from cloud.ports.clock import Clock
from cloud.quantize.debug_report import compare_tensors
from cloud.quantize.exclusion import search_exclusions
from cloud.quantize.int8 import quantize
from cloud.quantize.sweep import Judge, Made
from cloud.retrain.progress import OnProgress, Progress

# Tensors are compared on a few calibration images: the ranking does not change with more.
COMPARED_IMAGES = 8


def exclude_nodes(
    made: Made,
    tensors: Sequence[NDArray[Any]],
    judge: Judge,
    allowed: float,
    clock: Clock,
    within_s: float,
    on_progress: OnProgress,
) -> tuple[Made, str]:
    """Return `made` with the fewest nodes found in full precision that lose no more than `allowed`, and "".

    Where none is found: `made` as it was, and why in words.
    """
    scheme = made.prepared.scheme.value
    named = compare_tensors(made.prepared, made.model, tensors[:COMPARED_IMAGES], scheme).nodes
    # What is in full precision anyway wins nothing by being left out.
    ranked = [node for node in named if node not in made.prepared.floats]
    reference = judge.reference_accuracy()

    def lost(nodes: tuple[str, ...]) -> float:
        return reference - judge.accuracy(quantize(made.prepared, made.ranges, nodes))

    def say(tried: int, nodes: tuple[str, ...], value: float) -> None:
        text = f"{scheme}: {len(nodes)} nodes in full precision lose {value:.4f}"
        on_progress(Progress("exclude nodes", min(tried, 2 * len(ranked)), 2 * len(ranked), text))

    found = search_exclusions(ranked, lost, allowed, clock=clock, within_s=within_s, always=made.excluded, say=say)
    if not found.is_enough(allowed):
        why = f"{scheme}: no nodes whose exclusion loses at most {allowed:g} were found in {found.tried} tries"
        return made, why + (f", when {within_s:g} s were over" if found.timed_out else "")
    model = quantize(made.prepared, made.ranges, found.excluded)
    return replace(made, model=model, excluded=found.excluded, accuracy=reference - found.lost), ""
