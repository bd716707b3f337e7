"""Training's curves as a picture: loss, accuracy on the calibration split, learning rate."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from cloud.retrain.metrics_log import Metric
from cloud.retrain.run_folder import publish


def plot_training(metrics: Sequence[Metric], file: Path) -> None:
    """Write a PNG of the curves.

    Raises:
        OSError: it cannot be written.
        ImportError: matplotlib is not installed.
    """
    # Here: it takes a second to import, and only the end of a run needs it. Figure without pyplot keeps no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy, rate = figure.subplots(3, 1, sharex=True)
    steps = [m.step for m in metrics]
    loss.plot(steps, [m.loss for m in metrics], linewidth=0.8, color="tab:blue", label="a batch")
    asked = [m for m in metrics if m.calibration_accuracy is not None]
    if asked:
        loss.plot(
            [m.step for m in asked], [m.calibration_loss for m in asked], "o-", color="tab:orange", label="calibration"
        )
        accuracy.plot([m.step for m in asked], [m.calibration_accuracy for m in asked], "o-", color="tab:orange")
    loss.set_ylabel("loss")
    loss.legend(loc="upper right")
    accuracy.set_ylabel("calibration accuracy")
    accuracy.set_ylim(0, 1.02)
    rate.plot(steps, [m.rate for m in metrics], color="tab:green")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    try:
        temporary.write_bytes(buffer.getvalue())
        publish(temporary, file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
