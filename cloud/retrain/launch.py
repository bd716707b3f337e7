"""Runs training, quantization and the gate in processes of their own: a crash, a leak or a busy core stays out of the server."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path

import msgspec

from cloud.gate.scorecard import GateReport
from cloud.quantize.gate_run import GateJob
from cloud.quantize.quantize_run import QuantizeJob
from cloud.retrain.job import TrainJob, check_job, write_job
from cloud.retrain.progress import JobFailure, OnProgress, as_error, ignore_progress, parse_line
from cloud.retrain.run_folder import QuantizeReport, RunFolder, RunInfo
from contract.errors import InvalidConfig, TransientError

_LAST_LINES = 5


def launch_local(job: TrainJob, on_progress: OnProgress = ignore_progress, *, gpus: int | None = None) -> RunInfo:
    """Train in a process of its own (one a GPU, under torchrun, when there are several) and return what came of it.

    Args:
        gpus: how many GPUs to use; None counts those of this machine.
    Raises: what training raises; TransientError when the process was killed.
    """
    check_job(job)
    run = RunFolder(Path(job.out))
    if run.is_trained():
        raise InvalidConfig(f"{run.root} holds a finished run", hint="choose another --out, or remove that folder")
    file = run.root / "job.json"
    write_job(job, file)
    count = count_gpus() if gpus is None else gpus
    command = [sys.executable, "-m"]
    if count > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m"]
    _run([*command, "cloud.retrain.train", str(file)], on_progress)
    return run.info()


def launch_quantize(job: QuantizeJob, on_progress: OnProgress = ignore_progress) -> QuantizeReport:
    """Quantize in a process of its own and return the report. Raises: what quantization raises."""
    _launch_module("cloud.quantize.quantize_run", job, on_progress)
    return RunFolder(Path(job.run)).quantize_report()


def launch_gate(job: GateJob, on_progress: OnProgress = ignore_progress) -> GateReport:
    """Gate in a process of its own and return the report. Raises: what the gate raises."""
    _launch_module("cloud.quantize.gate_run", job, on_progress)
    return RunFolder(Path(job.run)).gate_report()


def count_gpus() -> int:
    """Return how many NVIDIA GPUs this machine has, without loading torch; 0 where the driver does not say."""
    listing = Path("/proc/driver/nvidia/gpus")
    return len(list(listing.iterdir())) if listing.is_dir() else 0


def _launch_module(module: str, job: msgspec.Struct, on_progress: OnProgress) -> None:
    with tempfile.TemporaryDirectory(prefix="plumbline-") as scratch:
        file = Path(scratch) / "job.json"
        write_job(job, file)
        _run([sys.executable, "-m", module, str(file)], on_progress)


def _run(command: list[str], on_progress: OnProgress) -> None:
    # Threads of torch that spin at every barrier starve each other, and the stations, on a busy machine: a training step took
    # 1,003 ms of wall time spinning and 146 ms waiting on two shared cores. OpenMP reads this when the process starts.
    command = ["env", "OMP_WAIT_POLICY=PASSIVE", *command]
    failure: JobFailure | None = None
    said: deque[str] = deque(maxlen=_LAST_LINES)
    # stderr joins stdout: two pipes read in turn can block the child on the one that is not read.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            if process.stdout is not None:
                for text in process.stdout:
                    line = parse_line(text)
                    if line is None:
                        said.append(text.strip())
                    elif line.progress is not None:
                        on_progress(line.progress)
                    elif line.failure is not None:
                        failure = failure or line.failure
            process.wait()
        except BaseException:
            # Whoever stops the parent does not want an orphan at work.
            process.terminate()
            raise
    if failure is not None:
        raise as_error(failure)
    if process.returncode != 0:
        last = " | ".join(text for text in said if text) or "it said nothing"
        raise TransientError(
            f"'{' '.join(command[2:5])} ...' ended with {process.returncode}: {last}",
            hint="it was killed or ran out of memory; run it again, training with --resume",
        )
