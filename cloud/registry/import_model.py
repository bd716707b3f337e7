"""A third party's model file to a bundle: what it takes and gives is read from the file itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.registry.bundle import BundleContent, build_bundle
from contract.errors import BadModel, InvalidConfig, NotFound
from contract.manifest import Artefact, Golden, Label, LabelKind, OutputKind, RuntimeKind, Thresholds
from contract.preprocess import PreprocessSpec, preprocess

# Names that mean a good part when nobody says which labels do.
GOOD_NAMES = frozenset({"good", "ok", "pass", "free", "normal", "no_defect"})
_GOLDEN_INPUTS = 4
_GOLDEN_TOLERANCE = 0.05  # other processors' kernels round otherwise; measured in scores


@dataclass(frozen=True, slots=True)
class _Model:
    """A model as its runtime describes it. `run` takes the preprocessed tensor and gives f32[K] in steps of `step` (0: fine)."""

    runtime: RuntimeKind
    precision: str
    shape: tuple[int, ...]
    layout: str
    dtype: str
    run: Callable[[NDArray[Any]], NDArray[np.float32]]
    step: float = 0.0


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
) -> tuple[Path, str]:
    """Write a bundle of `model` (.tflite or .onnx) to `out`; return (out, its SHA-256).

    Quantized inputs take raw pixels; float inputs take (pixel / 255 - mean) / std, mean 0 and std 1 unless given. The golden
    vectors are this machine's answers to seeded noise and ramps.

    Args:
        labels_file: one label a line, in the order of the model's scores.
        created_at: Unix seconds, kept in the manifest.
        good: the labels that mean a good part; without any, those named like it ("good", "ok", "pass", "free", ...).
    Raises:
        NotFound: a file is missing.
        BadModel: the model does not load, or is no classifier of one image.
        InvalidConfig: the labels do not fit the model.
    """
    if not model.is_file():
        raise NotFound(f"no model '{model}'", hint="check the path")
    loaded = _load(model)
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
        content = BundleContent(
            name=name or model.stem,
            version=version,
            labels=labels,
            preprocess=spec,
            artefacts=(Artefact(model.name, loaded.runtime, loaded.precision, output),),
            thresholds=thresholds or Thresholds(pass_at=0.9, reject_at=0.5),
            files={model.name: model, golden.name: golden},
            golden=Golden(golden.name, _GOLDEN_TOLERANCE * max(1.0, float(np.abs(scores).max()))),
        )
        return build_bundle(content, out, created_at)


def _spec(model: Path, loaded: _Model, mean: Sequence[float], std: Sequence[float]) -> PreprocessSpec:
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


def _load(model: Path) -> _Model:
    suffix = model.suffix.lower()
    if suffix == ".tflite":
        return _load_tflite(model)
    if suffix == ".onnx":
        return _load_onnx(model)
    raise InvalidConfig(f"'{model.name}' is neither .tflite nor .onnx", hint="export the model to one of the two")


def _load_tflite(model: Path) -> _Model:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise BadModel(f"'{model.name}' needs LiteRT here", hint="pip install 'plumbline-edge[tflite]'") from error
    try:
        interpreter = Interpreter(model_path=str(model), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        raise BadModel(f"'{model.name}' does not load: {_brief(error)}", hint="export the model again") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1:
        raise BadModel(f"'{model.name}' takes {len(inputs)} inputs, not one image")
    taken = np.dtype(inputs[0]["dtype"])
    if taken not in (np.float32, np.uint8, np.int8):
        raise BadModel(f"'{model.name}' takes {taken}", hint="float32, uint8 and int8 inputs are understood")
    scale, zero = outputs[0]["quantization"]

    def run(tensor: NDArray[Any]) -> NDArray[np.float32]:
        # int8 inputs take the same 256 steps as uint8 ones, from -128.
        filled = (tensor.astype(np.int16) - 128).astype(np.int8) if taken == np.int8 else tensor
        interpreter.set_tensor(inputs[0]["index"], filled)
        interpreter.invoke()
        raw = np.asarray(interpreter.get_tensor(outputs[0]["index"]), np.float32).reshape(-1)
        return np.asarray((raw - np.float32(zero)) * np.float32(scale), np.float32) if scale else raw

    shape = tuple(int(each) for each in inputs[0]["shape"])
    dtype = "float32" if taken == np.float32 else "uint8"
    return _Model(RuntimeKind.TFLITE, "fp32" if dtype == "float32" else "int8", shape, "NHWC", dtype, run, float(scale))


def _load_onnx(model: Path) -> _Model:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadModel(f"'{model.name}' does not load: {_brief(error)}", hint="export the model again") from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise BadModel(f"'{model.name}' takes {len(inputs)} inputs, not one image")
    dtypes = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    if inputs[0].type not in dtypes:
        raise BadModel(f"'{model.name}' takes {inputs[0].type}", hint="float32 and uint8 inputs are understood")
    # A batch axis that takes any size is taken as one; other axes must be fixed.
    shape = tuple(1 if i == 0 and not isinstance(n, int) else n for i, n in enumerate(inputs[0].shape))
    if not all(isinstance(each, int) for each in shape):
        raise BadModel(f"'{model.name}' takes {list(shape)}", hint="export it with a fixed height and width")
    layout = "NHWC" if len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3) else "NCHW"
    output, given = session.get_outputs()[0].name, inputs[0].name

    def run(tensor: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(session.run([output], {given: tensor})[0], np.float32).reshape(-1)

    # Operators are named in the file; one that names no quantization is taken for full precision.
    quantized = b"QuantizeLinear" in model.read_bytes()
    return _Model(RuntimeKind.ONNX, "int8" if quantized else "fp32", shape, layout, dtypes[inputs[0].type], run)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
