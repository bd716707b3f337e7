"""What a bundle says of itself: artefacts, preprocessing, labels, thresholds, golden vectors, lineage.

A bundle archive (`<sha256>.plb`) is an uncompressed tar that holds `manifest.json` first and then the files it lists.
The bundle's name everywhere (orders, headers, slots) is the SHA-256 of that archive.
"""

from __future__ import annotations

import unicodedata
from enum import Enum
from typing import Annotated

import msgspec

from contract.bounds import Count, Moment
from contract.errors import BadBundle
from contract.ids import is_digest
from contract.preprocess import PreprocessSpec
from contract.sketches.window import MAX_LABELS

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1
MAX_INPUT_PX = 8192
PIECE_BYTES = 1 << 20
"""Files are hashed in pieces of this size too, so that a download is checked, and taken up again, piece by piece."""


class RuntimeKind(str, Enum):
    """Which runtime loads an artefact."""

    ONNX = "onnx"
    TFLITE = "tflite"


class LabelKind(str, Enum):
    """What a label means for the part: GOOD leads to PASS, DEFECT to REJECT."""

    GOOD = "good"
    DEFECT = "defect"


class OutputKind(str, Enum):
    """What an artefact's output vector is: LOGITS still need a softmax, PROBABILITIES do not.

    INDEPENDENT: a probability a label, of labels that do not exclude each other (a part may have two defects); that of a GOOD
    label is 1 minus the largest of a DEFECT.
    """

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    INDEPENDENT = "independent"


class Label(msgspec.Struct, frozen=True):
    """A class the model names."""

    name: str
    kind: LabelKind


class FileEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of the bundle, by hash. `pieces` are the SHA-256 of each PIECE_BYTES of it, () in older bundles."""

    name: str
    sha256: str
    size_bytes: Count
    pieces: tuple[str, ...] = ()


class Tensor(msgspec.Struct, frozen=True):
    """Where the bytes of a constant tensor lie in a model file, little-endian and contiguous; what a delta is aligned by."""

    file: str
    name: str
    dtype: str
    shape: tuple[Count, ...]
    offset: Count
    size_bytes: Count


class Thresholds(msgspec.Struct, frozen=True):
    """When the local answer stands without REVIEW.

    A prediction of a GOOD label with confidence >= `pass_at` is PASS; of a DEFECT label with confidence >= `reject_at` is
    REJECT; anything else is unsure. Confidence is the share of probability on that *kind* of label for PASS, and on the
    predicted label for REJECT.
    """

    pass_at: float
    reject_at: float
    method: str = "fixed"


class Artefact(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model file that a device runs. `precision` is "fp32", "fp16" or "int8".

    `scheme`: how an int8 one is quantized, "u8s8" (for CPUs) or "s8s8" (symmetric, for TensorRT); "" where that is not known.
    `thresholds`: its own, where they were chosen on its own scores; None: the manifest's.
    `embedding`, `activation_map`: names of further outputs, "" where it has none: f32[1,D], what the last layer sees; and
    f32[1,K,h,w], how much each place of the image speaks for each label.
    """

    file: str
    runtime: RuntimeKind
    precision: str
    output: OutputKind
    scheme: str = ""
    thresholds: Thresholds | None = None
    embedding: str = ""
    activation_map: str = ""


class Golden(msgspec.Struct, frozen=True):
    """Known inputs and the outputs they must give: an .npz with `pixels` u8[N,H,W] or u8[N,H,W,C] and `scores` f32[N,K]."""

    file: str
    max_abs_error: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)]


class Compatibility(msgspec.Struct, frozen=True):
    """Where the bundle may run. Empty means anywhere.

    `machines`: as `uname -m` says, e.g. "aarch64". `runtimes`: least version by package name, e.g. {"onnxruntime": "1.20"}.
    `agent`: the least agent version.
    """

    machines: tuple[str, ...] = ()
    runtimes: dict[str, str] = {}
    agent: str = ""


class Resources(msgspec.Struct, frozen=True):
    """What the bundle takes where it was gated: peak memory above an empty process, and bytes on the disk; 0: not measured."""

    memory_mib: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)] = 0.0
    disk_bytes: Count = 0


class Lineage(msgspec.Struct, frozen=True):
    """Where the model came from (P9)."""

    dataset: str = ""
    recipe: str = ""
    parent: str = ""
    code: str = ""
    gate: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """A bundle's manifest. The first artefact is the one to run; later ones are fallbacks.

    `gate_report` and `model_card` name files of the bundle, "" where there is none.
    """

    name: str
    version: str
    created_at: Moment
    labels: tuple[Label, ...]
    preprocess: PreprocessSpec
    artefacts: tuple[Artefact, ...]
    thresholds: Thresholds
    files: tuple[FileEntry, ...]
    golden: Golden | None = None
    release_counter: Count = 0
    lineage: Lineage = Lineage()
    simulated: bool = False
    manifest_version: int = MANIFEST_VERSION
    tensors: tuple[Tensor, ...] = ()
    compatibility: Compatibility = Compatibility()
    resources: Resources = Resources()
    gate_report: str = ""
    model_card: str = ""

    def guarantees(self, artefact: Artefact) -> bool:
        """Return whether the thresholds' promise is about `artefact`: the manifest's were chosen on the first one's scores."""
        return artefact == self.artefacts[0] or artefact.thresholds is not None

    def thresholds_of(self, artefact: Artefact) -> Thresholds:
        """Return the thresholds that hold for `artefact`'s scores."""
        return artefact.thresholds or self.thresholds


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2)


def decode_manifest(payload: bytes) -> Manifest:
    """Return the manifest in `payload`, checked for what every reader relies on.

    Raises:
        BadBundle: it is no manifest, is of a newer version, or contradicts itself.
    """
    try:
        manifest = msgspec.json.decode(payload, type=Manifest)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadBundle(f"no bundle manifest: {error}") from error
    if manifest.manifest_version != MANIFEST_VERSION:
        raise BadBundle(
            f"manifest version {manifest.manifest_version} is not {MANIFEST_VERSION}", hint="update the agent"
        )
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    names = [entry.name for entry in manifest.files]
    for name in names:
        # A name is a plain file of the archive's top level, so no archive can write outside its slot.
        if not name.isprintable() or name in {"", ".", "..", MANIFEST_NAME} or "/" in name or "\\" in name:
            raise BadBundle(f"'{name[:80]}' is no plain file name")
    if len(set(names)) != len(names):
        raise BadBundle("a file is listed twice")
    for entry in manifest.files:
        if not is_digest(entry.sha256):
            raise BadBundle(f"'{entry.name}' is listed without a SHA-256 in lower-case hex")
        if entry.pieces and (
            len(entry.pieces) != -(-entry.size_bytes // PIECE_BYTES) or not all(map(is_digest, entry.pieces))
        ):
            raise BadBundle(f"'{entry.name}' is listed with {len(entry.pieces)} piece hashes that do not cover it")
    if not manifest.artefacts:
        raise BadBundle("the manifest lists no artefacts")
    needed = [artefact.file for artefact in manifest.artefacts] + ([manifest.golden.file] if manifest.golden else [])
    needed += [file for file in (manifest.gate_report, manifest.model_card) if file]
    for file in needed:
        if file not in names:
            raise BadBundle(f"the manifest needs '{file[:80]}' but does not list it")
    for thresholds in (manifest.thresholds, *(each.thresholds for each in manifest.artefacts if each.thresholds)):
        for value in (thresholds.pass_at, thresholds.reject_at):
            if not 0.0 <= value <= 1.0 + 1e-9:
                raise BadBundle(f"threshold {value} is outside 0..1")
    _check_labels(manifest.labels)
    _check_preprocess(manifest.preprocess)
    _check_tensors(manifest)


def _check_tensors(manifest: Manifest) -> None:
    """Raise BadBundle for a table that points outside its files, or names bytes twice: a delta would follow it."""
    sizes = {entry.name: entry.size_bytes for entry in manifest.files}
    ends: dict[str, int] = {}
    for tensor in manifest.tensors:
        size = sizes.get(tensor.file)
        if size is None or tensor.offset < ends.get(tensor.file, 0) or tensor.offset + tensor.size_bytes > size:
            raise BadBundle(
                f"tensor '{tensor.name[:80]}' lies outside '{tensor.file[:80]}', or overlaps the one before it"
            )
        ends[tensor.file] = tensor.offset + tensor.size_bytes


def _check_labels(labels: tuple[Label, ...]) -> None:
    if not 1 <= len(labels) <= MAX_LABELS:
        raise BadBundle(f"the manifest lists {len(labels)} labels" if labels else "the manifest lists no labels")
    if len({label.name for label in labels}) != len(labels):
        raise BadBundle("a label is listed twice")
    for label in labels:
        if not label.name or any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in label.name):
            raise BadBundle(f"'{label.name[:80]}' is no label that could be shown on one line")


def _check_preprocess(spec: PreprocessSpec) -> None:
    """Raise BadBundle for a spec that `preprocess` would guess at, stumble over or run out of memory with."""
    if not (1 <= spec.height <= MAX_INPUT_PX and 1 <= spec.width <= MAX_INPUT_PX):
        raise BadBundle(f"an input of {spec.height}x{spec.width} is not 1 to {MAX_INPUT_PX} pixels a side")
    if spec.channels not in (1, 3) or spec.layout not in ("NCHW", "NHWC") or spec.dtype not in ("float32", "uint8"):
        raise BadBundle(
            f"no known input: {spec.channels} channels, '{spec.layout[:20]}', '{spec.dtype[:20]}'",
            hint="update the agent",
        )
    if spec.dtype == "uint8":
        return
    if len(spec.mean) != spec.channels or len(spec.std) != spec.channels:
        raise BadBundle(f"{len(spec.mean)} means and {len(spec.std)} stds for {spec.channels} channels")
    if not all(-1e6 <= mean <= 1e6 for mean in spec.mean) or not all(1e-6 <= std <= 1e6 for std in spec.std):
        raise BadBundle("a mean or std that no image could be scaled by")
