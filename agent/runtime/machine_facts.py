"""What this machine is and has, for `agent.update.compatible`: read without importing a runtime."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

from agent.update.compatible import UNKNOWN, MachineFacts

AGENT_PACKAGE = "plumbline-edge"
# Import name -> (what manifests call it, what it may be installed as). NVIDIA's and Intel's builds go by names of their own.
_RUNTIMES = {
    "onnxruntime": (
        "onnxruntime",
        ("onnxruntime", "onnxruntime-gpu", "onnxruntime-jetson", "onnxruntime-openvino", "onnxruntime-rocm"),
    ),
    "ai_edge_litert": ("ai-edge-litert", ("ai-edge-litert",)),
    "tflite_runtime": ("tflite-runtime", ("tflite-runtime",)),
}


def read_machine_facts(*, root: Path = Path("/")) -> MachineFacts:
    """Return the facts of this machine; takes about a millisecond. `root` is where /sys is."""
    packages = {}
    for module, (package, distributions) in _RUNTIMES.items():
        version = _first_version(distributions)
        if version is None and importlib.util.find_spec(module) is not None:
            version = UNKNOWN  # built here by hand: it is there, and says not which it is
        if version is not None:
            packages[package] = version
    return MachineFacts(
        machine=platform.machine(),
        packages=packages,
        agent=_first_version((AGENT_PACKAGE,)) or UNKNOWN,
        memory_mib=_memory_mib(root),
    )


def _first_version(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _memory_mib(root: Path) -> float:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0.0
    with contextlib.suppress(OSError, ValueError):
        # A container's limit, where there is one; "max" where there is none.
        total = min(total, int((root / "sys/fs/cgroup/memory.max").read_text()))
    return total / (1 << 20)
