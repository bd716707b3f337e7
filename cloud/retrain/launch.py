"""Runs training, quantization and the gate in processes of their own: a crash, a leak or a busy core stays out of the server."""

from __future__ import annotations

import socket
import sys
import tempfile
from pathlib import Path

import msgspec

from cloud.gate.scorecard import GateReport
from cloud.quantize.gate_run import GateJob
from cloud.quantize.job import QuantizeJob
from cloud.quantize.tflite_export import TfliteJob, TfliteReport, load_tflite_report
from cloud.retrain.job import TrainJob, check_job, write_job
from cloud.retrain.launchers.child import run_child
from cloud.retrain.launchers.options import LaunchKind, LaunchOptions, count_gpus
from cloud.retrain.launchers.torchrun import explain_torchrun, torchrun_command
from cloud.retrain.progress import OnProgress, ignore_progress
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import QuantizeReport, RunInfo
from contract.errors import InvalidConfig


def launch(job: TrainJob, options: LaunchOptions | None = None, on_progress: OnProgress = ignore_progress) -> RunInfo:
    """Train where `options` say and return what came of it.

    Raises:
        InvalidConfig: options that contradict each other, a finished run in the folder, or no Ray installed.
        TransientError: a process of it was killed; `resume` continues.
        LinkDown: the Ray cluster cannot be reached.
        PlumblineError: what training raises.
    """
    options = options or LaunchOptions()
    options.check()
    check_job(job)
    run = RunFolder(Path(job.out))
    if run.is_trained():
        raise InvalidConfig(f"{run.root} holds a finished run", hint="choose another --out, or remove that folder")
    gpus = count_gpus()
    kind, processes = options.resolved(gpus), options.processes_here(gpus)
    if kind is LaunchKind.RAY:
        # Ray is an extra of its own, and large.
        from cloud.retrain.launchers.ray_jobs import launch_ray

        launch_ray(job, options, on_progress)
        return run.info()
    if gpus and options.gpus != 0 and processes > gpus:
        raise InvalidConfig(f"{processes} processes want {processes} GPUs, {gpus} are here", hint="or give --gpus 0")
    environment = {"CUDA_VISIBLE_DEVICES": ""} if options.gpus == 0 else {}
    # On storage that several machines share each has a file of its own.
    file = run.root / ("job.json" if options.nodes == 1 else f"job.{socket.gethostname()}.json")
    write_job(job, file)
    if kind is LaunchKind.LOCAL:
        run_child([sys.executable, "-m", "cloud.retrain.train", str(file)], on_progress, environment=environment)
    else:
        command = torchrun_command(file, processes, nodes=options.nodes, rendezvous=options.rendezvous)
        run_child(command, on_progress, environment=environment, explain=explain_torchrun)
    return run.info()


def launch_local(job: TrainJob, on_progress: OnProgress = ignore_progress, *, gpus: int | None = None) -> RunInfo:
    """Train on this machine: one process, or one a GPU when there are several. Raises: as `launch`."""
    return launch(job, LaunchOptions(gpus=gpus), on_progress)


def launch_quantize(job: QuantizeJob, on_progress: OnProgress = ignore_progress) -> QuantizeReport:
    """Quantize in a process of its own and return the report. Raises: what quantization raises."""
    _launch_module("cloud.quantize.quantize_run", job, on_progress)
    return RunFolder(Path(job.run)).quantize_report()


def launch_tflite(job: TfliteJob, on_progress: OnProgress = ignore_progress) -> TfliteReport:
    """Export to TFLite in a process of its own and return the report. Raises: what the export raises."""
    _launch_module("cloud.quantize.tflite_export", job, on_progress)
    return load_tflite_report(RunFolder(Path(job.run)))


def launch_gate(job: GateJob, on_progress: OnProgress = ignore_progress) -> GateReport:
    """Gate in a process of its own and return the report. Raises: what the gate raises."""
    _launch_module("cloud.quantize.gate_run", job, on_progress)
    return RunFolder(Path(job.run)).gate_report()


def _launch_module(module: str, job: msgspec.Struct, on_progress: OnProgress) -> None:
    with tempfile.TemporaryDirectory(prefix="plumbline-") as scratch:
        file = Path(scratch) / "job.json"
        write_job(job, file)
        run_child([sys.executable, "-m", module, str(file)], on_progress)
