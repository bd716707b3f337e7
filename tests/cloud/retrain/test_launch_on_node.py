from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cloud.retrain.job import TrainJob, write_job
from cloud.retrain.launchers.on_node import check_storage
from cloud.retrain.progress import parse_line
from contract.errors import InvalidConfig


def _written(folder: Path, job: TrainJob) -> tuple[Path, str]:
    write_job(job, folder / "job.json")
    return folder / "job.json", hashlib.sha256((folder / "job.json").read_bytes()).hexdigest()


def test_node_that_sees_other_storage_says_which_path(tmp_path: Path) -> None:
    job = TrainJob(out=str(tmp_path / "run"), data=str(tmp_path))
    file, digest = _written(tmp_path / "run", job)
    check_storage(file, digest)
    with pytest.raises(InvalidConfig, match=r"does not see .*elsewhere/job\.json") as caught:
        check_storage(tmp_path / "elsewhere" / "job.json", digest)
    assert "every node mounts" in caught.value.hint
    with pytest.raises(InvalidConfig, match=r"another .* than the one submitted"):
        check_storage(file, "0" * 64)
    gone = msgspec.structs.replace(job, reviewed=str(tmp_path / "gone"))
    with pytest.raises(InvalidConfig, match=r"does not see .*gone"):
        check_storage(*_written(tmp_path / "run", gone))


def test_script_of_the_node_prints_its_refusal_as_a_job_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cloud.retrain.launchers.on_node", str(tmp_path / "job.json"), "0" * 64, "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    line = parse_line(done.stdout)
    assert done.returncode == 1 and line is not None and line.failure is not None
    assert line.failure.kind == "InvalidConfig" and "does not see" in line.failure.message
