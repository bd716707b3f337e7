"""Weights on disk: written whole or not at all, read without running anybody's code."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloud.retrain.run_folder import publish
from contract.errors import BadModel, NotFound


def save_checkpoint(
    file: Path,
    fingerprint: str,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Write what resuming after `step` steps needs. `fingerprint` names the job that may resume it."""
    # Into memory first: torch says RuntimeError where a plain write says which disk is full.
    buffer = io.BytesIO()
    torch.save(
        {
            "fingerprint": fingerprint,
            "step": step,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
        },
        buffer,
    )
    temporary = file.with_suffix(".tmp")
    temporary.write_bytes(buffer.getvalue())
    publish(temporary, file)


def load_checkpoint(
    file: Path,
    fingerprint: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> int:
    """Restore what `save_checkpoint` wrote and return the steps done; 0 when there is no checkpoint.

    Raises:
        BadModel: it belongs to another job, or is damaged.
    """
    if not file.exists():
        return 0
    saved = _load(file)
    if saved.get("fingerprint") != fingerprint:
        raise BadModel(
            f"{file} was made by a job with other settings", hint="repeat them, or train without --resume elsewhere"
        )
    _restore(model, saved, file)
    optimizer.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    return int(saved["step"])


def load_weights(model: nn.Module, file: Path) -> None:
    """Fill `model` with a checkpoint's weights.

    Raises:
        NotFound: there is no checkpoint.
        BadModel: it is damaged, or of another shape.
    """
    if not file.exists():
        raise NotFound(f"{file} is not there", hint="the parent must be a finished training run")
    _restore(model, _load(file), file)


def _load(file: Path) -> dict[str, Any]:
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise BadModel(f"{file} is damaged", hint="remove it and train again") from error
    if not isinstance(saved, dict) or "model" not in saved:
        raise BadModel(f"{file} is no checkpoint of ours", hint="remove it and train again")
    return saved


def _restore(model: nn.Module, saved: dict[str, Any], file: Path) -> None:
    try:
        model.load_state_dict(saved["model"])
    except RuntimeError as error:
        raise BadModel(f"{file} holds a model of another shape", hint="use the parent's width and labels") from error
