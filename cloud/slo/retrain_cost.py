"""What a retrain took, and what it won back."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class _Slice(msgspec.Struct, frozen=True):
    images: int = 0
    correct: int = 0


class _Card(msgspec.Struct, frozen=True):
    drift: _Slice | None = None


class _Gate(msgspec.Struct, frozen=True):
    card: _Card | None = None
    incumbent_card: _Card | None = None


class _Train(msgspec.Struct, frozen=True):
    seconds: float = 0.0
    device: str = ""
    world_size: int = 1


class _Figures(msgspec.Struct, frozen=True):
    """Of a retrain's figures (`cloud.retrain.pipeline`) what is of interest here."""

    labels: int = 0
    train: _Train | None = None
    gate: _Gate | None = None


@dataclass(frozen=True, slots=True)
class RetrainCost:
    """`gpu_minutes` and `cpu_minutes` of training, of all its processes; `labels` that people gave; `points` of accuracy on the
    drifted images that the candidate had over the incumbent, None where the gate could not tell."""

    gpu_minutes: float
    cpu_minutes: float
    labels: int
    points: float | None

    @property
    def minutes_per_point(self) -> float | None:
        """Minutes of training for each point that was won back, None where none was."""
        if self.points is None or self.points <= 0:
            return None
        return (self.gpu_minutes + self.cpu_minutes) / self.points


def retrain_cost(figures: str) -> RetrainCost:
    """Return what the figures of a retrain, JSON, come to; those of another version, or of one that failed early, say less."""
    try:
        found = msgspec.json.decode(figures, type=_Figures)
    except msgspec.DecodeError:
        found = _Figures()
    train = found.train or _Train()
    minutes = train.seconds * max(train.world_size, 1) / 60.0
    on_gpu = train.device.startswith("cuda")
    return RetrainCost(minutes if on_gpu else 0.0, 0.0 if on_gpu else minutes, found.labels, _points(found.gate))


def _points(gate: _Gate | None) -> float | None:
    if gate is None or gate.card is None or gate.incumbent_card is None:
        return None
    after, before = gate.card.drift, gate.incumbent_card.drift
    if after is None or before is None or not after.images or not before.images:
        return None
    return (after.correct / after.images - before.correct / before.images) * 100.0
