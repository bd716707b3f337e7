"""Remote settings on the disk: those in force and the floor in two sealed copies each, the trial and the bans in a state file.

Each write replaces one whole file (tmp, fsync, rename, fsync). A commit writes what is in force first: a station that loses
power in between finds its trial committed and ends it. A state file that is torn is none, so what was committed last is what
runs (OTA-5); one that the disk does not give just now is an error, or the bans in it would be written over.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from agent.slots.disk import Disk
from agent.slots.sealed_file import read_sealed
from agent.update.config_health import Vitals
from agent.update.config_state import (
    ConfigEnding,
    ConfigFloor,
    ConfigMemory,
    ConfigTrial,
    InForce,
    raised,
    with_ending,
    with_trial,
    with_try,
)
from agent.update.sealed import seal
from contract.errors import TransientError
from contract.messages import ConfigOrder


class _InForceCopy(msgspec.Struct, frozen=True):
    number: int
    value: InForce


class _FloorCopy(msgspec.Struct, frozen=True):
    number: int
    value: ConfigFloor


C = TypeVar("C", _InForceCopy, _FloorCopy)


class _TwoCopies(Generic[C]):
    """A small value in `name`.a and `name`.b: whichever moment power is lost at, one whole copy is there."""

    def __init__(self, folder: Path, name: str, kind: type[C], disk: Disk) -> None:
        self._paths = (folder / f"{name}.a", folder / f"{name}.b")
        self._kind: type[C] = kind
        self._disk = disk

    def latest(self) -> C | None:
        """Return the later readable copy.

        Raises:
            TransientError: there may be one, and the disk does not give it.
        """
        copies, failed = [], None
        for path in self._paths:
            try:
                copy = read_sealed(path, self._kind)
            except TransientError as error:
                failed = error
            else:
                copies += [copy] if copy is not None else []
        if not copies and failed is not None:
            raise failed
        return max(copies, key=lambda copy: copy.number, default=None)

    def write(self, copy: C) -> None:
        """Replace both, durably, one after the other."""
        for path in self._paths:
            self._disk.replace(path, seal(copy))


class ConfigFile:
    """`agent.ports.config.ConfigStore` in `folder`."""

    def __init__(self, folder: Path, *, disk: Disk | None = None) -> None:
        self._disk = disk or Disk()
        self._disk.make_folder(folder)
        self._state = folder / "state"
        self._in_force = _TwoCopies(folder, "settings", _InForceCopy, self._disk)
        self._floor = _TwoCopies(folder, "floor", _FloorCopy, self._disk)

    def in_force(self) -> ConfigOrder | None:
        """Return the order whose settings were committed last, None before the first."""
        latest = self._in_force.latest()
        return latest.value.order if latest else None

    def trial(self) -> ConfigTrial | None:
        """Return the trial under way."""
        return self._memory().trial

    def last(self) -> ConfigEnding | None:
        """Return how the last change ended."""
        last, in_force = self._memory().last, self.in_force()
        if last is None and in_force is not None:
            return ConfigEnding(in_force, kept=True)
        return last

    def banned(self) -> AbstractSet[tuple[str, str]]:
        """Return the (settings digest, deployment) pairs that failed here."""
        return frozenset(self._memory().banned)

    def floor(self) -> ConfigFloor:
        """Return the floor, never below what is in force or ended: either file makes up for the loss of the other."""
        latest, in_force, last = self._floor.latest(), self.in_force(), self._memory().last
        floor = latest.value if latest else ConfigFloor()
        floor = raised(floor, in_force) if in_force else floor
        return raised(floor, last.order) if last else floor

    def begin(self, order: ConfigOrder, before: Vitals) -> None:
        """Put `order` on trial; no start is counted yet."""
        self._write(with_trial(self._memory(), order, before))

    def count_try(self) -> None:
        """Count one more start with what is on trial."""
        self._write(with_try(self._memory()))

    def commit(self, order: ConfigOrder) -> None:
        """Make the order's settings those in force, and end its trial. Doing it twice is doing it once."""
        latest = self._in_force.latest()
        self._in_force.write(_InForceCopy((latest.number if latest else 0) + 1, InForce(order)))
        self._write(with_ending(self._memory(), ConfigEnding(order, kept=True)))
        self._raise_floor(order)  # OTA-4: only after the commit

    def roll_back(self, order: ConfigOrder, reason: str) -> None:
        """End the order's trial without it and ban (settings, deployment)."""
        self._write(with_ending(self._memory(), ConfigEnding(order, kept=False, reason=reason)))
        self._raise_floor(order)

    def _raise_floor(self, order: ConfigOrder) -> None:
        latest = self._floor.latest()
        floor = raised(latest.value if latest else ConfigFloor(), order)
        self._floor.write(_FloorCopy((latest.number if latest else 0) + 1, floor))

    def _memory(self) -> ConfigMemory:
        return read_sealed(self._state, ConfigMemory) or ConfigMemory()

    def _write(self, memory: ConfigMemory) -> None:
        self._disk.replace(self._state, seal(memory))
