"""What a Ray job runs on its node: check that the node sees the job's storage, then become the training script.

`python -m cloud.retrain.launchers.on_node JOB.json SHA256 PROCESSES`
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from pathlib import Path

from cloud.retrain.job import TrainJob, read_job
from cloud.retrain.launchers.torchrun import torchrun_command
from cloud.retrain.progress import run_job
from contract.errors import InvalidConfig

_HINT = "the job, its images and its run folder must lie on storage that every node mounts under the same path"


def main(arguments: list[str] | None = None) -> int:
    """Check, then replace this process by training. Returns only when a check failed."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 3:
        print("usage: python -m cloud.retrain.launchers.on_node JOB.json SHA256 PROCESSES", file=sys.stderr)
        return 2
    file, digest, processes = Path(given[0]), given[1], int(given[2])
    failed = run_job(lambda: check_storage(file, digest))
    if not failed:
        command = [sys.executable, "-m", "cloud.retrain.train", str(file)]
        if processes > 1:
            command = torchrun_command(file, processes)
        os.execv(command[0], command)
    return failed


def check_storage(file: Path, sha256: str) -> None:
    """Check that this machine sees the job file, the one that was submitted, and the folders it names.

    Raises:
        InvalidConfig: it does not; the message names this machine and the path.
    """
    here = socket.gethostname()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"node {here} does not see {file}: {error.strerror}", hint=_HINT) from error
    # The path may exist on a disk of the node's own, with a job of last week in it.
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidConfig(f"node {here} sees another {file} than the one submitted", hint=_HINT)
    job = read_job(file)
    for path in paths_of(job).values():
        if not Path(path).exists():
            raise InvalidConfig(f"node {here} does not see {path}", hint=_HINT)
    if not os.access(job.out, os.W_OK):
        raise InvalidConfig(f"node {here} may not write to {job.out}", hint=_HINT)


def paths_of(job: TrainJob) -> dict[str, str]:
    """Return the paths that a job names, by field."""
    named = {
        "data": job.data,
        "exclude": job.exclude,
        "reviewed": job.reviewed,
        "parent": job.parent,
        "dataset": job.dataset,
        "teacher": job.teacher,
    }
    return {field: path for field, path in named.items() if path is not None}


if __name__ == "__main__":
    sys.exit(main())
