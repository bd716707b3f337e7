"""How long a batch takes, learnt from those before: what the promise to answer in time rests on."""

from __future__ import annotations

from collections import OrderedDict, deque

_KEPT = 24
_MODELS = 16
# A first guess where nothing was measured: models are measured when they are loaded, so it hardly ever stands.
_UNKNOWN_S = 0.1


class Pace:
    """The latest durations of batches, by model and size. `quantile` (0..1) of them is what a batch is expected to take."""

    def __init__(self, quantile: float = 0.9) -> None:
        self._quantile = quantile
        self._took: OrderedDict[str, dict[int, deque[float]]] = OrderedDict()
        self._known: dict[tuple[str, int], float] = {}

    def note(self, model: str, size: int, took_s: float) -> None:
        """Learn that a batch of `size` images took `took_s`."""
        sizes = self._took.setdefault(model, {})
        self._took.move_to_end(model)
        sizes.setdefault(size, deque(maxlen=_KEPT)).append(took_s)
        while len(self._took) > _MODELS:
            self.forget(next(iter(self._took)))
        self._known = {key: s for key, s in self._known.items() if key[0] != model}

    def forget(self, model: str) -> None:
        """Know nothing of `model` any more: it is measured anew, or was put away."""
        self._took.pop(model, None)
        self._known = {key: s for key, s in self._known.items() if key[0] != model}

    def batch_s(self, model: str, size: int) -> float:
        """Return what a batch of `size` may be expected to take, on the safe side.

        A size that was never measured: in proportion to the next smaller one, which no batch exceeds, else as the next larger one.
        """
        known = self._known.get((model, size))
        if known is None:
            known = self._known[model, size] = self._expect(model, size)
        return known

    def least_s(self, model: str) -> float:
        """Return the least that one image of `model` took: what has not so long left is late already."""
        single = self._took.get(model, {}).get(1)
        return min(single) if single else 0.0

    def _expect(self, model: str, size: int) -> float:
        sizes = self._took.get(model)
        if not sizes:
            return _UNKNOWN_S * size
        smaller = max((each for each in sizes if each <= size), default=0)
        if smaller:
            return self._upper(sizes[smaller]) * size / smaller
        return self._upper(sizes[min(sizes)])

    def _upper(self, took: deque[float]) -> float:
        ordered = sorted(took)
        return ordered[min(int(len(ordered) * self._quantile), len(ordered) - 1)]
