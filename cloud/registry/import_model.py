"""A third party's model file to a bundle: what it takes and gives is read from the file itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud.registry.bundle import BundleContent, build_bundle
from cloud.registry.card_facts import ArtefactNote, CardFacts
from cloud.registry.compatibility import compatibility_of
from cloud.registry.model_card import MODEL_CARD_NAME, write_card
from cloud.registry.model_file import LoadedModel, load_model
from contract.errors import BadModel, InvalidConfig, NotFound
from contract.manifest import Artefact, Golden, Label, LabelKind, OutputKind, Thresholds
from contract.preprocess import PreprocessSpec, preprocess

# Names that mean a good part when nobody says which labels do.
GOOD_NAMES = frozenset({"good", "ok", "pass", "free", "normal", "no_defect"})
_GOLDEN_INPUTS = 8
_GOLDEN_TOLERANCE = 0.05  # other processors' kernels round otherwise; measured in scores


def import_model(
    model: Path,
    labels_file: Path,
    out: Path,
    created_at: float,
    *,
    name: str = "",
    version: str = "1",
    good: Sequence[str] = (),
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    thresholds: Thresholds | None = None,
    measure: Callable[[BundleContent], float] | None = None,
) -> tuple[Path, str]:
    """Write a bundle of `model` (.tflite or .onnx) to `out`; return (out, its SHA-256).

    Quantized inputs take raw pixels; float inputs take (pixel / 255 - mean) / std, mean 0 and std 1 unless given. The golden
    vectors are this machine's answers to seeded noise and ramps.

    Args:
        labels_file: one label a line, in the order of the model's scores.
        created_at: Unix seconds, kept in the manifest.
        good: the labels that mean a good part; without any, those named like it ("good", "ok", "pass", "free", ...).
        measure: tells the memory in MiB that a bundle takes (`cloud.registry.resources.measure`); None: it is not stated.
    Raises:
        NotFound: a file is missing.
        BadModel: the model does not load, or is no classifier of one image.
        InvalidConfig: the labels do not fit the model.
    """
    if not model.is_file():
        raise NotFound(f"no model '{model}'", hint="check the path")
    loaded = load_model(model)
    spec = _spec(model, loaded, mean, std)
    images = _golden_images(spec)
    scores = np.stack([loaded.run(preprocess(image, spec)) for image in images])
    if not np.isfinite(scores).all():
        raise BadModel(f"'{model.name}' answers with NaN", hint="export the model again")
    labels = _labels(labels_file, good, model, scores.shape[1])
    output = OutputKind.PROBABILITIES if _are_probabilities(scores, loaded.step) else OutputKind.LOGITS
    with tempfile.TemporaryDirectory(prefix="plumbline-import-") as scratch:
        golden = Path(scratch) / "golden.npz"
        np.savez_compressed(golden, pixels=images, scores=scores)
        artefacts = (Artefact(model.name, loaded.runtime, loaded.precision, output),)
        files = {model.name: model, golden.name: golden}
        content = BundleContent(
            name=name or model.stem,
            version=version,
            labels=labels,
            preprocess=spec,
            artefacts=artefacts,
            thresholds=thresholds or Thresholds(pass_at=0.9, reject_at=0.5),
            files=files,
            golden=Golden(golden.name, round(_GOLDEN_TOLERANCE * max(1.0, float(np.abs(scores).max())), 4)),
            compatibility=compatibility_of(artefacts, files),
        )
        if measure is not None:
            content = replace(content, memory_mib=measure(content))
        content = _with_card(content, Path(scratch) / MODEL_CARD_NAME, len(images))
        return build_bundle(content, out, created_at)


def _with_card(content: BundleContent, card: Path, golden_inputs: int) -> BundleContent:
    artefact = content.artefacts[0]
    facts = CardFacts(
        name=content.name,
        version=content.version,
        labels=content.labels,
        preprocess=content.preprocess,
        artefacts=content.artefacts,
        thresholds=content.thresholds,
        notes=(
            ArtefactNote(artefact.file, artefact.precision, size_bytes=content.files[artefact.file].stat().st_size),
        ),
        golden_inputs=golden_inputs,
        golden_tolerance=content.golden.max_abs_error if content.golden else 0.0,
        compatibility=content.compatibility,
        memory_mib=content.memory_mib,
    )
    card.write_text(write_card(facts), "utf-8")
    return replace(content, files={**content.files, card.name: card}, model_card=card.name)


def _spec(model: Path, loaded: LoadedModel, mean: Sequence[float], std: Sequence[float]) -> PreprocessSpec:
    if len(loaded.shape) != 4 or loaded.shape[0] != 1:
        raise BadModel(f"'{model.name}' takes {list(loaded.shape)}, not one image", hint="export it for batch size 1")
    height, width, channels = (
        loaded.shape[1:] if loaded.layout == "NHWC" else (loaded.shape[2], loaded.shape[3], loaded.shape[1])
    )
    if channels not in (1, 3):
        raise BadModel(f"'{model.name}' takes {channels} channels", hint="grey or RGB models are understood")
    means, stds = tuple(mean) or (0.0,) * channels, tuple(std) or (1.0,) * channels
    if len(means) != channels or len(stds) != channels or not all(each > 0 for each in stds):
        raise InvalidConfig(
            f"'{model.name}' takes {channels} channels", hint=f"give {channels} means and positive stds"
        )
    return PreprocessSpec(height, width, channels, means, stds, loaded.layout, loaded.dtype)


def _labels(labels_file: Path, good: Sequence[str], model: Path, scores: int) -> tuple[Label, ...]:
    try:
        lines = [line.strip() for line in labels_file.read_text("utf-8").splitlines()]
    except FileNotFoundError as error:
        raise NotFound(f"no labels file '{labels_file}'", hint="one label a line") from error
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"'{labels_file}' cannot be read: {error}", hint="one label a line, UTF-8") from error
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) != scores or not all(lines):
        blank = f", {lines.count('')} of them blank" if "" in lines else ""
        raise InvalidConfig(
            f"'{labels_file}' has {len(lines)} lines{blank}; '{model.name}' gives {scores} scores",
            hint="one label a line, in the order of the scores",
        )
    unknown = sorted(set(good) - set(lines))
    if unknown:
        raise InvalidConfig(f"'{unknown[0]}' is no label of '{labels_file}'", hint="check the spelling")
    labels, taken = [], set[str]()
    for position, text in enumerate(lines):
        is_good = text in good if good else text.lower() in GOOD_NAMES
        # ImageNet has two classes "crane": a label names one score, so the later one says which it is.
        unique = text if text not in taken else f"{text} ({position})"
        taken.add(unique)
        labels.append(Label(unique, LabelKind.GOOD if is_good else LabelKind.DEFECT))
    return tuple(labels)


def _golden_images(spec: PreprocessSpec) -> NDArray[np.uint8]:
    shape = (spec.height, spec.width, spec.channels)
    # Coarse noise: as telling as fine noise, and it compresses.
    cells = (_GOLDEN_INPUTS - 2, -(-spec.height // 8), -(-spec.width // 8), spec.channels)
    coarse = np.random.default_rng(0).integers(0, 256, cells, np.uint8)
    noise = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : spec.height, : spec.width]
    ramp = np.broadcast_to(np.linspace(0, 255, spec.width).astype(np.uint8)[None, :, None], shape)
    grey = np.full(shape, 128, np.uint8)
    return np.stack([*noise, ramp, grey])


def _are_probabilities(scores: NDArray[np.float32], step: float) -> bool:
    # A quantized softmax rounds each of its K outputs by up to half a step, and the sum by K times that.
    slack = 0.02 + 0.5 * scores.shape[1] * step
    return bool((scores >= 0).all() and (scores <= 1.001).all() and (abs(scores.sum(axis=1) - 1) <= slack).all())
