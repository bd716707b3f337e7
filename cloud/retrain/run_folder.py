"""A training run is a folder: what lies in it, and how each part is read and written.

run.json         recipe, seed, labels, preprocessing, parent, figures of training
dataset.json     every image by content hash, with label, labeller, source, split and part
checkpoint.pt    weights (and, while training, what resuming needs)
fp32.onnx        the exported model
int8.onnx        the quantized one for CPUs
int8.s8s8.onnx   the quantized one for TensorRT, where it was asked for
fp16.onnx        the one of 16 bits, where it was asked for
quantize_debug.json  what each tensor loses to int8, where it was asked for
quantize.json    figures of each artefact, which one ships, thresholds
golden.npz       pixels u8[N,H,W] or u8[N,H,W,C], scores f32[N,K] of the artefact that ships
gate.json        the gate's report
validation.json  the answers of the artefact that ships to the holdout, counted (cloud.drift.held_out)
metrics.jsonl    a line for each look at the loss while training
plots/           training's curves
report.html      the gate's report for a person
resources.json   the memory its bundle takes, measured at the first release (run_resources)
model_card.md    the card of the last release

Everything is written whole or not at all (temporary file, fsync, rename), so a killed step leaves the run as it was.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from cloud.drift.held_out import HELD_OUT_NAME, HeldOut, decode_held_out
from cloud.gate.scorecard import GateReport
from cloud.retrain.run_records import RUN_VERSION, DatasetManifest, QuantizeReport, RunInfo
from contract.errors import BadDataset, NotFound

T = TypeVar("T", bound=msgspec.Struct)


class RunFolder:
    """The files of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoint = root / "checkpoint.pt"
        self.fp32 = root / "fp32.onnx"
        self.int8 = root / "int8.onnx"
        self.fp16 = root / "fp16.onnx"
        self.quantize_debug = root / "quantize_debug.json"
        self.golden = root / "golden.npz"
        self.metrics = root / "metrics.jsonl"
        self.plots = root / "plots"
        self.report = root / "report.html"
        self.validation = root / HELD_OUT_NAME
        self._info = root / "run.json"
        self._dataset = root / "dataset.json"
        self._quantize = root / "quantize.json"
        self._gate = root / "gate.json"

    def is_trained(self) -> bool:
        """Return whether training finished here: run.json is written last."""
        return self._info.exists()

    def info(self) -> RunInfo:
        """Return run.json.

        Raises:
            NotFound: this folder holds no finished run.
            BadDataset: the file is damaged.
        """
        info = self._read(self._info, RunInfo, "train")
        if info.run_version != RUN_VERSION:
            raise BadDataset(f"{self._info} is of version {info.run_version}, not {RUN_VERSION}", hint="train again")
        return info

    def dataset(self) -> DatasetManifest:
        """Return dataset.json. Raises: as `info`."""
        return self._read(self._dataset, DatasetManifest, "train")

    def quantize_report(self) -> QuantizeReport:
        """Return quantize.json. Raises: as `info`."""
        return self._read(self._quantize, QuantizeReport, "quantize")

    def gate_report(self) -> GateReport:
        """Return gate.json. Raises: as `info`."""
        return self._read(self._gate, GateReport, "gate")

    def held_out(self) -> HeldOut | None:
        """Return validation.json; None when the run was never gated, or not since its model changed hands.

        Raises:
            BadDataset: it is damaged.
        """
        try:
            return decode_held_out(self.validation.read_bytes())
        except FileNotFoundError:
            return None

    def save_info(self, info: RunInfo) -> None:
        """Write run.json; call it last, it marks the run as trained."""
        self._write(self._info, info)

    def save_dataset(self, manifest: DatasetManifest) -> None:
        """Write dataset.json."""
        self._write(self._dataset, manifest)

    def save_quantize_report(self, report: QuantizeReport) -> None:
        """Write quantize.json."""
        self._write(self._quantize, report)

    def save_gate_report(self, report: GateReport) -> None:
        """Write gate.json."""
        self._write(self._gate, report)

    def save_held_out(self, record: HeldOut) -> None:
        """Write validation.json."""
        self._write(self.validation, record)

    def save_golden(self, pixels: NDArray[np.uint8], scores: NDArray[np.float32]) -> None:
        """Write golden.npz: pixels u8[N,H,W] or u8[N,H,W,C], scores f32[N,K]."""
        temporary = self.golden.with_suffix(".tmp.npz")
        np.savez_compressed(temporary, pixels=pixels, scores=scores)
        publish(temporary, self.golden)

    def load_golden(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return (pixels, scores) as `save_golden` took them.

        Raises:
            NotFound: there is no golden.npz.
            BadDataset: it is damaged.
        """
        if not self.golden.exists():
            raise NotFound(f"{self.golden} is not there", hint=f"run 'plumbline-cloud quantize {self.root}' first")
        try:
            with np.load(self.golden, allow_pickle=False) as arrays:
                return np.asarray(arrays["pixels"], np.uint8), np.asarray(arrays["scores"], np.float32)
        except (OSError, ValueError, KeyError) as error:
            raise BadDataset(f"{self.golden} is damaged: {error}", hint="quantize the run again") from error

    def _read(self, file: Path, kind: type[T], step: str) -> T:
        try:
            return msgspec.json.decode(file.read_bytes(), type=kind)
        except FileNotFoundError as error:
            raise NotFound(
                f"{file} is not there",
                hint=f"run 'plumbline-cloud {step}' for this folder first, or check the path",
            ) from error
        except (msgspec.DecodeError, OSError) as error:
            raise BadDataset(f"{file} is damaged: {error}", hint=f"run 'plumbline-cloud {step}' again") from error

    def _write(self, file: Path, value: msgspec.Struct) -> None:
        temporary = file.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2))
        publish(temporary, file)


def publish(temporary: Path, final: Path) -> None:
    """Make `temporary` durable under the name `final`: fsync, rename, fsync the folder."""
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
