"""The CUDA kernels as a cubin for one GPU, compiled on the device by its own nvcc and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path

from contract.errors import BadModel

_TIMEOUT_S = 300.0


def kernel_source() -> str:
    """Return the CUDA source of the preprocessing kernels."""
    return (resources.files("agent.runtime") / "kernels" / "preprocess.cu").read_text(encoding="utf-8")


def find_nvcc() -> Path | None:
    """Return CUDA's compiler: from PATH, else where JetPack and the CUDA packages put it, else None."""
    found = shutil.which("nvcc", path=f"{os.defpath}:/usr/local/cuda/bin") or shutil.which("nvcc")
    return Path(found) if found else None


def build_cubin(folder: Path, arch: str, nvcc: Path | None) -> Path:
    """Return the kernels compiled for `arch` ("sm_87"), from `folder` when they were compiled there before.

    A cubin and not PTX: PTX of a newer nvcc is refused by the drivers of older JetPacks.

    Raises:
        BadModel: there is no nvcc, it does not know `arch`, or it failed.
    """
    if nvcc is None:
        raise BadModel(
            "no nvcc to compile the CUDA kernels with", hint="install the CUDA toolkit, or leave it: the CPU serves"
        )
    source = kernel_source()
    version = _call([str(nvcc), "--version"]).stdout
    name = hashlib.sha256(f"{source}\0{arch}\0{version}".encode()).hexdigest()
    target = folder / f"preprocess-{arch}-{name[:16]}.cubin"
    if target.is_file() and target.stat().st_size > 0:
        return target
    # The name says what it was made from, so a half-written file must never bear it.
    temporary = folder / f"{target.name}.{os.getpid()}.tmp"
    written = folder / f"{target.name}.{os.getpid()}.cu"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written.write_text(source, encoding="utf-8")
        done = _call([str(nvcc), "-cubin", f"-arch={arch}", "-O3", "-o", str(temporary), str(written)])
        if done.returncode:
            raise BadModel(f"nvcc failed for {arch}: {' '.join((done.stderr or done.stdout).split())[:300]}")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise BadModel(f"the CUDA kernels cannot be kept in '{folder}': {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
        written.unlink(missing_ok=True)
    return target


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadModel(f"'{command[0]}' does not run: {error}") from error
