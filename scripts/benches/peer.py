"""Roboflow's `inference` as the peer: installed once into `.venv-peers`, given the same model and images.

What runs is `inference_models.AutoModel`, the engine under `inference`, on a local model package (the same int8 file
as `weights.onnx`, their ResNet classifier's preprocessing set to our size and scaling). It needs neither network nor account.
Its answers are a class and confidences: no store, no sketches, no thresholds; it is compared with the bare loop's work.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from contract.errors import RefusedError
from scripts.benches.child import run_child
from scripts.benches.line_spec import LABELS, SIDE, SPEC

REQUIREMENT = "inference==1.8.3"
_VENV = Path(__file__).parents[2] / ".venv-peers"
_STAMP = _VENV / "plumbline.stamp"
# Its runtime picks from these; without it, it looks for CUDA and TensorRT first. Nothing is sent anywhere.
_ENVIRONMENT = {
    "ONNXRUNTIME_EXECUTION_PROVIDERS": "[CPUExecutionProvider]",
    "TELEMETRY_OPT_OUT": "True",
    "METRICS_ENABLED": "False",
}


def install_peer(say: Callable[[str], None]) -> None:
    """Make `.venv-peers` if it is not there or was made for another version: a download of gigabytes, PyTorch among it.

    Raises:
        RefusedError: it cannot be installed; the message is pip's last line.
    """
    if _STAMP.is_file() and _STAMP.read_text() == REQUIREMENT:
        return
    say(f"installing {REQUIREMENT} into {_VENV} (7 GB, 10 minutes or more)")
    pip = (str(_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT)
    for command in ((sys.executable, "-m", "venv", str(_VENV)), pip):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise RefusedError(
                f"the peer cannot be installed: {errors[-1] if errors else 'see ' + ' '.join(pip)}",
                hint="leave out --peers",
            )
    _STAMP.write_text(REQUIREMENT)


def peer_contender(work: Path, model: Path, images: Path, seconds: float, warm: int) -> Callable[[], dict[str, float]]:
    """Return what runs the installed peer on the int8 file `model`."""
    package = work / f"peer-{model.parent.name}"
    if not package.exists():
        _write_package(package, model)
    script = Path(__file__).with_name("peer_loop.py")
    python = str(_VENV / "bin" / "python")
    command = (python, str(script), str(package), str(images), str(seconds), str(warm))
    return partial(run_child, command, environment=_ENVIRONMENT)


def _write_package(folder: Path, model: Path) -> None:
    folder.mkdir()
    shutil.copy(model, folder / "weights.onnx")
    (folder / "class_names.txt").write_text("".join(f"{label.name}\n" for label in LABELS))
    kind = {"model_architecture": "resnet", "task_type": "classification", "backend_type": "onnx"}
    (folder / "model_config.json").write_text(json.dumps(kind))
    network_input = {
        "training_input_size": {"height": SIDE, "width": SIDE},
        "dynamic_spatial_size_supported": False,
        "color_mode": "rgb",
        "resize_mode": "stretch",
        "input_channels": SPEC.channels,
        "scaling_factor": 255,
        "normalization": [SPEC.mean, SPEC.std],
    }
    config = {"network_input": network_input, "post_processing": {"type": "softmax", "fused": False}}
    (folder / "inference_config.json").write_text(json.dumps(config))
