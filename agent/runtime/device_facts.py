"""What a TensorRT engine depends on, read from this machine (OTA-8)."""

from __future__ import annotations

import ctypes
import hashlib
import re
from pathlib import Path

import msgspec

_SM_MAJOR, _SM_MINOR = 75, 76  # CUdevice_attribute


class EngineFacts(msgspec.Struct, frozen=True):
    """An engine runs only under the facts it was built under; ONNX Runtime does not reliably check (onnxruntime#22244)."""

    model_sha256: str
    precision: str
    onnxruntime: str
    tensorrt: str
    compute_capability: str
    driver: str

    def key(self) -> str:
        """Return the name of the engine's folder: a SHA-256 in hex."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def read_engine_facts(model: Path, precision: str, *, root: Path = Path("/")) -> EngineFacts:
    """Return the facts of this machine for `model`; one that cannot be read is "". `root` is where /etc and /proc are.

    Raises:
        OSError: the model cannot be read.
    """
    with model.open("rb") as file:
        sha256 = hashlib.sha256()
        while block := file.read(1 << 20):
            sha256.update(block)
    try:
        import onnxruntime
    except ImportError:
        version = ""
    else:
        version = str(onnxruntime.__version__)
    return EngineFacts(
        sha256.hexdigest(), precision, version, _tensorrt_version(), _compute_capability(), driver_version(root)
    )


def driver_version(root: Path) -> str:
    """Return JetPack's L4T release and the NVIDIA driver's version, as far as there are any."""
    l4t = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", _text(root / "etc/nv_tegra_release"), re.DOTALL)
    driver = re.search(r"(?:Kernel Module|Module for \S+)\s+([\d.]+)", _text(root / "proc/driver/nvidia/version"))
    parts = [f"L4T {l4t[1]}.{l4t[2]}" if l4t else "", f"driver {driver[1]}" if driver else ""]
    return " ".join(part for part in parts if part)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _tensorrt_version() -> str:
    for name in ("libnvinfer.so", "libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8"):
        try:
            return str(int(ctypes.CDLL(name).getInferLibVersion()))
        except (OSError, AttributeError):
            continue
    return ""


def _compute_capability() -> str:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return ""
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _SM_MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _SM_MINOR, device)
    return f"{major.value}.{minor.value}"
