"""The machine under the station: what its sensors say of heat, power, memory and disks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent.decide.heat import Heat
from agent.decide.memory import MemoryRoom


@dataclass(frozen=True, slots=True)
class Rail:
    """A supply that is measured: its name on the board ("VDD_IN") and what it carries now."""

    name: str
    milliwatts: float
    millivolts: float
    milliamps: float


@dataclass(frozen=True, slots=True)
class DiskWear:
    """A disk that wears out.

    `worn`: share of its life that is used, 0 to 1 and above, as it says itself; None where it does not say without an ioctl or
    cannot say at all, and `why` is then the reason. `reserve_low`: its spare blocks are nearly used up. `written_bytes`: since the
    machine started; `written_per_day`: of that, a day, None in the machine's first hour.
    """

    name: str
    kind: str
    worn: float | None = None
    why: str = ""
    reserve_low: bool = False
    written_bytes: int | None = None
    written_per_day: float | None = None


@dataclass(frozen=True, slots=True)
class MachineFigures:
    """What can be read now. What cannot is None, or not among the rest.

    `power_w`: what the whole module takes. `events`: how often the supply's alarms went off since the machine started, by name.
    `gpu_load`: 0 to 1.
    """

    rails: tuple[Rail, ...] = ()
    power_w: float | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    gpu_load: float | None = None
    memory: MemoryRoom | None = None
    disks: tuple[DiskWear, ...] = ()

    @property
    def worn(self) -> float | None:
        """The share of its life that the most worn disk has used, None where none says."""
        return max((disk.worn for disk in self.disks if disk.worn is not None), default=None)


class Machine(Protocol):
    """Nothing here raises, and nothing takes a millisecond: a sensor that is missing, or says nonsense, says nothing."""

    def heat(self) -> Heat:
        """Return what the thermal zones say, and what slows the machine down."""

    def power_trouble(self, now_s: float) -> str:
        """Return what is wrong with the supply, for a person; "" for nothing. `now_s`: monotonic."""

    def memory(self) -> MemoryRoom | None:
        """Return the memory that is left; None where the system will not say."""

    def figures(self) -> MachineFigures:
        """Return what is not looked at every second. Any thread may ask."""
