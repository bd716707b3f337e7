"""Training as a job of a Ray cluster, over Ray's Jobs API.

The job file, its images and its run folder lie on storage that every node mounts under the same path, and the nodes have this
version of Plumbline installed. The same script runs there as here; its progress lines are read from the job's log. Which job
trains into a run folder stands in the folder's ray.json: `--resume` follows that job while it runs.
https://docs.ray.io/en/latest/cluster/running-applications/job-submission/
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cloud.retrain.job import TrainJob, write_job
from cloud.retrain.launchers.child import JobOutput, last_words
from cloud.retrain.launchers.on_node import paths_of
from cloud.retrain.launchers.options import LaunchOptions
from cloud.retrain.launchers.torchrun import explain_torchrun
from cloud.retrain.progress import OnProgress, Progress, as_error
from contract.errors import BadDataset, InvalidConfig, LinkDown, TransientError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
RECORD_NAME = "ray.json"
_PATIENCE_S = 300.0
_POLL_S = 1.0
_STOP_WAIT_S = 15.0
_SILENCE_S = 120.0
_OVER = ("SUCCEEDED", "FAILED", "STOPPED")


class RayRecord(msgspec.Struct, frozen=True):
    """Which Ray job trains into a run folder."""

    address: str
    submission_id: str


def launch_ray(
    job: TrainJob, options: LaunchOptions, on_progress: OnProgress, *, patience_s: float = _PATIENCE_S
) -> None:
    """Train `job` on the cluster at `options.ray_address` and return when it has ended well.

    Args:
        patience_s: how long the cluster may be out of reach before this gives up following the job, which goes on.
    Raises:
        InvalidConfig: no Ray is installed here, a node does not see the job's storage or has no Plumbline, or another job trains
            into this run folder.
        LinkDown: the cluster cannot be reached.
        TransientError: the job was stopped or killed.
        PlumblineError: what training raises.
    """
    address = options.ray_address or DEFAULT_ADDRESS
    client = connect(address)
    record_file = Path(job.out).resolve() / RECORD_NAME
    job_id = _running(address, client, record_file, job.resume)
    if job_id is None:
        job_id = _submit(client, job, options)
        record = RayRecord(address, job_id)
        write_job(record, record_file)
    on_progress(Progress("ray", 0, 1, f"job {job_id} at {address}"))
    output = JobOutput(on_progress)
    follower = _Follower(client, address, job_id, output, on_progress, patience_s)
    try:
        status, message = asyncio.run(follower.follow())
    except LinkDown:
        raise
    except BaseException:
        # Whoever stops this does not want the job to go on unseen.
        _stop(client, job_id)
        raise
    _judge(job_id, status, message, output)


def connect(address: str) -> Any:
    """Return Ray's job client.

    Raises:
        InvalidConfig: Ray is not installed.
        LinkDown: nobody answers at `address`.
    """
    # Ray reports its use to its makers unless told otherwise.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise InvalidConfig(
            "--launch ray needs Ray, which is not installed", hint="pip install 'plumbline-edge[ray]'"
        ) from error
    # It tells of every log connection that closes, in the midst of the progress lines.
    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise LinkDown(
            f"no Ray cluster answers at {address}: {_short(error)}",
            hint="give the address of its dashboard: --ray-address http://HOST:8265, or RAY_ADDRESS",
        ) from error


def _running(address: str, client: Any, record_file: Path, resume: bool) -> str | None:
    """Return the id of the job that trains into this run folder already, None when none does."""
    try:
        record = msgspec.json.decode(record_file.read_bytes(), type=RayRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise BadDataset(f"{record_file} is damaged: {error}", hint="remove it and train again") from error
    if record.address != address:
        return None
    try:
        status = str(client.get_job_status(record.submission_id).value)
    except RuntimeError:
        return None  # a cluster begun anew knows nothing of it
    if status in _OVER:
        return None
    if not resume:
        raise InvalidConfig(
            f"Ray job {record.submission_id} is training into {record_file.parent}",
            hint="--resume follows it; 'ray job stop' ends it",
        )
    return record.submission_id


def _submit(client: Any, job: TrainJob, options: LaunchOptions) -> str:
    # A node has another working directory.
    absolute = {field: str(Path(path).resolve()) for field, path in paths_of(job).items()}
    job = msgspec.structs.replace(job, out=str(Path(job.out).resolve()), **absolute)
    file = Path(job.out) / "job.json"
    write_job(job, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    gpus = options.gpus or 0
    processes = options.processes or max(1, gpus)
    command = ["env", "OMP_WAIT_POLICY=PASSIVE", "PYTHONUNBUFFERED=1"]
    if gpus == 0:
        command.append("CUDA_VISIBLE_DEVICES=")
    command += ["python", "-m", "cloud.retrain.launchers.on_node", str(file), digest, str(processes)]
    # With CPUs or GPUs asked for, Ray picks the node that has them; otherwise a job's script runs on the head.
    resources = {"entrypoint_num_gpus": gpus} if gpus else {"entrypoint_num_cpus": processes}
    try:
        return str(client.submit_job(entrypoint=shlex.join(command), **resources))
    except (ConnectionError, RuntimeError, OSError) as error:
        raise LinkDown(f"the Ray cluster took no job: {_short(error)}", hint="see its dashboard") from error


class _Follower:
    """Reads a job's log as it grows, and takes up a broken connection where it broke."""

    def __init__(
        self, client: Any, address: str, job_id: str, output: JobOutput, on_progress: OnProgress, patience_s: float
    ) -> None:
        self._client, self._address, self._job_id = client, address, job_id
        self._output, self._on_progress, self._patience_s = output, on_progress, patience_s
        self._taken = 0  # characters of the log that are read
        self._part = ""  # the begin of a line whose end has not come yet
        self._lost_at: float | None = None

    async def follow(self) -> tuple[str, str]:
        """Return the job's last status and Ray's message about it. Raises LinkDown after `patience_s` without an answer."""
        waiting = False
        while True:
            try:
                info = await asyncio.to_thread(self._client.get_job_info, self._job_id)
                self._lost_at = None
                status = str(info.status.value)
                if status in _OVER:
                    self._take_from_start(await asyncio.to_thread(self._client.get_job_logs, self._job_id))
                    self._output.take(self._part)
                    return status, str(info.message or "")
                if status == "RUNNING":
                    await self._tail()
                elif not waiting:
                    waiting = True
                    self._on_progress(Progress("ray", 0, 1, "waits for a node with the CPUs or GPUs it asks for"))
            except _link_errors() as error:
                self._lost(error)
            await asyncio.sleep(_POLL_S)

    async def _tail(self) -> None:
        # Each connection tells the log from its start.
        told = 0
        log = self._client.tail_job_logs(self._job_id)
        try:
            while True:
                # A connection that is dead at the other end stays silent for good; a quiet job only costs a new connection.
                chunk = await asyncio.wait_for(anext(log), _SILENCE_S)
                fresh = chunk[max(0, self._taken - told) :]
                told += len(chunk)
                self._take(fresh)
        except (StopAsyncIteration, asyncio.TimeoutError):
            return
        finally:
            await log.aclose()

    def _take_from_start(self, log: str) -> None:
        self._take(log[self._taken :])

    def _take(self, text: str) -> None:
        self._taken += len(text)
        *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            self._output.take(line)

    def _lost(self, error: Exception) -> None:
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            self._on_progress(Progress("ray", 0, 1, f"the cluster does not answer; trying again ({_short(error)})"))
        if now - self._lost_at > self._patience_s:
            raise LinkDown(
                f"the Ray cluster at {self._address} no longer answers; job {self._job_id} may still run",
                hint="the same command with --resume follows it",
            ) from error


def _judge(job_id: str, status: str, message: str, output: JobOutput) -> None:
    if output.failure is not None:
        raise as_error(output.failure)
    if status == "SUCCEEDED":
        return
    if status == "STOPPED":
        raise TransientError(f"Ray job {job_id} was stopped", hint="train again with --resume")
    said = list(output.said)
    if any("No module named" in line for line in said):
        raise InvalidConfig(
            f"the Ray node cannot run training: {last_words(said)}",
            hint="install this version of plumbline-edge[cloud] on the nodes, for the 'python' on their PATH",
        )
    if any("Root Cause" in line for line in said):
        raise explain_torchrun(1, said)
    raise TransientError(
        f"Ray job {job_id} failed: {' '.join(message.split())[:200]}: {last_words(said)}",
        hint="it was killed or ran out of memory; train again with --resume",
    )


def _stop(client: Any, job_id: str) -> None:
    try:
        client.stop_job(job_id)
        _wait(lambda: str(client.get_job_status(job_id).value) in _OVER, _STOP_WAIT_S)
    except _link_errors():
        pass  # what stopped us is raised again; a cluster out of reach cannot be told


def _wait(done: Callable[[], bool], at_most_s: float) -> None:
    until = time.monotonic() + at_most_s
    while not done() and time.monotonic() < until:
        time.sleep(0.2)


def _link_errors() -> tuple[type[Exception], ...]:
    import aiohttp  # comes with Ray's Jobs API

    return (aiohttp.ClientError, ConnectionError, RuntimeError, OSError)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
