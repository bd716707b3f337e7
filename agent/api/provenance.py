"""Where a verdict came from: its model, artefact, thresholds and lineage (P9).

A bundle's slot is collected some updates after it ran, a verdict is kept for longer. So the manifest of every bundle that is
loaded is kept here, a few kilobytes each, with the artefact that was loaded of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from agent.ports.clock import Clock
from contract.errors import BadBundle
from contract.ids import is_digest
from contract.manifest import Manifest, decode_manifest, encode_manifest

_MAX_KEPT = 256
_MAX_LOADS = 64
_MAX_BYTES = 4 << 20


class Load(msgspec.Struct, frozen=True):
    """That an artefact of a bundle was loaded at `at` (Unix seconds)."""

    artefact: str
    at: float


class _Kept(msgspec.Struct, frozen=True):
    manifest: str
    loads: tuple[Load, ...]


class Manifests:
    """Kept manifests, one file a bundle in `folder`; at most 256, those loaded longest ago go first."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    def keep(self, digest: str, manifest: Manifest, artefact: str) -> None:
        """Note that `artefact` of the bundle `digest` was loaded now.

        Raises:
            OSError: the disk refused.
        """
        if not is_digest(digest):
            return  # a bundle of a test or a tool, which no result names by its hash
        kept = self._read(digest)
        loads = (*(kept.loads if kept else ()), Load(artefact, self._clock.now()))[-_MAX_LOADS:]
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{digest}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(_Kept(encode_manifest(manifest).decode(), loads)))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        self._forget_oldest()

    def find(self, digest: str) -> tuple[Manifest, tuple[Load, ...]] | None:
        """Return the bundle's manifest and its loads, oldest first; None when it is not kept."""
        kept = self._read(digest) if is_digest(digest) else None
        if kept is None:
            return None
        try:
            return decode_manifest(kept.manifest.encode()), kept.loads
        except BadBundle:
            return None

    def _read(self, digest: str) -> _Kept | None:
        try:
            path = self._folder / f"{digest}.json"
            return msgspec.json.decode(path.read_bytes(), type=_Kept) if path.stat().st_size <= _MAX_BYTES else None
        except (OSError, msgspec.DecodeError):
            return None

    def _forget_oldest(self) -> None:
        paths = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in paths[:-_MAX_KEPT]:
            path.unlink(missing_ok=True)


def provenance(row: dict[str, Any], manifests: Manifests) -> dict[str, Any]:
    """Return a decision's row, and under `model` everything that is known of what decided it.

    `model` is None where no model decided; otherwise it has the bundle's digest at least, and `known` says whether its
    manifest is still kept.
    """
    shown = {name: value for name, value in row.items() if name != "bundle"}
    digest = str(row["bundle"])
    if not digest:
        return {**shown, "model": None}
    found = manifests.find(digest)
    if found is None:
        return {**shown, "model": {"bundle": digest, "known": False}}
    manifest, loads = found
    name, certain = _artefact_at(manifest, loads, float(row["captured_at"]))
    artefact = next(each for each in manifest.artefacts if each.file == name)
    entry = next(each for each in manifest.files if each.name == name)
    thresholds, lineage = manifest.thresholds_of(artefact), manifest.lineage
    model = {
        "bundle": digest,
        "known": True,
        "name": manifest.name,
        "version": manifest.version,
        "created_at": manifest.created_at,
        "simulated": manifest.simulated,
        "artefact": {
            "file": name,
            "sha256": entry.sha256,
            "runtime": artefact.runtime.value,
            "precision": artefact.precision,
            # False: the bundle has several, and no note of a load before this frame says which of them ran.
            "certain": certain,
        },
        "thresholds": msgspec.to_builtins(thresholds),
        "labels": {label.name: label.kind.value for label in manifest.labels},
        "lineage": msgspec.to_builtins(lineage),
    }
    return {**shown, "model": model}


def _artefact_at(manifest: Manifest, loads: tuple[Load, ...], captured_at: float) -> tuple[str, bool]:
    names = {artefact.file for artefact in manifest.artefacts}
    before = [load.artefact for load in loads if load.at <= captured_at and load.artefact in names]
    if before:
        return before[-1], True
    return manifest.artefacts[0].file, len(manifest.artefacts) == 1
