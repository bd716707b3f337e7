"""What running a bundle takes, measured by running its golden inputs in a subprocess on this machine."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from cloud.registry.bundle import BundleContent, build_bundle, unpack_bundle
from contract.errors import BadModel
from contract.manifest import Manifest

_TIMEOUT_S = 300.0
# Another machine's allocator, and threads of its own, take a little more.
_SPARE_SHARE = 0.1


class GoldenTrial(msgspec.Struct, frozen=True):
    """How a bundle did on its golden inputs here.

    `max_abs_error`: the first artefact's, None without golden scores. `memory_mib`: peak above an empty process, the runtime's
    own libraries included, one thread; 0 where the system does not tell.
    """

    inputs: int
    max_abs_error: float | None
    memory_mib: float


def run_golden(folder: Path, *, timeout_s: float = _TIMEOUT_S) -> GoldenTrial:
    """Return how the bundle unpacked in `folder` did, in a process of its own: a broken model can only break that.

    Raises:
        BadModel: it did not load, crashed, hung, or is off its golden scores; the message says which.
    """
    command = (sys.executable, "-m", "cloud.registry.golden_trial", str(folder.resolve()))
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise BadModel(f"the golden inputs took over {timeout_s:.0f} s and were stopped") from error
    if done.returncode == 0:
        try:
            return msgspec.json.decode(done.stdout, type=GoldenTrial)
        except msgspec.DecodeError as error:
            raise BadModel(f"running the golden inputs gave no answer: {error}") from error
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    said = lines[-1].removeprefix("error: ")[:400] if lines else ""
    if done.returncode < 0:
        said = f"running the golden inputs died of signal {-done.returncode}" + (f": {said}" if said else "")
    raise BadModel(said or f"running the golden inputs ended with code {done.returncode}")


def measure(content: BundleContent) -> float:
    """Return the memory that a manifest states for `content`, in MiB: what its golden inputs took here, and a tenth more.

    Raises:
        BadModel: it fails its own golden inputs.
        NotFound, BadBundle: as `build_bundle`.
    """
    with tempfile.TemporaryDirectory(prefix="plumbline-measure-") as scratch:
        archive, _ = build_bundle(content, Path(scratch) / "bundle.plb", 0.0)
        unpack_bundle(archive, Path(scratch) / "bundle")
        return stated_memory_mib(run_golden(Path(scratch) / "bundle"))


def stated_memory_mib(trial: GoldenTrial) -> float:
    """Return what a manifest states for a trial: a tenth more, in whole MiB."""
    return float(math.ceil(trial.memory_mib * (1 + _SPARE_SHARE)))


def fits(manifest: Manifest, trial: GoldenTrial) -> bool:
    """Return whether a trial took no more memory than the manifest states; true when either is not known."""
    stated = manifest.resources.memory_mib
    return not stated or trial.memory_mib <= stated
