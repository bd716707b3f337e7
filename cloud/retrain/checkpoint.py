"""Weights on disk: written whole or not at all, read without running anybody's code."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloud.retrain.run_folder import publish
from contract.errors import BadModel, NotFound


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint. `model`: the network's state. `parts`: the states of what else a resumed run goes on from, by name; empty
    when training is `finished` and `model` is what it made."""

    step: int
    model: dict[str, Any]
    finished: bool = False
    parts: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(file: Path, fingerprint: str, saved: Saved) -> None:
    """Write a checkpoint. `fingerprint` names the job that may resume it.

    Raises:
        OSError: it cannot be written; what was there before is there still.
    """
    # Into memory first: torch says RuntimeError where a plain write says which disk is full.
    buffer = io.BytesIO()
    torch.save(
        {
            "fingerprint": fingerprint,
            "step": saved.step,
            "model": saved.model,
            "finished": saved.finished,
            "parts": saved.parts,
        },
        buffer,
    )
    temporary = file.with_suffix(".tmp")
    try:
        temporary.write_bytes(buffer.getvalue())
        publish(temporary, file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def load_checkpoint(file: Path, fingerprint: str) -> Saved | None:
    """Return what `save_checkpoint` wrote; None when there is no checkpoint.

    Raises:
        BadModel: it belongs to another job, or is damaged.
    """
    if not file.exists():
        return None
    saved = _load(file)
    if saved.get("fingerprint") != fingerprint:
        raise BadModel(
            f"{file} was made by a job with other settings or images",
            hint="repeat them, or train without --resume elsewhere",
        )
    try:
        return Saved(int(saved["step"]), saved["model"], bool(saved["finished"]), dict(saved["parts"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadModel(f"{file} is damaged", hint="remove it and train again") from error


def load_weights(model: nn.Module, file: Path) -> None:
    """Fill `model` with a checkpoint's weights.

    Raises:
        NotFound: there is no checkpoint.
        BadModel: it is damaged, or of another shape.
    """
    restore(model, read_weights(file), file)


def read_weights(file: Path) -> dict[str, Any]:
    """Return a checkpoint's weights by name.

    Raises:
        NotFound: there is no checkpoint.
        BadModel: it is damaged.
    """
    if not file.exists():
        raise NotFound(f"{file} is not there", hint="the parent must be a finished training run")
    weights: dict[str, Any] = _load(file)["model"]
    return weights


def restore(model: nn.Module, weights: dict[str, Any], file: Path) -> None:
    """Fill `model` with weights that came from `file`.

    Raises:
        BadModel: they are of another shape.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise BadModel(f"{file} holds a model of another shape", hint="use the parent's width and labels") from error


def _load(file: Path) -> dict[str, Any]:
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise BadModel(f"{file} is damaged", hint="remove it and train again") from error
    if not isinstance(saved, dict) or "model" not in saved:
        raise BadModel(f"{file} is no checkpoint of ours", hint="remove it and train again")
    return saved
