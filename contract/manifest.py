"""What a bundle says of itself: artefacts, preprocessing, labels, thresholds, golden vectors, lineage.

A bundle archive (`<sha256>.plb`) is an uncompressed tar that holds `manifest.json` first and then the files it lists.
The bundle's name everywhere (orders, headers, slots) is the SHA-256 of that archive.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from contract.errors import BadBundle
from contract.preprocess import PreprocessSpec

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1


class RuntimeKind(str, Enum):
    """Which runtime loads an artefact."""

    ONNX = "onnx"
    TFLITE = "tflite"


class LabelKind(str, Enum):
    """What a label means for the part: GOOD leads to PASS, DEFECT to REJECT."""

    GOOD = "good"
    DEFECT = "defect"


class OutputKind(str, Enum):
    """What an artefact's output vector is: LOGITS still need a softmax, PROBABILITIES do not."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"


class Label(msgspec.Struct, frozen=True):
    """A class the model names."""

    name: str
    kind: LabelKind


class FileEntry(msgspec.Struct, frozen=True):
    """A file of the bundle, by hash."""

    name: str
    sha256: str
    size_bytes: int


class Artefact(msgspec.Struct, frozen=True):
    """A model file that a device runs. `precision` is "fp32", "fp16" or "int8"."""

    file: str
    runtime: RuntimeKind
    precision: str
    output: OutputKind


class Thresholds(msgspec.Struct, frozen=True):
    """When the local answer stands without REVIEW.

    A prediction of a GOOD label with confidence >= `pass_at` is PASS; of a DEFECT label with confidence >= `reject_at` is
    REJECT; anything else is unsure. Confidence is the share of probability on that *kind* of label for PASS, and on the
    predicted label for REJECT.
    """

    pass_at: float
    reject_at: float
    method: str = "fixed"


class Golden(msgspec.Struct, frozen=True):
    """Known inputs and the outputs they must give: an .npz with `pixels` u8[N,H,W,C] and `scores` f32[N,K]."""

    file: str
    max_abs_error: float


class Lineage(msgspec.Struct, frozen=True):
    """Where the model came from (P9)."""

    dataset: str = ""
    recipe: str = ""
    parent: str = ""
    code: str = ""
    gate: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """A bundle's manifest. The first artefact is the one to run; later ones are fallbacks."""

    name: str
    version: str
    created_at: float
    labels: tuple[Label, ...]
    preprocess: PreprocessSpec
    artefacts: tuple[Artefact, ...]
    thresholds: Thresholds
    files: tuple[FileEntry, ...]
    golden: Golden | None = None
    release_counter: int = 0
    lineage: Lineage = Lineage()
    simulated: bool = False
    manifest_version: int = MANIFEST_VERSION


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
    except (msgspec.DecodeError, ValueError) as error:
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
        if not name or name in {".", "..", MANIFEST_NAME} or "/" in name or "\\" in name or "\0" in name:
            raise BadBundle(f"'{name[:80]}' is no plain file name")
    if len(set(names)) != len(names):
        raise BadBundle("a file is listed twice")
    if not manifest.labels:
        raise BadBundle("the manifest lists no labels")
    if len({label.name for label in manifest.labels}) != len(manifest.labels):
        raise BadBundle("a label is listed twice")
    if not manifest.artefacts:
        raise BadBundle("the manifest lists no artefacts")
    needed = [artefact.file for artefact in manifest.artefacts] + ([manifest.golden.file] if manifest.golden else [])
    for file in needed:
        if file not in names:
            raise BadBundle(f"the manifest needs '{file}' but does not list it")
    for value in (manifest.thresholds.pass_at, manifest.thresholds.reject_at):
        if not 0.0 <= value <= 1.0 + 1e-9:
            raise BadBundle(f"threshold {value} is outside 0..1")
