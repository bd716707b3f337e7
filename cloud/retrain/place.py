"""Where a training process computes, and which of how many it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from contract.errors import InvalidConfig


@dataclass(frozen=True, slots=True)
class Place:
    """A device, and this process's number among those that train together."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Return whether this is the process that writes and decides."""
        return self.rank == 0

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """Return this process's share of a batch."""
        return rows[self.rank :: self.world_size]

    def check_batch(self, size: int) -> None:
        """Raise InvalidConfig for a batch that gives no equal shares: they would weigh alike, and an empty one has no loss."""
        if size % self.world_size:
            raise InvalidConfig(
                f"a batch of {size} does not divide among {self.world_size} processes",
                hint=f"use --batch-size {-(-size // self.world_size) * self.world_size}",
            )

    def agree(self, decision: bool) -> bool:
        """Return the first process's decision, in every process."""
        if self.world_size == 1:
            return decision
        said = torch.tensor([int(decision)], device=self.device)
        torch.distributed.broadcast(said, 0)
        return bool(said.item())

    def share_weights(self, model: nn.Module) -> None:
        """Give every process the first one's weights and statistics."""
        if self.world_size > 1:
            for tensor in model.state_dict().values():
                torch.distributed.broadcast(tensor, 0)


@contextlib.contextmanager
def find_place() -> Iterator[Place]:
    """Yield where this process computes; under torchrun the processes know each other inside."""
    cuda = torch.cuda.is_available()
    if not torch.distributed.is_torchelastic_launched():
        yield Place(torch.device("cuda" if cuda else "cpu"))
        return
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        device = torch.device("cpu")
        if cuda:
            device = torch.device("cuda", rank % torch.cuda.device_count())
            torch.cuda.set_device(device)
        yield Place(device, rank, world_size)
    finally:
        torch.distributed.destroy_process_group()
