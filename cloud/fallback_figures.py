"""What the fallback service counts, for Prometheus: questions by what became of them, and what waits."""

from __future__ import annotations

from collections.abc import Iterable

from cloud.fallback.service import FallbackService
from cloud.ports.figures import Family, each, one


class FallbackFigures:
    """`cloud.ports.figures.Figures`."""

    def __init__(self, opinions: FallbackService) -> None:
        self._opinions = opinions

    def families(self) -> Iterable[Family]:
        """Return the service's figures."""
        counts, unready = self._opinions.counts, self._opinions.unready
        ends = {fate.value: float(number) for fate, number in counts.fates.items()}
        ends |= {f"refused {cause.name.lower()}": float(number) for cause, number in counts.refused.items()}
        ends["refused unready"] = float(unready)
        what = "Second opinions asked for since the start, by what became of them; refused ones say why."
        yield each("plumbline_cloud_fallback_questions_total", "counter", what, "end", ends)
        what = "Second opinions that wait for an image or for a worker."
        yield one("plumbline_cloud_fallback_waiting", "gauge", what, self._opinions.waiting)
        what = "Batches of second opinions since the start."
        yield one("plumbline_cloud_fallback_batches_total", "counter", what, counts.batches)
