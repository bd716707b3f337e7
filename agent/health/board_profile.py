"""Profiles of boards: what is known of one, and the keys of agent.toml that it sets (`firmware_config/boards/*.toml`)."""

from __future__ import annotations

import platform
import re
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from agent.health.board import board
from contract.errors import NotFound

GENERIC = ("generic-x86", "generic-aarch64")
"""The profiles of machines that no profile matches: those with an x86-64 processor, and all others."""


class PowerMode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mode of nvpmodel. `id` is its number in the software that the profile names; `watts` 0: no budget, or not known."""

    name: str
    id: int
    watts: int = 0


class Thermal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the board slows itself down and where it switches off, in C; None where no source was found."""

    throttle_c: float | None = None
    shutdown_c: float | None = None


class Unwise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values of a number in the settings that work, and that whoever knows the board would not choose."""

    key: str
    why: str
    below: float | None = None
    above: float | None = None

    def is_met_by(self, value: float) -> bool:
        """Return whether `value` is one of them; 0 often means "by itself", and never is."""
        too_low = self.below is not None and value < self.below
        return value != 0 and (too_low or (self.above is not None and value > self.above))


class BoardProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One board.

    `match`: patterns (as of a shell) for what `agent.health.board.board` makes of its device tree's model. `gpu_sm`: the
    compute capability of its GPU times ten, 0 without one. `jetpack`: the releases that run on it. `runtimes`: what may run a
    model there, the fastest first. `recommended_modes`: names, the first that the board's nvpmodel knows; numbers differ between
    releases. `memory_share`: of its memory, the most that the station may take (systemd's MemoryMax). `note`: what a person
    should know of it. `settings`: TOML as agent.toml would have it.
    """

    name: str
    title: str
    soc: str
    memory_share: float
    runtimes: tuple[str, ...]
    match: tuple[str, ...] = ()
    gpu_sm: int = 0
    jetpack: tuple[str, ...] = ()
    memory_gib: tuple[int, ...] = ()
    power_modes: tuple[PowerMode, ...] = ()
    recommended_modes: tuple[str, ...] = ()
    note: str = ""
    thermal: Thermal = Thermal()
    settings: dict[str, Any] = {}
    unwise: tuple[Unwise, ...] = ()


def profile_names() -> list[str]:
    """Return the names of all of them, sorted."""
    return sorted(entry.name[: -len(".toml")] for entry in _folder().iterdir() if entry.name.endswith(".toml"))


def profile_named(name: str) -> BoardProfile:
    """Return one.

    Raises:
        NotFound: there is none of this name.
    """
    # The name comes from a file or a variable and becomes a file's name.
    if re.fullmatch(r"[a-z0-9-]{1,40}", name) is None or not (entry := _folder() / f"{name}.toml").is_file():
        raise NotFound(f"there is no board profile '{name[:40]}'", hint=f"one of {', '.join(profile_names())}")
    return msgspec.toml.decode(entry.read_bytes(), type=BoardProfile)


def profile_of(root: Path = Path("/")) -> BoardProfile:
    """Return the profile of the machine at `root`: the one that names its device tree's model, else the generic one."""
    name = board(root)
    # Without a device tree it is the machine's word, which is no board's: then no file but the generic one is read.
    if name != platform.machine():
        for each in profile_names():
            profile = profile_named(each)
            if any(fnmatchcase(name, pattern) for pattern in profile.match):
                return profile
    return profile_named(GENERIC[0] if platform.machine().lower() in ("x86_64", "amd64") else GENERIC[1])


def memory_mib(root: Path = Path("/")) -> int:
    """Return how much memory the kernel has to give out (MemTotal: less than is fitted), 0 when it does not say."""
    try:
        found = re.search(r"^MemTotal:\s*(\d+) kB", (root / "proc/meminfo").read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0


def memory_max_mib(profile: BoardProfile, total_mib: int) -> int:
    """Return what systemd's MemoryMax should be for a machine with `total_mib`, in MiB; 0 for no cap where that is not known."""
    return int(total_mib * profile.memory_share)


def _folder() -> Any:
    return files("firmware_config") / "boards"
