"""A bundle as lines of text: a name column, then the facts."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from cloud.registry.compatibility import needs_in_words
from cloud.registry.inspection import GateSummary, Inspection
from contract.manifest import Manifest

_LABELS = 8
_NAME = 48


def inspection_lines(found: Inspection) -> list[str]:
    """Return the lines that `bundle inspect` prints."""
    return [f"{name:<12}{_one_line(text)}" for name, text in _rows(found)]


def _rows(found: Inspection) -> Iterator[tuple[str, str]]:
    manifest = found.manifest
    spec, thresholds = manifest.preprocess, manifest.thresholds
    labels = [f"{label.name} ({label.kind.value})" for label in manifest.labels]
    more = f" and {len(labels) - _LABELS} more" if len(labels) > _LABELS else ""
    yield "bundle", f"{found.digest}  {found.size_bytes} bytes, whole"
    simulated = "  trained on simulated images" if manifest.simulated else ""
    yield "model", f"{manifest.name} {manifest.version}{simulated}"
    yield "input", f"{spec.height} x {spec.width} x {spec.channels} {spec.dtype} {spec.layout}"
    yield "labels", f"{', '.join(labels[:_LABELS])}{more}"
    yield "thresholds", f"pass at {thresholds.pass_at:g}, reject at {thresholds.reject_at:g} ({thresholds.method})"
    for artefact in manifest.artefacts:
        yield (
            "artefact",
            f"{artefact.file}: {artefact.runtime.value}, {artefact.precision}, {artefact.output.value}",
        )
    for entry in manifest.files:
        share = found.shares[entry.name]
        count = len(entry.pieces)
        pieces = f"{count} piece{'' if count == 1 else 's'}" if count else "no pieces"
        yield "file", f"{entry.name}  {entry.size_bytes} bytes ({share:.1%})  {pieces}  {entry.sha256[:12]}"
    yield from _tensor_rows(found)
    yield from _need_rows(manifest)
    if manifest.golden is None:
        yield "golden", "none: a station can only check that the bundle loads"
    else:
        yield "golden", f"{manifest.golden.file}, scores may be {manifest.golden.max_abs_error:g} off"
    yield "gate", _gate(found.gate)
    yield "card", manifest.model_card or "none"
    if manifest.release_counter:
        yield "counter", f"release counter {manifest.release_counter}"
    for name, value in msgspec.structs.asdict(manifest.lineage).items():
        if value:
            yield "lineage", f"{name} {value}"


def _tensor_rows(found: Inspection) -> Iterator[tuple[str, str]]:
    tensors = found.tensors
    if not tensors.count:
        yield "tensors", "no table: a delta to this bundle is larger"
        return
    yield "tensors", f"{tensors.count} of {tensors.size_bytes} bytes, {tensors.covered:.0%} of the model files"
    for tensor in tensors.largest:
        shape = " x ".join(map(str, tensor.shape)) or "scalar"
        yield "", f"{_short(tensor.name)}  {tensor.dtype} {shape}  {tensor.size_bytes} bytes at {tensor.offset}"


def _need_rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    needs, resources = manifest.compatibility, manifest.resources
    parts = [f"machines {', '.join(needs.machines) or 'any'}", *needs_in_words(needs)]
    yield "needs", "; ".join(parts)
    memory = f"{resources.memory_mib:g} MiB of memory above an empty process" if resources.memory_mib else ""
    disk = f"{resources.disk_bytes} bytes on the disk" if resources.disk_bytes else ""
    yield "takes", ", ".join(each for each in (memory, disk) if each) or "not measured"


def _gate(gate: GateSummary | None) -> str:
    if gate is None:
        return "no report in it"
    if gate.unreadable:
        return f"its report cannot be read: {gate.unreadable}"
    share = f"{gate.correct} of {gate.images} held-back images right, {gate.median_ms:g} ms an image"
    if gate.passed:
        return f"passed {gate.checks} checks; {share}"
    return f"FAILED {len(gate.failed)} of {gate.checks} checks ({', '.join(gate.failed)}); {share}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"...{name[3 - _NAME :]}"  # names end in what tells them apart


def _one_line(text: str) -> str:
    """Return `text` without what a terminal would obey: names come from outside."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
