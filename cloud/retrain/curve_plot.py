"""A curve of accuracy over time an image, as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from cloud.retrain.curve import CurvePoint
from cloud.retrain.run_folder import publish

# Told apart by shape as well as by colour.
_MARKS = {
    "as it is": ("*", "black"),
    "pruned": ("o", "tab:blue"),
    "narrower": ("s", "tab:orange"),
    "taught": ("^", "tab:green"),
}


def plot_curve(points: Sequence[CurvePoint], file: Path) -> None:
    """Write a PNG: each network's accuracy over its time an image.

    Raises:
        OSError: it cannot be written.
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for kind, (mark, colour) in _MARKS.items():
        of_kind = sorted((p for p in points if p.kind == kind and p.accuracy is not None), key=lambda p: p.median_ms)
        if of_kind:
            line = "-" if len(of_kind) > 1 else ""
            times, accuracies = [p.median_ms for p in of_kind], [p.accuracy or 0.0 for p in of_kind]
            axes.plot(times, accuracies, f"{mark}{line}", color=colour, label=kind, markersize=9)
        for point in of_kind:
            if kind != "as it is":
                at = (point.median_ms, point.accuracy or 0.0)
                axes.annotate(f"{point.amount:g}", at, textcoords="offset points", xytext=(6, 6))
    axes.set_xlabel("ms an image (one thread, where it was measured)")
    axes.set_ylabel("accuracy of the artefact that ships, on the holdout")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    temporary = file.with_suffix(".tmp")
    temporary.write_bytes(buffer.getvalue())
    publish(temporary, file)
