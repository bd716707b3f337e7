"""One batch of images to answers, on a worker's thread: whatever one image is or does, the others are answered, and in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cloud.fallback.reading import Reading
from cloud.ports.registry import SecondModel
from contract.decode import Prediction
from contract.errors import BadImage


@dataclass(frozen=True, slots=True)
class Batch:
    """Images to be judged together: the most urgent of them by `due_at`, all of them in about `takes_s`."""

    images: tuple[bytes, ...]
    due_at: float
    takes_s: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A prediction for each image, or why there is none; and for how long images were read that are larger than usual."""

    outcomes: list[Prediction | Exception]
    huge_s: float


@dataclass(frozen=True, slots=True)
class Judging:
    """Judges batches; thread-safe. `decode` makes pixels of an image's bytes, `count` says how many there are without decoding."""

    decode: Callable[[bytes], NDArray[np.uint8]]
    count: Callable[[bytes], int]
    now: Callable[[], float]
    reading: Reading = field(default_factory=Reading)

    def judge(self, model: SecondModel, batch: Batch) -> Judged:
        """Return what the model says of each image. A huge one by which somebody would be late is refused alone."""
        tensors: dict[int, NDArray[np.float32]] = {}
        outcomes: dict[int, Prediction | Exception] = {}
        sizes: dict[int, int] = {}
        huge_s = 0.0
        for place, image in enumerate(batch.images):
            try:
                sizes[place] = self.count(image)
            except Exception as error:  # noqa: BLE001 - as below
                outcomes[place] = error
        # The smallest first: whoever is refused for want of time is the one that takes it.
        for place in sorted(sizes, key=lambda each: sizes[each]):
            is_huge = self.reading.is_huge(sizes[place])
            try:
                if is_huge:
                    self._check_time(sizes[place], batch)
                began_s = self.now()
                tensors[place] = model.tensor(self.decode(batch.images[place]))
            except Exception as error:  # noqa: BLE001 - whatever one image makes a decoder raise is that one's trouble alone
                outcomes[place] = error
                continue
            took_s = self.now() - began_s
            self.reading.note(sizes[place], took_s)
            huge_s += took_s if is_huge else 0.0
        outcomes |= predict(model, tensors)
        return Judged([outcomes[place] for place in range(len(batch.images))], huge_s)

    def _check_time(self, pixels: int, batch: Batch) -> None:
        needs_s, left_s = self.reading.expect_s(pixels), batch.due_at - self.now()
        if needs_s + batch.takes_s > left_s:
            size, left = f"{pixels / 1e6:.0f} megapixels", f"{max(left_s, 0.0):.2g} s"
            raise BadImage(f"{size} take about {needs_s:.2g} s to read, and {left} are left", hint="scale it down")


def predict(model: SecondModel, tensors: dict[int, NDArray[np.float32]]) -> dict[int, Prediction | Exception]:
    """Return what the model says of each; what breaks a batch is found by asking one by one."""
    if not tensors:
        return {}
    try:
        if model.batches or len(tensors) == 1:
            return dict(zip(tensors, model.predict(np.concatenate(list(tensors.values()))), strict=True))
    except Exception as error:  # noqa: BLE001 - a model's failure is one answer's, and never the worker's
        if len(tensors) == 1:
            return dict.fromkeys(tensors, error)
    return {key: found for place in tensors for key, found in predict(model, {place: tensors[place]}).items()}
