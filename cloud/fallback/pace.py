"""How long a batch takes, learnt from those before: what the promise to answer in time rests on."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

# What a size usually takes is known by many batches; how slow the machine is just now, by the latest few of any size: while it is
# shared with others that changes within a second, and most sizes come by too seldom to tell.
_KEPT, _LATEST = 24, 12
_MODELS = 16
# A first guess where nothing was measured: models are measured when they are loaded, so it hardly ever stands.
_UNKNOWN_S = 0.1


@dataclass(slots=True)
class _Took:
    sizes: dict[int, deque[float]] = field(default_factory=dict)
    latest: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_LATEST))


class Pace:
    """The durations of batches, by model and size. `quantile` (0..1) of the latest is what a batch is expected to take."""

    def __init__(self, quantile: float = 0.95) -> None:
        self._quantile = quantile
        self._took: OrderedDict[str, _Took] = OrderedDict()
        self._known: dict[tuple[str, int, float], float] = {}

    def note(self, model: str, size: int, took_s: float) -> None:
        """Learn that a batch of `size` images took `took_s`."""
        took = self._took.setdefault(model, _Took())
        self._took.move_to_end(model)
        took.sizes.setdefault(size, deque(maxlen=_KEPT)).append(took_s)
        took.latest.append((size, took_s))
        while len(self._took) > _MODELS:
            self.forget(next(iter(self._took)))
        self._forget_expected(model)

    def forget(self, model: str) -> None:
        """Know nothing of `model` any more: it is measured anew, or was put away."""
        self._took.pop(model, None)
        self._forget_expected(model)

    def batch_s(self, model: str, size: int) -> float:
        """Return what a batch of `size` may be expected to take just now, on the safe side.

        A size that was never measured: in proportion to the next smaller one, which no batch exceeds, else as the next larger one.
        """
        return self._expected(model, size, self._quantile)

    def usual_s(self, model: str, size: int) -> float:
        """Return what every other batch of `size` takes just now; sizes that were never measured as in `batch_s`."""
        return self._expected(model, size, 0.5)

    def least_s(self, model: str) -> float:
        """Return the least that one image of `model` took: what has not so long left is late already."""
        took = self._took.get(model)
        return min(took.sizes[1]) if took is not None and 1 in took.sizes else 0.0

    def _expected(self, model: str, size: int, quantile: float) -> float:
        known = self._known.get((model, size, quantile))
        if known is None:
            known = self._known[model, size, quantile] = self._expect(model, size, quantile)
        return known

    def _expect(self, model: str, size: int, quantile: float) -> float:
        took = self._took.get(model)
        if took is None:
            return _UNKNOWN_S * size
        usual = {each: max(_quantile(durations, 0.5), 1e-6) for each, durations in took.sizes.items()}
        slowness = _quantile([took_s / usual[each] for each, took_s in took.latest], quantile)
        smaller = max((each for each in usual if each <= size), default=0)
        return slowness * (usual[smaller] * size / smaller if smaller else usual[min(usual)])

    def _forget_expected(self, model: str) -> None:
        self._known = {key: s for key, s in self._known.items() if key[0] != model}


def _quantile(values: Sequence[float] | deque[float], quantile: float) -> float:
    """Return the nearest rank: the least of `values` that a share `quantile` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * quantile) - 1, 0)]
