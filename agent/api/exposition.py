"""Prometheus' text format, version 0.0.4: written by hand, as reading counters needs no library of a registry and locks.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Exposition:
    """Metric families, in the order in which they are added. A value that is not known is not added: absent is not 0."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, what: str, value: float, **labels: str) -> None:
        """Add a family of one sample. `kind` is "counter" or "gauge"; `what` says it in words, with its unit."""
        self.add_all(name, kind, what, [(labels, value)])

    def add_all(self, name: str, kind: str, what: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """Add a family of samples, each with its labels."""
        self._head(name, kind, what)
        self._lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]

    def add_histogram(self, name: str, what: str, bounds: Sequence[float], counts: Sequence[int], total: float) -> None:
        """Add a histogram: `counts[i]` values were at most `bounds[i]` and above the bound before; the last had none."""
        self._head(name, "histogram", what)
        so_far = 0
        for bound, n in zip((*bounds, math.inf), counts, strict=True):
            so_far += n
            self._lines.append(f"{name}_bucket{_labels({'le': _number(bound)})} {so_far}")
        self._lines += [f"{name}_sum {_number(total)}", f"{name}_count {so_far}"]

    def text(self) -> str:
        """Return everything added."""
        return "\n".join(self._lines) + "\n"

    def _head(self, name: str, kind: str, what: str) -> None:
        escaped = what.replace("\\", "\\\\").replace("\n", "\\n")
        self._lines += [f"# HELP {name} {escaped}", f"# TYPE {name} {kind}"]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = (
        (name, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")) for name, value in labels.items()
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
