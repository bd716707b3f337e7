"""Roboflow's runtime as the peer: installed once into `.venv-peers`, given the same model, run in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def peer_contender(work: Path, model: Path, images: Path, seconds: float, warm: int) -> Callable[[], dict[str, float]]:
    """Return what runs the peer."""
    raise NotImplementedError
