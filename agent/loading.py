"""A loaded bundle, and loading one beside the line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.ports.runtime import Prepare, Runtime
from agent.ports.slots import InstalledBundle
from agent.ports.source import Frame
from contract.decode import Prediction, decode, likeliest_defect
from contract.errors import PlumblineError
from contract.manifest import Artefact, Label, Manifest, Thresholds
from contract.preprocess import PreprocessSpec, preprocess

Load = Callable[[Path, Manifest], tuple[Runtime, Artefact]]
PrepareFor = Callable[[PreprocessSpec], "Prepare | None"]
Evidence = tuple[str, NDArray[np.float32]]
"""A label, and f32[h,w]: how much each place of the frame spoke for it."""


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded bundle. `artefact_sha256` names the file whose outputs are sketched."""

    bundle: InstalledBundle
    runtime: Runtime
    artefact: Artefact
    artefact_sha256: str
    prepare: Prepare | None = None
    """Where preprocessing runs, if not plainly on the CPU."""

    @property
    def guaranteed(self) -> bool:
        """Whether the thresholds were chosen on this artefact's scores: the first one's, or one's that has thresholds of its own.

        A PASS of another one, taken under pressure or because the first does not load here, must not stand.
        """
        return self.bundle.manifest.guarantees(self.artefact)

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds that hold for this artefact's scores."""
        return self.bundle.manifest.thresholds_of(self.artefact)

    def close(self) -> None:
        """Free the model's memory."""
        self.runtime.close()
        if self.prepare is not None:
            self.prepare.close()

    def predict(self, frame: Frame) -> Prediction:
        """Return the prediction for one frame.

        Raises:
            BadModel: the runtime failed, or its scores are no numbers.
            BadImage: the frame's pixels are of no usable shape.
        """
        return decode(self._scores(frame), self.bundle.manifest.labels, self.artefact.output)

    def examine(self, frame: Frame) -> tuple[Prediction, Evidence | None]:
        """Return the prediction for one frame, and where the likeliest defect was seen, named or not; None: the model does not say.

        What speaks for a good part is everywhere, and shows a person nothing. Raises: as `predict`.
        """
        scores, labels = self._scores(frame), self.bundle.manifest.labels
        prediction = decode(scores, labels, self.artefact.output)
        return prediction, evidence_of(self.runtime, scores, labels) if self.artefact.activation_map else None

    def _scores(self, frame: Frame) -> NDArray[np.float32]:
        spec = self.bundle.manifest.preprocess
        return self.runtime.run(self.prepare(frame.pixels) if self.prepare else preprocess(frame.pixels, spec))


def evidence_of(runtime: Runtime, scores: NDArray[np.float32], labels: Sequence[Label]) -> Evidence | None:
    """Return where the last frame, of which are `scores` f32[K], shows its likeliest defect; what it was named, of no defects."""
    place = likeliest_defect(scores, labels)
    index = int(scores.argmax()) if place is None else place
    found = runtime.activation_map(index)
    return None if found is None else (labels[index].name, found)


def passes_less(candidate: Model, incumbent: Model | None, full: Artefact | None) -> bool:
    """Return whether nothing `candidate` passes may stand, where `incumbent` is guaranteed, or would be but for the pressure.

    `full` is the artefact that the incumbent runs when nothing is given up; None while it runs.
    """
    if incumbent is None or candidate.guaranteed:
        return False
    return incumbent.guaranteed or (full is not None and incumbent.bundle.manifest.guarantees(full))


def load_model(
    load: Load,
    bundle: InstalledBundle,
    among: tuple[Artefact, ...] = (),
    *,
    prepare_for: PrepareFor = lambda _spec: None,
) -> Model:
    """Return `bundle` loaded by `load`: its first artefact that loads, or the first `among` these.

    Raises:
        BadModel: no artefact of it loads.
    """
    manifest = bundle.manifest
    if among:
        manifest = msgspec.structs.replace(manifest, artefacts=among)
    runtime, artefact = load(Path(bundle.folder), manifest)
    sha256 = next(entry.sha256 for entry in manifest.files if entry.name == artefact.file)
    return Model(bundle, runtime, artefact, sha256, prepare_for(manifest.preprocess))


class Loading:
    """A model being loaded on a thread of its own."""

    def __init__(self, load: Callable[[], Model]) -> None:
        self.model: Model | None = None
        self.error = ""
        self._load = load
        self._thread = threading.Thread(target=self._work, name="model-loader", daemon=True)
        self._thread.start()

    def done(self) -> bool:
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self.model = self._load()
        except PlumblineError as error:
            self.error = error.one_line()
        except Exception as error:  # noqa: BLE001 - a candidate that breaks its loader is turned down, with its words
            self.error = f"{type(error).__name__}: {error}"
