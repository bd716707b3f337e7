"""What each image should be answered with, as tensors: labels, several of them for MULTI, masks for SEGMENT."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cloud.retrain.augment import Moves, move
from cloud.retrain.objective import Targets
from cloud.retrain.run_records import Head
from cloud.retrain.tensors import ImageTensors


@dataclass(frozen=True, slots=True)
class Answers:
    """`labels` i64[N]; `every` f32[N,K] under MULTI; `masks` u8[N,1,h,w], 1 where the defect is, and `masked` bool[N] under
    SEGMENT."""

    labels: torch.Tensor
    every: torch.Tensor | None = None
    masks: torch.Tensor | None = None
    masked: torch.Tensor | None = None

    def at(self, rows: torch.Tensor, device: torch.device, moves: Moves | None = None) -> Targets:
        """Return the targets of some rows; `moves` is what was done to their images."""
        masks = None
        if self.masks is not None:
            masks = self.masks[rows].to(device).float()
            masks = masks if moves is None else move(masks, moves)
        return Targets(
            self.labels[rows].to(device),
            None if self.every is None else self.every[rows].to(device),
            masks,
            None if self.masked is None else self.masked[rows].to(device),
        )


def answers_of(tensors: ImageTensors, head: Head) -> Answers:
    """Return the answers to `tensors` as `head` needs them; for SEGMENT they were made with their masks."""
    if head is Head.MULTI and tensors.every is not None:
        return Answers(tensors.labels, every=tensors.every.float())
    if head is Head.SEGMENT:
        return Answers(tensors.labels, masks=tensors.masks, masked=tensors.masked)
    return Answers(tensors.labels)
