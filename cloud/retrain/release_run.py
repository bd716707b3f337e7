"""From a gated training run to a released version."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cloud.drift.held_out import HELD_OUT_NAME
from cloud.registry.blobs import sha256_of
from cloud.registry.bundle import BundleContent
from cloud.registry.catalog import ReleasedVersion, check_version
from cloud.registry.keys import Keys
from cloud.registry.release import Registry, release
from cloud.retrain.run_folder import RunFolder
from contract.errors import RefusedError
from contract.manifest import Artefact, Golden, Lineage, OutputKind, RuntimeKind

BUNDLE_NAME = "inspection"


@dataclass(frozen=True, slots=True)
class RunReleaser:
    """Releases runs into one registry. `runs` keeps a copy of every released run, by version: what a retrain starts from."""

    registry: Registry
    keys: Keys
    runs: Path
    now: Callable[[], float]

    def release(self, run: Path, version: str, override_gate: str = "") -> ReleasedVersion:
        """Release the artefact that a run ships.

        Args:
            run: a run folder, quantized and gated.
            version: a new version name.
            override_gate: why a run that failed its gate, or has none, is released all the same; "" to insist on the gate.
        Raises:
            RefusedError: the gate failed or was never run.
            NotFound, InvalidConfig, BadBundle: as `cloud.registry.release`.
        """
        check_version(version)
        folder = RunFolder(run)
        info, quantized = folder.info(), folder.quantize_report()
        gate_file = run / "gate.json"
        if not override_gate:
            report = folder.gate_report()
            if not report.passed:
                failed = ", ".join(check.name for check in report.checks if not check.passed)
                hint = "mend the model; --override-gate REASON releases it all the same and is on record"
                raise RefusedError(f"{run} failed its gate: {failed}", hint=hint)
        ships = next(a for a in quantized.artefacts if a.file == quantized.ships)
        files = {quantized.ships: run / quantized.ships, "golden.npz": folder.golden}
        if gate_file.exists():
            files["gate.json"] = gate_file
        if (record := folder.held_out()) is not None and record.artefact == sha256_of(run / quantized.ships):
            # Quantized again after the gate: the record is of another model file, and would mislead.
            files[HELD_OUT_NAME] = folder.validation
        content = BundleContent(
            name=BUNDLE_NAME,
            version=version,
            labels=info.labels,
            preprocess=info.preprocess,
            artefacts=(Artefact(quantized.ships, RuntimeKind.ONNX, ships.precision, OutputKind.LOGITS),),
            thresholds=quantized.thresholds,
            files=files,
            golden=Golden("golden.npz", quantized.golden_max_abs_error),
            lineage=Lineage(
                dataset=info.dataset_sha256,
                recipe=hashlib.sha256(msgspec.json.encode(info.recipe)).hexdigest(),
                parent=info.parent,
                code=info.code,
                gate=hashlib.sha256(gate_file.read_bytes()).hexdigest() if gate_file.exists() else "",
            ),
            simulated=info.simulated,
        )
        gate_report = gate_file if gate_file.exists() else None
        released = release(
            content, self.registry, self.keys, self.now(), full_precision=folder.fp32, gate_report=gate_report
        )
        self._keep(run, version)
        return released

    def run_of(self, version: str) -> Path:
        """Return the kept run of a released version."""
        return self.runs / check_version(version)

    def _keep(self, run: Path, version: str) -> None:
        kept = self.run_of(version)
        if kept.exists() or kept.resolve() == run.resolve():
            return
        partial = kept.with_name(f".{kept.name}.tmp")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(run, partial)
        partial.rename(kept)
