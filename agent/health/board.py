"""Which kind of board this is, in a word: rollouts take some of each kind first."""

from __future__ import annotations

import platform
import re
from pathlib import Path

MAX_CHARS = 40

_NOISE = re.compile(r"\b(nvidia|developer kit|engineering reference|rev(ision)? [\w.]+)\b")


def board(root: Path = Path("/")) -> str:
    """Return the board's class: the device tree's model ("jetson-orin-nano"), else the machine ("x86_64").

    Source: /proc/device-tree/model ends in a NUL (Devicetree Specification 0.4, 2.3.2).
    """
    try:
        model = (root / "proc/device-tree/model").read_bytes()[:200].rstrip(b"\0").decode("utf-8", "replace").lower()
    except OSError:
        model = ""
    words = re.sub(r"[^a-z0-9_]+", "-", _NOISE.sub(" ", model)).strip("-")
    return (words or platform.machine())[:MAX_CHARS].rstrip("-")
