"""An alarm answered: reviewed labels to a training set, then train, quantize, gate, release.

Each step runs in a process of its own, so one that runs out of memory does not take the aggregator with it. Every step's
outcome is on record before the next begins; a restart begins the unfinished retrain again from its labels.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cloud.ports.alarms import AlarmBook, Retrain
from cloud.ports.registry import ImageFiles
from cloud.ports.samples import Sample
from cloud.ports.series import series_name
from cloud.quantize.gate_run import GateJob
from cloud.quantize.quantize_run import QuantizeJob
from cloud.registry.catalog import ReleaseState
from cloud.retrain.job import TrainJob
from cloud.retrain.launch import launch_gate, launch_local, launch_quantize
from cloud.retrain.release_run import RunReleaser
from cloud.retrain.run_records import DRIFT_SHARE
from cloud.review.label_choice import said_labels
from contract.errors import PlumblineError


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Carries retrains out, one at a time. `work` holds a folder for each. `no_miss`: as in QuantizeJob; `drift_share`: as in
    TrainJob."""

    alarms: AlarmBook
    images: ImageFiles
    releaser: RunReleaser
    work: Path
    now: Callable[[], float]
    warm_pull: float = 0.0
    no_miss: bool = False
    drift_share: float = DRIFT_SHARE

    def carry_out(self, retrain: Retrain, labelled: Sequence[Sample], base_version: str, version: str) -> bool:
        """Train from `base_version`'s run with the labelled samples, and release the result as `version`.

        Returns whether a version was released; why not is in the retrain's row.
        """
        folder = self.work / f"retrain-{retrain.id}"
        run, parent = folder / "run", self.releaser.run_of(base_version)
        figures: dict[str, Any] = {"labels": len(labelled)}
        try:
            shutil.rmtree(folder, ignore_errors=True)
            reviewed = self._export(labelled, folder / "reviewed")
            self._note(retrain, "training", run, figures)
            job = TrainJob(
                out=str(run),
                parent=str(parent),
                reviewed=str(reviewed),
                drift_share=self.drift_share,
                seed=retrain.id,
            )
            recipe = msgspec.structs.replace(job.recipe, warm_pull=self.warm_pull)
            info = launch_local(msgspec.structs.replace(job, recipe=recipe))
            figures["train"] = msgspec.to_builtins(info.figures)
            self._note(retrain, "quantizing", run, figures)
            figures["quantize"] = msgspec.to_builtins(launch_quantize(QuantizeJob(run=str(run), no_miss=self.no_miss)))
            self._note(retrain, "gating", run, figures)
            report = launch_gate(GateJob(run=str(run), incumbent=str(parent)))
            figures["gate"] = msgspec.to_builtins(report)
            self._note(retrain, "releasing", run, figures)
            if self.releaser.release(run, version).state is ReleaseState.STAGED:
                figures["waits"] = "for signatures: plumbline-cloud keys pending"
        except PlumblineError as error:
            figures["trouble"] = error.one_line()
            self._note(retrain, "failed", run, figures)
            self.alarms.update_retrain(retrain.id, ended_at=self.now())
            return False
        self._note(retrain, "released", run, figures)
        self.alarms.update_retrain(retrain.id, version=version, ended_at=self.now())
        return True

    def _export(self, labelled: Sequence[Sample], folder: Path) -> Path:
        folder.mkdir(parents=True)
        lines = []
        for sample in labelled:
            if sample.image_sha256 is None or sample.truth is None:
                continue
            label, *also = said_labels(sample.truth)
            name = f"{sample.sample}.png"
            shutil.copyfile(self.images.path(sample.image_sha256), folder / name)
            row = {
                "file": name,
                "label": label,
                "also": also,
                "part": sample.part or sample.sample,
                "labeller": sample.labeller or "",
                "labelled_at": sample.labelled_at,
                "source": series_name(sample.station, sample.camera),
                "audit": sample.reason == "audit",
            }
            if sample.reason == "audit":
                row["inclusion"] = sample.inclusion  # the others were picked: they have no probability of being drawn
            lines.append(msgspec.json.encode(row))
        (folder / "labels.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        return folder

    def _note(self, retrain: Retrain, state: str, run: Path, figures: dict[str, Any]) -> None:
        self.alarms.update_retrain(retrain.id, state=state, run=str(run), figures=msgspec.json.encode(figures).decode())
