"""From a gated training run to a released version."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from cloud.drift.held_out import HELD_OUT_NAME
from cloud.quantize.tflite_runner import channels_last
from cloud.registry.blobs import sha256_of
from cloud.registry.bundle import BundleContent
from cloud.registry.catalog import ReleasedVersion, check_version
from cloud.registry.compatibility import compatibility_of
from cloud.registry.keys import Keys
from cloud.registry.model_card import MODEL_CARD_NAME, write_card
from cloud.registry.release import Registry, release
from cloud.registry.resources import measure as measure_memory
from cloud.retrain.judged_files import changed_since, check_judged
from cloud.retrain.run_artefacts import artefacts_of, check_behind
from cloud.retrain.run_card import card_facts
from cloud.retrain.run_folder import RunFolder, publish
from cloud.retrain.run_resources import memory_of
from cloud.retrain.run_tflite import check_tflite, tflite_artefact
from contract.errors import InvalidConfig, RefusedError
from contract.manifest import Artefact, Golden, Lineage

BUNDLE_NAME = "inspection"


@dataclass(frozen=True, slots=True)
class RunReleaser:
    """Releases runs into one registry. `runs` keeps a copy of every released run, by version: what a retrain starts from.

    `measure` tells the memory in MiB that a bundle takes; its answer is kept in the run.
    """

    registry: Registry
    keys: Keys
    runs: Path
    now: Callable[[], float]
    measure: Callable[[BundleContent], float] = measure_memory

    def release(
        self,
        run: Path,
        version: str,
        override_gate: str = "",
        *,
        running: Iterable[str] = (),
        raise_counter: bool = False,
        also: Sequence[str] = (),
        tflite: bool = False,
    ) -> ReleasedVersion:
        """Release the artefact that a run ships, first in its bundle, and what it should carry behind.

        Args:
            run: a run folder, quantized and gated.
            version: a new version name.
            override_gate: why a run that failed its gate, or has none, is released all the same; "" to insist on the gate.
            running: bundles that stations run, from which deltas are made.
            raise_counter: whether no bundle released before may run again where this one was committed (OTA-3).
            also: further artefacts, by scheme, precision or file (cloud.retrain.run_artefacts).
            tflite: whether to release the TFLite artefact instead, by itself (cloud.retrain.run_tflite).
        Raises:
            InvalidConfig: the run has no such artefact, or it lost too much accuracy.
            RefusedError: the gate failed, or would fail the TFLite artefact, or its report is of other files than are there now.
            BadModel: the artefact fails its own golden inputs here.
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
            check_judged(folder, report)
        # A report of other files is no evidence, and travels with nothing.
        gated = gate_file.exists() and not changed_since(folder, folder.gate_report())
        spec, thresholds = info.preprocess, quantized.thresholds
        golden = Golden("golden.npz", quantized.golden_max_abs_error)
        artefacts: tuple[Artefact, ...]
        if tflite:
            if also:
                raise InvalidConfig("a TFLite bundle carries no other artefact", hint="leave --also out")
            artefact, golden, converted = tflite_artefact(folder)
            artefacts, spec, thresholds = (artefact,), channels_last(spec), converted.thresholds
            if not override_gate:
                check_tflite(converted, folder.gate_report())
        else:
            artefacts = artefacts_of(info, quantized, also)
            check_behind(folder, artefacts)
        files = {name: run / name for name in (*(each.file for each in artefacts), golden.file)}
        if gated:
            files[gate_file.name] = gate_file
        if (record := folder.held_out()) is not None and record.artefact == sha256_of(run / artefacts[0].file):
            # Quantized again after the gate: the record is of another model file, and would mislead.
            files[HELD_OUT_NAME] = folder.validation
        content = BundleContent(
            name=BUNDLE_NAME,
            version=version,
            labels=info.labels,
            preprocess=spec,
            artefacts=artefacts,
            thresholds=thresholds,
            files=files,
            golden=golden,
            lineage=Lineage(
                dataset=info.dataset_sha256,
                recipe=hashlib.sha256(msgspec.json.encode(info.recipe)).hexdigest(),
                parent=info.parent,
                code=info.code,
                gate=hashlib.sha256(gate_file.read_bytes()).hexdigest() if gated else "",
            ),
            release_counter=self._counter(version, raise_counter),
            simulated=info.simulated,
            compatibility=compatibility_of(artefacts, files),
            gate_report=gate_file.name if gated else "",
        )
        content = replace(content, memory_mib=memory_of(folder, content, self.measure))
        content = self._with_card(folder, content)
        gate_report = gate_file if gated else None
        # The report for people stays here, by the hash that the card names: no station reads it, each would fetch it.
        report_page = folder.report if gate_report is not None and folder.report.is_file() else None
        released = release(
            content,
            self.registry,
            self.keys,
            self.now(),
            full_precision=folder.fp32,
            gate_report=gate_report,
            report_page=report_page,
            running=running,
        )
        self._keep(run, version)
        return released

    def _counter(self, version: str, raise_it: bool) -> int:
        """Return the release counter of a new version: that of the newest epoch, or the next; a repeated release keeps its own."""
        known = self.registry.catalog.find(version) or self.registry.pending.find_release(version)
        if known is not None:
            return known.release_counter
        every = (*self.registry.catalog.all(), *self.registry.pending.releases())
        return max((each.release_counter for each in every), default=0) + raise_it

    def _with_card(self, run: RunFolder, content: BundleContent) -> BundleContent:
        card = run.root / MODEL_CARD_NAME
        gate = run.gate_report() if content.gate_report else None
        temporary = card.with_suffix(".tmp")
        temporary.write_text(write_card(card_facts(run, content, gate)), "utf-8")
        publish(temporary, card)
        return replace(content, files={**content.files, card.name: card}, model_card=card.name)

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
