"""How a training job is to be started."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from contract.errors import InvalidConfig


class LaunchKind(str, Enum):
    """LOCAL: one process here. TORCHRUN: several, here or on several machines. RAY: a job of a Ray cluster."""

    LOCAL = "local"
    TORCHRUN = "torchrun"
    RAY = "ray"


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """Where a job runs, and in how many processes.

    `kind`: None is TORCHRUN where several processes are wanted, else LOCAL. `processes`: how many on each machine; None is `gpus`,
    else one a GPU, else 1. `gpus`: how many to use; None is all, 0 is none, even where there are some. `nodes`: machines under
    torchrun, each of which runs the same command; `rendezvous`: the "host:port" where they meet, on one of them.
    `ray_address`: "" is http://127.0.0.1:8265.
    """

    kind: LaunchKind | None = None
    processes: int | None = None
    gpus: int | None = None
    nodes: int = 1
    rendezvous: str = ""
    ray_address: str = ""

    def check(self) -> None:
        """Raise InvalidConfig for options that contradict each other."""
        for name, value, least in (
            ("--processes", self.processes, 1),
            ("--gpus", self.gpus, 0),
            ("--nodes", self.nodes, 1),
        ):
            if value is not None and value < least:
                raise InvalidConfig(f"{name} {value} is too small", hint=f"use at least {least}")
        if self.gpus and self.processes and self.processes > self.gpus:
            raise InvalidConfig(
                f"{self.processes} processes do not fit on {self.gpus} GPUs", hint="use one process a GPU, or --gpus 0"
            )
        kind = self.resolved(0)
        if kind is LaunchKind.LOCAL and (self.processes or 1) > 1:
            raise InvalidConfig(f"--launch local is one process, not {self.processes}", hint="use --launch torchrun")
        if self.nodes > 1 and kind is not LaunchKind.TORCHRUN:
            raise InvalidConfig(
                f"--launch {kind.value} trains on one machine, not {self.nodes}", hint="use --launch torchrun on each"
            )
        if (self.nodes > 1) != bool(self.rendezvous):
            raise InvalidConfig(
                "several machines need both --nodes and --rdzv-endpoint",
                hint="e.g. --nodes 2 --rdzv-endpoint FIRST_HOST:29500, the same on each",
            )
        if self.ray_address and kind is not LaunchKind.RAY:
            raise InvalidConfig("--ray-address is for --launch ray", hint="add --launch ray, or leave it out")

    def resolved(self, gpus_here: int) -> LaunchKind:
        """Return the kind, chosen where none was given."""
        if self.kind is not None:
            return self.kind
        several = self.nodes > 1 or self.processes_here(gpus_here) > 1
        return LaunchKind.TORCHRUN if several else LaunchKind.LOCAL

    def processes_here(self, gpus_here: int) -> int:
        """Return how many processes each machine runs."""
        if self.processes is not None:
            return self.processes
        return max(1, gpus_here if self.gpus is None else self.gpus)


def count_gpus() -> int:
    """Return how many NVIDIA GPUs this machine has, without loading torch; 0 where the driver does not say."""
    listing = Path("/proc/driver/nvidia/gpus")
    return len(list(listing.iterdir())) if listing.is_dir() else 0
