"""run/metrics.jsonl: how a run learnt, a line at a time, at most about 1,100 of them.

A line is on disk before the checkpoint of its step, and a resumed run drops those after its checkpoint, so that no step
stands there twice and none is missing.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from cloud.retrain.run_folder import publish

_MOST_LINES = 1000


class Metric(msgspec.Struct, frozen=True, omit_defaults=True):
    """One look: after `step` steps. `loss` of that step's batch; `rate`: the learning rate; `images_per_s` since the last line;
    the `calibration_` fields where the calibration split was asked."""

    step: int
    loss: float
    rate: float
    images_per_s: float = 0.0
    calibration_accuracy: float | None = None
    calibration_loss: float | None = None


class MetricsLog:
    """The file of one run. A line that finds no room is left out and counted: figures never stop training."""

    def __init__(self, file: Path, steps: int) -> None:
        self._file = file
        self._every = max(1, -(-steps // _MOST_LINES))
        self.lost = 0

    def begin(self, steps_done: int) -> None:
        """Keep the lines up to `steps_done`: all of a resumed run's past, none of a fresh run's."""
        kept = [metric for metric in read_metrics(self._file) if metric.step <= steps_done]
        temporary = self._file.with_suffix(".jsonl.tmp")
        try:
            temporary.write_bytes(b"".join(msgspec.json.encode(metric) + b"\n" for metric in kept))
            publish(temporary, self._file)
        except OSError:
            temporary.unlink(missing_ok=True)
            self.lost += 1

    def is_due(self, steps_done: int) -> bool:
        """Return whether this step has a line even if nothing was evaluated."""
        return steps_done % self._every == 0

    def add(self, metric: Metric) -> None:
        """Append a line."""
        try:
            with self._file.open("ab") as handle:
                handle.write(msgspec.json.encode(metric) + b"\n")
        except OSError:
            self.lost += 1


def read_metrics(file: Path) -> list[Metric]:
    """Return the lines of a metrics file in order, without any that a kill or a full disk cut short; [] when there is none."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return []
    metrics = []
    for line in lines:
        try:
            metrics.append(msgspec.json.decode(line, type=Metric))
        except msgspec.DecodeError:
            continue
    return metrics
