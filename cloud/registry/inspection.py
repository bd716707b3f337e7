"""A bundle for a person to look at: what its manifest says, and the gate's figures that travel in it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cloud.gate.scorecard import GateReport
from cloud.registry.bundle import open_bundle, read_file
from contract.manifest import MANIFEST_NAME, FileEntry, Manifest, Tensor

_MAX_REPORT_BYTES = 16 << 20
_LARGEST = 5


class TensorSummary(msgspec.Struct, frozen=True):
    """The tensor table in short. `covered` is the share of the artefacts' bytes that lie in tensors, 0..1."""

    count: int
    size_bytes: int
    covered: float
    largest: tuple[Tensor, ...]


class GateSummary(msgspec.Struct, frozen=True):
    """The gate's figures. `unreadable` says why there are none although there is a report, else ""."""

    passed: bool = False
    checks: int = 0
    failed: tuple[str, ...] = ()
    images: int = 0
    correct: int = 0
    median_ms: float = 0.0
    unreadable: str = ""


class Inspection(msgspec.Struct, frozen=True):
    """A bundle of which every byte was checked. `gate` is None without a report."""

    digest: str
    size_bytes: int
    manifest: Manifest
    pieces: int
    without_pieces: tuple[str, ...]
    tensors: TensorSummary
    gate: GateSummary | None
    has_model_card: bool
    shares: dict[str, float]


def inspect_bundle(path: Path) -> Inspection:
    """Return what the bundle at `path` is, with every byte of it checked.

    Raises:
        NotFound, BadBundle: as `open_bundle`.
    """
    manifest, digest = open_bundle(path)
    size_bytes = path.stat().st_size
    return Inspection(
        digest=digest,
        size_bytes=size_bytes,
        manifest=manifest,
        pieces=sum(len(entry.pieces) for entry in manifest.files),
        without_pieces=tuple(entry.name for entry in manifest.files if entry.size_bytes and not entry.pieces),
        tensors=_tensors(manifest),
        gate=_gate(path, manifest),
        has_model_card=bool(manifest.model_card),
        shares=_shares(manifest, size_bytes),
    )


def _tensors(manifest: Manifest) -> TensorSummary:
    models = {artefact.file for artefact in manifest.artefacts}
    total = sum(entry.size_bytes for entry in manifest.files if entry.name in models)
    size_bytes = sum(tensor.size_bytes for tensor in manifest.tensors)
    largest = sorted(manifest.tensors, key=lambda tensor: -tensor.size_bytes)[:_LARGEST]
    return TensorSummary(len(manifest.tensors), size_bytes, size_bytes / total if total else 0.0, tuple(largest))


def _gate(path: Path, manifest: Manifest) -> GateSummary | None:
    if not manifest.gate_report:
        return None
    entry = _entry(manifest, manifest.gate_report)
    if entry.size_bytes > _MAX_REPORT_BYTES:
        return GateSummary(unreadable=f"{entry.size_bytes} bytes are too many for a report")
    try:
        report = msgspec.json.decode(read_file(path, manifest.gate_report), type=GateReport)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return GateSummary(unreadable=str(error)[:200])
    card = report.card
    failed = tuple(check.name for check in report.failures())
    return GateSummary(report.passed, len(report.checks), failed, card.base.images, card.base.correct, card.median_ms)


def _shares(manifest: Manifest, size_bytes: int) -> dict[str, float]:
    shares = {entry.name: entry.size_bytes / size_bytes for entry in manifest.files}
    shares[MANIFEST_NAME] = 1 - sum(shares.values())  # with the archive's headers and padding
    return {name: round(share, 4) for name, share in shares.items()}


def _entry(manifest: Manifest, name: str) -> FileEntry:
    return next(entry for entry in manifest.files if entry.name == name)
